"""What launch/tpu/worker.sh does on a worker, for real, with a stand-in for `sg4v` alone."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SG4V = """#!/usr/bin/env bash
printf 'args:'; printf ' <%s>' "$@"; printf ' A=<%s> TOKEN=<%s>\\n' "${A:-}" "${TOKEN:-}"
case $2 in
  wait) trap 'echo saved; exit 3' TERM; while true; do sleep 0.05; done ;;
  deaf) trap '' TERM; while true; do sleep 0.05; done ;;
esac
exit "$2"
"""


@pytest.fixture
def worker(tmp_path):
    """Runs the script of a copied checkout; `worker.wait` waits for a state."""
    home = tmp_path / "home"
    shutil.copytree(ROOT / "launch", home / "sg4v/launch")
    (home / "sg4v/.venv/bin").mkdir(parents=True)
    sg4v = home / "sg4v/.venv/bin/sg4v"
    sg4v.write_text(SG4V)
    sg4v.chmod(0o755)
    env = os.environ | {"HOME": str(home), "SG4V_STOP_SECONDS": "2"}

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "sg4v/launch/tpu/worker.sh", *words],
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,  # also: what is started must not hold the connection
        )

    def state() -> str:
        return run("status", "r").stdout.split(maxsplit=2)[2].strip()

    def wait(expected: str) -> None:
        until = time.monotonic() + 30
        while not state().startswith(expected):
            assert time.monotonic() < until, state()
            time.sleep(0.02)

    run.home, run.state, run.wait = home, state, wait
    yield run
    run("stop", "r")


def test_a_run_is_detached_logged_and_its_code_kept(worker):
    assert worker.state() == "none"
    (worker.home / "sg4v-env").write_text("# tokens\nTOKEN=a b\nnot a line\n")
    done = worker("run", "r", "A=c d", "--", "train", "7", "it's $HOME")
    assert done.returncode == 0 and "r started" in done.stderr
    worker.wait("done 7")
    log = worker("log", "r", "1").stdout
    assert log == "args: <train> <7> <it's $HOME> A=<c d> TOKEN=<a b>\n"
    worker("run", "r", "--", "train", "0")
    worker.wait("done 0")
    assert len(worker("log", "r", "9").stdout.splitlines()) == 2, "the log goes on"


def test_it_is_started_once_and_stops_when_asked(worker):
    worker("run", "r", "--", "train", "wait")
    worker.wait("running")
    first = worker.state()
    assert worker("busy").returncode == 0
    assert "is running already" in worker("run", "r", "--", "train", "wait").stderr
    assert worker.state() == first
    assert "r stopped" in worker("stop", "r").stderr
    assert worker.state() == "done 3" and worker("busy").returncode == 1
    assert worker("log", "r", "1").stdout == "saved\n"
    assert "r is not running" in worker("stop", "r").stderr


def test_what_does_not_stop_is_killed_and_lost(worker):
    worker("run", "r", "--", "train", "deaf")
    worker.wait("running")
    assert "did not end within 2 s: killed" in worker("stop", "r").stderr
    worker.wait("lost")


def test_export_copies_to_where_it_is_told(worker, tmp_path):
    sg4v = worker.home / "sg4v/.venv/bin/sg4v"
    text = '#!/usr/bin/env bash\necho "$JAX_PLATFORMS $*" >&2\nmkdir -p "${4#--out=}"\n'
    sg4v.write_text(text + 'echo w >"${4#--out=}/model.safetensors"\n')
    python = worker.home / "sg4v/.venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = worker("export", "gs://b/run", f"file://{tmp_path}/out", "hf")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("cpu convert export --model=gs://b/run --out=")
    assert "--layout=hf" in done.stderr
    assert (tmp_path / "out/model.safetensors").read_text() == "w\n"
    assert not list(worker.home.glob("sg4v-export*"))


def test_inputs_come_into_the_checkout(worker, tmp_path):
    python = worker.home / "sg4v/.venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "in/data/grids").mkdir(parents=True)
    (tmp_path / "in/data/grids/a.json").write_text("[]")
    for _ in range(2):
        done = worker("fetch", f"file://{tmp_path}/in")
        assert done.returncode == 0, done.stderr
    assert (worker.home / "sg4v/data/grids/a.json").read_text() == "[]"
    done = worker("here", f"file://{tmp_path}/in", "--", "train", "3")
    assert done.returncode == 3 and done.stdout.startswith("args: <train> <3>")


def test_mistakes(worker):
    assert "unknown verb fly" in worker("fly").stderr
    assert "no run r" in worker("log", "r", "5").stderr
