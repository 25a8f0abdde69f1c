"""However a run is interrupted, the same command ends with the same parameters, bit for bit."""

from __future__ import annotations

import collections
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from sg4v_jax.cli.exit_codes import BAD_INPUT, STOPPED
from sg4v_jax.tasks import run_setup
from sg4v_jax.weights.store import load_params

FAULTY = str(pathlib.Path(__file__).with_name("faulty.py"))
STEPS, SAVE_EVERY = 12, 3


def saved_steps(workdir: pathlib.Path) -> set[int]:
    return {int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()}


def log_of(workdir: pathlib.Path) -> list[dict]:
    """The log without its timings."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    timed = lambda name: "seconds" in name or name.startswith("speed/")
    return [{k: v for k, v in row.items() if not timed(k)} for row in rows]


def assert_same_run(workdir: pathlib.Path, trained: pathlib.Path) -> None:
    """Same final parameters to the bit, and a log that tells of one run."""
    want, got = load_params(trained), load_params(workdir)
    assert want.keys() == got.keys()
    for path, value in want.items():
        np.testing.assert_array_equal(got[path], value, err_msg=path)
    assert [row["step"] for row in log_of(workdir)] == list(range(1, STEPS + 1))
    assert log_of(workdir) == log_of(trained)


def fails_with(tiny, workdir, fault: str, where: str) -> subprocess.CompletedProcess:
    return tiny.train(workdir, program=(FAULTY, fault, where))


def finish(tiny, workdir, *, resumed: int) -> None:
    done = tiny.train(workdir)
    assert done.returncode == 0, done.stderr
    assert f"resume at step {resumed} of {STEPS}" in done.stdout


def test_the_uninterrupted_run_reads_each_record_once_an_epoch(tiny):
    config = tiny.config()
    settings = run_setup.model_settings(config)
    rows = run_setup.build_rows(config, settings, console=Console(quiet=True))
    assert not rows.index.skipped
    seen = collections.defaultdict(collections.Counter)
    for row in range(STEPS * config.data.batch_rows):  # what `data_state` counts
        seen[rows.locate(row)[0]].update(rows.records_of(row).tolist())
    *whole, last = (seen[epoch] for epoch in sorted(seen))
    assert whole, "the run must be longer than an epoch"
    for records in whole:
        assert records == collections.Counter(range(len(rows.index.records)))
    assert max(last.values()) == 1


def test_kill_9_between_and_within_saves(tiny, trained, tmp_path):
    killed = fails_with(tiny, tmp_path, "signal_at", "5:SIGKILL")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert saved_steps(tmp_path) == {3}
    assert len(log_of(tmp_path)) == 5

    half = r"open \S+/6\.orbax-checkpoint-tmp/\S+/_METADATA"
    killed = fails_with(tiny, tmp_path, "kill_at_file", half)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "resume at step 3" in killed.stdout
    assert list((tmp_path / "checkpoints").glob("6.*tmp*"))
    assert saved_steps(tmp_path) == {3}

    finish(tiny, tmp_path, resumed=3)
    assert_same_run(tmp_path, trained)
    assert not list((tmp_path / "checkpoints").glob("*tmp*"))


@pytest.mark.slow
def test_kill_9_before_a_save_is_named_and_while_an_old_one_goes(tiny, trained, tmp_path):
    """Also before the first save: there is then nothing to go on from."""
    killed = fails_with(tiny, tmp_path, "kill_at_file", r"os\.rename \S+ \S+/checkpoints/3$")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert saved_steps(tmp_path) == set()

    going = r"os\.rmdir \S+/checkpoints/3$"  # its files are gone, the folder is still there
    killed = fails_with(tiny, tmp_path, "kill_at_file", going)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "start at step 0" in killed.stdout
    assert saved_steps(tmp_path) == {3, 6, 9}

    killed = fails_with(tiny, tmp_path, "kill_at_file", r"os\.rename \S+ \S+/checkpoints/12$")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "resume at step 9" in killed.stdout

    finish(tiny, tmp_path, resumed=9)
    assert_same_run(tmp_path, trained)


@pytest.mark.slow
def test_kill_9_from_outside_at_any_moment(tiny, trained, tmp_path):
    command = [sys.executable, "-m", "sg4v_jax", "train"]
    command += [f"--config={tiny.config_file}", f"--workdir={tmp_path}"]
    log, kills = tmp_path / "metrics.jsonl", 0
    for lines in (1, 4, 7, 10):
        process = subprocess.Popen(command, env=tiny.environment(), stdout=subprocess.DEVNULL)
        while process.poll() is None:
            if log.exists() and len(log.read_text().splitlines()) >= lines:
                process.kill()
                break
            time.sleep(0.002)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 2, "the runs ended before they could be killed"
    assert tiny.train(tmp_path).returncode == 0
    assert_same_run(tmp_path, trained)


def stopped_by(tiny, workdir, name: str, *, step: int) -> None:
    """Asks a run to stop after `step`, and checks that it saved and said so."""
    stopped = fails_with(tiny, workdir, "signal_at", f"{step}:{name}")
    assert stopped.returncode == STOPPED, stopped.stderr
    assert f"saved at step {step}" in stopped.stdout
    assert step in saved_steps(workdir)
    assert "Traceback" not in stopped.stderr


def test_sigterm_saves_and_a_full_disk_leaves_that_usable(tiny, trained, tmp_path):
    stopped_by(tiny, tmp_path, "SIGTERM", step=4)

    failed = fails_with(tiny, tmp_path, "full_at", "6")
    assert failed.returncode == BAD_INPUT, failed.stderr
    assert "resume at step 4" in failed.stdout
    assert "saving step 6 failed" in failed.stderr
    assert "step 4 is still usable" in failed.stderr
    assert "mend: free some space" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert saved_steps(tmp_path) == {3, 4}

    finish(tiny, tmp_path, resumed=4)
    assert_same_run(tmp_path, trained)


@pytest.mark.slow
def test_ctrl_c_saves_and_stops(tiny, trained, tmp_path):
    stopped_by(tiny, tmp_path, "SIGINT", step=2)
    stopped_by(tiny, tmp_path, "SIGINT", step=8)
    finish(tiny, tmp_path, resumed=8)
    assert_same_run(tmp_path, trained)
