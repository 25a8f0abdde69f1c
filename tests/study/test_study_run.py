"""`sg4v study run`: what it leaves, and that a kill at any time changes nothing of it."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console
from sg4v_jax.configs.study import smoke

from sg4v_jax.errors import WorkdirError
from sg4v_jax.study import data, work
from sg4v_jax.study import run as study_run
from sg4v_jax.study.design import runs

ARMS = "--arms=vqa,detailed"


# The tests' own eight devices would split a run's rows.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


def start(out: pathlib.Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "sg4v_jax", "study", "run", f"--out={out}", *more]
    command += ["--config=configs/study/smoke.py", "--lease=2", "--jobs=2"]
    return subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return said


def lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_kill_changes_nothing(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished(start(whole, ARMS, "--seeds=901"))

    process = start(killed, ARMS, "--seeds=901")
    until = time.monotonic() + 600
    while not any((killed / "runs").glob("*/checkpoints/10")):
        assert process.poll() is None and time.monotonic() < until, process.stdout.read()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "results.jsonl").exists()
    said = finished(start(killed, ARMS, "--seeds=901"))

    assert "4 runs in" in said
    assert (killed / "results.jsonl").read_bytes() == (whole / "results.jsonl").read_bytes()
    for file in whole.glob("runs/*/answers.jsonl"):
        assert (killed / file.relative_to(whole)).read_bytes() == file.read_bytes()
    check_results(whole)
    check_report(whole)


def check_results(out: pathlib.Path) -> None:
    rows = lines(out / "results.jsonl")
    wanted = runs(smoke.get_config().rows, arms=["vqa", "detailed"], seeds=[901])
    assert [r["id"] for r in rows] == [r.id for r in wanted]
    for row in rows:
        assert row["records_cut"] == 0, "true captions fit"
        assert row["rows"] == sum(row["records"].values()) == 160
        assert 0 <= row["accuracy"]["right"]["average"] <= 1 and row["curve"]
        assert not {"seconds", "wall_seconds"} & set(row), "no time is in a result"
    by_id = {r["id"]: r for r in rows}
    captions = by_id["detailed-unlocked-s901"]["trained_tokens"]["captions"]
    assert captions > 5 * by_id["detailed-unlocked-s901"]["trained_tokens"]["vqa"]
    costs = {r["id"] for r in lines(out / "compute.jsonl")}
    assert costs == {*by_id, "grid-901", "frames-901"}
    frozen, base = (
        (out / f"{name}/checkpoints").exists()
        for name in ("runs/vqa-frozen-s901", "bases/grid-901")
    )
    assert frozen and base


def check_report(out: pathlib.Path) -> None:
    command = [sys.executable, "-m", "sg4v_jax", "study", "report", f"--out={out}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "incomplete: 4 of 18" in said
    asked = "sg4v study run --config=configs/study/smoke.py --out=DIR --jobs=2"
    assert asked in (out / "report.html").read_text()
    assert (out / "report.html").stat().st_size < 3_000_000


def test_another_study_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "make", lambda *a, **k: pytest.fail("nothing is made"))
    (tmp_path / "study.json").write_text('{"name": "other"}')
    with pytest.raises(WorkdirError, match="another study"):
        study_run.run(smoke.get_config(), out=str(tmp_path), console=Console(quiet=True))


def test_data_of_other_settings_are_refused(tmp_path):
    config = smoke.get_config()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/data.json").write_text("{}")
    with pytest.raises(WorkdirError, match="made with other settings"):
        data.make(config, runs(config.rows), out=str(tmp_path))


def test_bad_flags():
    command = [sys.executable, "-m", "sg4v_jax", "study", "run", "--out=x", "--seeds=a"]
    done = subprocess.run(
        [*command, "--config=configs/study/smoke.py"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "'a' is no number" in done.stderr


def test_workers_take_different_cores(monkeypatch, tmp_path):
    taken = []
    monkeypatch.setattr(work.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 7}, raising=False)
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda pid, cores: taken.append(cores), raising=False
    )
    held = []
    for _ in range(2):
        monkeypatch.setattr(work, "_core", None)
        work.take_a_core()
        held.append(work._core)
    work.take_a_core()  # once is enough
    assert taken == [{4}, {7}]
    monkeypatch.setattr(work, "_core", None)
    work.take_a_core()  # more workers than cores
    assert taken[2] in ({4}, {7})
    for lock in held:
        lock.close()
