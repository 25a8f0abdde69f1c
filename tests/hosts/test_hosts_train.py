"""Four processes of two devices each train as one process of eight does, on every kind of mesh."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from sg4v_jax.train import metrics
from sg4v_jax.weights.store import load_params

TRAINER = str(pathlib.Path(__file__).with_name("trainer.py"))
MESHES = {
    "fsdp": {"fsdp": 8},
    "tensor": {"tensor": 4, "fsdp": 2},
    "context": {"context": 4, "fsdp": 2},
}
STEPS = 10


def train(pods, tmp_path, names, *, processes: int) -> pathlib.Path:
    """Ten steps of the tiny config on each mesh."""
    workdir = tmp_path / str(processes)
    pod = pods.start(
        json.dumps({name: MESHES[name] for name in names}),
        f"--config={pods.tiny.config_file}",
        f"--workdir={workdir}",
        "--config.model.preset=four-heads",
        "--config.data.batch_rows=8",
        f"--config.optim.steps={STEPS}",
        "--config.optim.groups.all.learning_rate=1e-3",
        "--config.optim.eps=1e-4",  # gradients that are nothing but rounding must not move much
        "--config.run.save_every=5",
        f"--config.eval.annotations=('{pods.tiny.folder}/data/train.json',)",
        f"--config.eval.every={STEPS}",
        "--config.run.best=eval/loss",
        program=(TRAINER,),
        processes=processes,
        devices=8 // processes,
        logs=tmp_path / f"logs{processes}",
    )
    assert pod.wait(900) == [0] * processes, pod.tails()
    return workdir


def assert_same(several: pathlib.Path, one: pathlib.Path) -> None:
    """f32 sums in another order: losses to 1e-5, parameters to 1e-5 of a thousandth a step."""
    (*got, a), (*want, b) = (metrics.read(w / "metrics.jsonl") for w in (several, one))
    assert [r["step"] for r in got] == list(range(1, STEPS + 1))
    assert a["eval/loss"] == pytest.approx(b["eval/loss"], rel=1e-5)
    assert a["eval/accuracy"] == pytest.approx(b["eval/accuracy"], rel=1e-6)
    for a, b in zip(got, want, strict=True):
        assert (a["tokens"], a["samples"], a["scored"]) == (b["tokens"], b["samples"], b["scored"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
    got, want = load_params(several), load_params(one)
    assert got.keys() == want.keys()
    for path, value in want.items():
        np.testing.assert_allclose(got[path], value, atol=1e-5, err_msg=path)


def assert_rows_are_shared(several: pathlib.Path, one: pathlib.Path, *, readers: int) -> None:
    """`readers` processes read each part of a batch, all the same; together what one reads."""
    found = [json.loads(p.read_text()) for p in sorted(several.glob("shard.*.json"))]
    parts = len(found) // readers
    assert [f["shard"] for f in found] == [[k // readers, parts] for k in range(len(found))]
    whole = json.loads((one / "shard.0.json").read_text())["sums"]
    assert len(whole) >= STEPS
    for step in range(STEPS):
        read = [f["sums"][step] for f in found]
        for k in range(len(found)):
            assert read[k] == read[k // readers * readers], (step, k)
        assert [r for k in range(0, len(found), readers) for r in read[k]] == whole[step]


def assert_one_writer(workdir: pathlib.Path) -> None:
    """What one process writes is there once, and nothing of the others beside it."""
    names = {p.name for p in workdir.iterdir() if not p.name.startswith("shard.")}
    assert names == {
        "config.json",
        "model.json",
        "tokenizer.json",
        "metrics.jsonl",
        "skipped.jsonl",
        "parameters.txt",
        "parameters.json",
        "goodput.json",
        "best.json",
        "index",
        "checkpoints",
    }


def test_ten_steps_of_two_processes_equal_one(pods, tmp_path):
    several = train(pods, tmp_path, ["fsdp"], processes=2) / "fsdp"
    one = train(pods, tmp_path, ["fsdp"], processes=1) / "fsdp"
    assert_same(several, one)
    assert_rows_are_shared(several, one, readers=1)
    assert_one_writer(several)


@pytest.mark.slow
def test_ten_steps_of_four_processes_equal_one_on_three_meshes(pods, tmp_path):
    """On tensor 4 x fsdp 2 and context 4 x fsdp 2, two hosts each load the same rows."""
    several = train(pods, tmp_path, list(MESHES), processes=4)
    one = train(pods, tmp_path, list(MESHES), processes=1)
    for name in MESHES:
        assert_same(several / name, one / name)
        readers = 1 if name == "fsdp" else 2
        assert_rows_are_shared(several / name, one / name, readers=readers)
