"""Sweeps whose runs are launched on slices and on XPK, through launch/tpu.sh and stand-ins."""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
import sys

import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.sweep import Launch, Run, work
from sg4v_jax.sweep.work import RunWork

ROOT = pathlib.Path(__file__).parents[2]
RUN = Run("rate_x3", {"run.seed": 1, "data.annotations": ("my data/a.json",)})
FLAGS = ["--config.run.seed=1", "--config.data.annotations=('my data/a.json',)"]


@pytest.fixture
def launch(cloud, monkeypatch):
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)

    def make(via: str, **options) -> Launch:
        script = str(cloud.checkout / "launch/tpu.sh")
        return Launch(via, str(cloud.folder / "settings.env"), script=script, **options)

    return make


def run_one(cloud, launcher, monkeypatch) -> dict:
    """The row of RUN; buckets are not at hand, so its log is."""
    monkeypatch.setattr(work, "saved_steps", lambda workdir: [])
    monkeypatch.setattr(work, "read_metrics", lambda workdir, names: {"loss": 1.5})
    config = str(cloud.checkout / "configs/run.py") + ":x"
    todo = RunWork(launcher, config, "gs://bucket/rates", str(cloud.folder / "logs"))
    return todo.run_one(RUN)


def test_a_run_on_slices(cloud, launch, monkeypatch):
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, *cloud.workers("none", "done 0"))
    launcher = launch("slice")
    row = run_one(cloud, launcher, monkeypatch)
    assert (row["error"], row["metrics"]) == (None, {"loss": 1.5}), row
    [call] = cloud.calls("worker.sh run")
    assert call[5] == "sft-0"
    assert shlex.split(call[-1].removeprefix("--command=")) == [
        *("bash", "sg4v/launch/tpu/worker.sh", "run", "rate_x3", "--", "train"),
        *("--config=configs/run.py:x", "--workdir=gs://bucket/rates/rate_x3"),
        *FLAGS,
    ]
    launcher.finish(2)
    assert [call[5] for call in cloud.calls(" delete ")] == ["sft-0", "sft-1"]
    launch("slice", keep=True).finish(2)
    assert len(cloud.calls(" delete ")) == 2
    cloud.rules({"match": " delete ", "err": "PERMISSION_DENIED", "code": 1})
    with pytest.raises(ConfigError, match="sft-0 could not be deleted, and costs"):
        launcher.finish(1)


def test_a_run_on_xpk(cloud, launch, monkeypatch):
    gone = {"match": "list", "times": 1, "out": "Workload named x does not exist.", "code": 1}
    cloud.rules(gone, {"match": "list", "code": 0})
    launcher = launch("xpk")
    row = run_one(cloud, launcher, monkeypatch)
    assert row["error"] is None
    [create] = cloud.calls("workload create")
    assert "--workload=sft-rate-x3" in create
    words = shlex.split(create[-1].removeprefix("--command="))
    assert words[-2:] == FLAGS and "--workdir=gs://bucket/rates/rate_x3" in words
    launcher.finish(1)
    assert not cloud.calls("delete"), "the cluster stays"


def test_a_run_that_is_refused_is_a_row(cloud, launch, monkeypatch):
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, *cloud.workers("done 2"))
    row = run_one(cloud, launch("slice"), monkeypatch)
    assert row["error"] == "exit code 2: rate_x3 was refused (exit code 2)"
    assert row["metrics"] == {}


def test_mistakes(cloud, launch, tmp_path):
    with pytest.raises(ConfigError, match="launcher 'slurm'"):
        launch("slurm")
    (cloud.folder / "settings.env").write_text("zone=a\n")
    with pytest.raises(ConfigError, match="has no name="):
        launch("slice")
    (cloud.folder / "settings.env").write_text("name=a\n")
    with pytest.raises(ConfigError, match="lies outside of"):
        launch("slice").command(RUN, config=str(tmp_path / "c.py"), workdir="gs://b/r", slot=0)
    with pytest.raises(ConfigError, match="slices are launched from a checkout"):
        Launch("slice", str(cloud.folder / "settings.env"), script="/no/tpu.sh")


def test_the_verb_prints_what_it_would_launch(cloud):
    def sweep(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "sg4v_jax", "sweep", "--config=configs/quickstart.py", *words],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    settings = f"--settings={cloud.folder}/settings.env"
    done = sweep("--launcher=slice", settings, "--out=gs://b/rates", "--jobs=2", "--dry_run")
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert len(lines) == 6
    assert lines[3][:6] == [
        *("bash", str(ROOT / "launch/tpu.sh"), "watch", "--via=slice", settings, "--name=sft-1")
    ]
    assert lines[3][6:10] == [
        *("--run=rate-x1-seed-1", "--config=configs/quickstart.py"),
        *("--workdir=gs://b/rates/rate-x1-seed-1", "--"),
    ]
    assert "--config.run.seed=1" in lines[3]
    done = sweep("--launcher=xpk", "--out=gs://b/rates")
    assert done.returncode == 2 and "--launcher=xpk needs --settings" in done.stderr
    done = sweep("--launcher=slice", settings, "--out=runs/x")
    assert done.returncode == 2 and "use gs://BUCKET" in done.stderr
