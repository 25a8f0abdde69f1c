"""The log tells one run, however often it was interrupted."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.errors import StorageError
from sg4v_jax.train.metrics import MetricsLog, read


def test_a_resumed_log_forgets_what_was_not_saved(tmp_path):
    file = tmp_path / "metrics.jsonl"
    log = MetricsLog(file, step=0)
    for step in range(1, 6):
        log.write({"step": step, "loss": 1.0})
    again = MetricsLog(file, step=3)
    again.write({"step": 4, "loss": 2.0})
    assert [(r["step"], r["loss"]) for r in read(file)] == [(1, 1), (2, 1), (3, 1), (4, 2)]


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    assert [r["step"] for r in read(file)] == [1, 2]
    MetricsLog(file, step=2).write({"step": 3})
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3]


def test_without_a_file_there_are_no_records(tmp_path):
    assert read(tmp_path / "metrics.jsonl") == []


def test_a_full_disk_is_said(tmp_path, small_disk):
    log = MetricsLog(tmp_path / "metrics.jsonl", step=0)
    log.write({"step": 1})
    with (
        small_disk(4),
        pytest.raises(StorageError, match=r"metrics.jsonl at step 2: File too large"),
    ):
        log.write({"step": 2})
    assert [r["step"] for r in read(tmp_path / "metrics.jsonl")] == [1]
