"""The log in TensorBoard's files: every number once, also after a restart."""

from __future__ import annotations

import struct
import sys

import pytest

from sg4v_jax.errors import ConfigError, StorageError
from sg4v_jax.train.metrics import MetricsLog
from sg4v_jax.train.tensorboard import TensorBoard


def records_of(file) -> list[bytes]:
    """The records of an event file: length u64, its crc u32, content, its crc u32."""
    data, found = file.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        found.append(data[12 : 12 + size])
        data = data[16 + size :]
    return found


def shown(folder) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by name as TensorBoard shows them: a start event forgets what it restarts."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="needs tensorboardX")
    scalars: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((folder / "tensorboard").iterdir()):
        for record in records_of(file):
            event = event_pb2.Event.FromString(record)
            if event.session_log.status == event_pb2.SessionLog.START:
                for name, points in scalars.items():
                    scalars[name] = [p for p in points if p[0] < event.step]
            for value in event.summary.value:
                scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return scalars


def row(step: int) -> dict:
    return {"step": step, "loss": 0.5 * step, "grad_norm/llm": 2.0, "rate/all": 0.25}


def write(folder, *, first: int, last: int) -> None:
    board = TensorBoard(folder, step=first)
    log = MetricsLog(folder / "metrics.jsonl", step=first, also=[board.write])
    for step in range(first + 1, last + 1):
        log.write(row(step))
    log.write({"step": last, "eval": "held-out", "eval/loss": 1.5})
    board.close()


def test_every_number_of_the_log_is_there(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX")
    write(tmp_path, first=0, last=3)
    got = shown(tmp_path)
    assert got.keys() == {"loss", "grad_norm/llm", "rate/all", "eval/loss"}
    assert got["loss"] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert got["eval/loss"] == [(3, 1.5)]


def test_a_resumed_run_shows_no_step_twice(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX")
    write(tmp_path, first=0, last=5)
    write(tmp_path, first=3, last=6)
    got = shown(tmp_path)
    assert [step for step, _ in got["loss"]] == [1, 2, 3, 4, 5, 6]
    assert got["eval/loss"] == [(6, 1.5)], "that of step 5 was not saved"


def test_without_tensorboardx_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ConfigError, match="needs tensorboardX") as error:
        TensorBoard(tmp_path, step=0)
    assert "sg4v_jax[tensorboard]" in error.value.mend
    assert not (tmp_path / "tensorboard").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX")
    (tmp_path / "tensorboard").write_text("a file in its place")
    with pytest.raises(StorageError, match="cannot write .*tensorboard"):
        TensorBoard(tmp_path, step=0)
