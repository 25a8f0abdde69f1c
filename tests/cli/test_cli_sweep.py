"""`sg4v sweep`: what it prints, and six real runs that survive kills."""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from sg4v_jax.cli.exit_codes import BAD_INPUT

SWEEP = """

def sweep():
    for rate in (1e-3, 1e-2, 3e-2):
        for seed in (0, 1):
            yield {"optim.groups.all.learning_rate": rate, "run.seed": seed}
"""


@pytest.fixture
def config(tiny, tmp_path) -> pathlib.Path:
    file = tmp_path / "swept.py"
    file.write_text(tiny.config_file.read_text() + SWEEP)
    return file


def words(config, out, *more: str) -> list[str]:
    return ["sweep", f"--config={config}", f"--out={out}", "--config.optim.steps=4", *more]


def test_dry_run_list_and_mistakes(tiny, config, tmp_path):
    done = tiny.run(*words(config, tmp_path / "o", "--dry_run"))
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert len(lines) == 6
    assert lines[1][1:] == [
        *("-m", "sg4v_jax", "train", f"--config={config}", f"--workdir={tmp_path}/o/run-1"),
        *("--config.optim.steps=4", "--config.optim.groups.all.learning_rate=0.001"),
        "--config.run.seed=1",
    ]
    done = tiny.run(*words(config, tmp_path / "o", "--list"))
    assert done.stdout.splitlines()[0] == "run-0  waiting"
    assert not (tmp_path / "o").exists()
    done = tiny.run(*words(tiny.config_file, tmp_path / "o"))
    assert done.returncode == BAD_INPUT and "has no sweep()\n  mend: " in done.stderr


def test_two_real_runs_and_their_table(tiny, config, tmp_path):
    config.write_text(config.read_text().replace("(1e-3, 1e-2, 3e-2)", "(1e-3,)"))
    done = tiny.run(*words(config, tmp_path / "o", "--config.optim.steps=2"))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "2 runs, 0 failed" in done.stdout
    rows = json.loads((tmp_path / "o/table.json").read_text())
    assert [row["metrics"]["step"] for row in rows] == [2, 2]
    assert rows[0]["metrics"]["loss"] != rows[1]["metrics"]["loss"], "seeds differ"
    assert (tmp_path / "o/run-1/config.json").exists(), "a workdir for sg4v chat"


def table(out: pathlib.Path) -> str:
    return (out / "table.json").read_text().replace(str(out), "OUT")


@pytest.mark.slow
def test_six_runs_survive_kill_9_of_the_sweeper_and_of_any_run(tiny, config, tmp_path):
    whole = tiny.run(*words(config, tmp_path / "whole", "--jobs=2"))
    assert whole.returncode == 0, whole.stderr + whole.stdout
    seed = random.SystemRandom().randrange(10**6)
    draw, out = random.Random(seed), tmp_path / "killed"
    command = [sys.executable, "-m", "sg4v_jax", *words(config, out, "--jobs=2", "--lease=3")]
    for kills in range(6):
        process = subprocess.Popen(
            command,
            cwd=tiny.folder,
            env=tiny.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(draw.uniform(3, 12))
        runs = running(out)
        if kills % 2 and runs:  # any run; the sweeper then starts it again
            os.kill(draw.choice(runs), signal.SIGKILL)
            time.sleep(draw.uniform(0, 3))
        process.kill()
        process.wait()
    done = tiny.run(*words(config, out, "--jobs=2", "--lease=3"))
    assert done.returncode == 0, (seed, done.stderr + done.stdout)
    assert table(out) == table(tmp_path / "whole"), seed


def running(out: pathlib.Path) -> list[int]:
    """The processes that train below `out`."""
    found = []
    for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = file.read_bytes().decode()
        except OSError:
            continue
        if re.search(rf"\0train\0.*--workdir={re.escape(str(out))}/", text):
            found.append(int(file.parent.name))
    return found
