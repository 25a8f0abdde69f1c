"""`sg4v data budget` from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


def sg4v(tiny, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "sg4v_jax", "data", "budget", *words],
        env=tiny.environment() | {"COLUMNS": "80", "HOME": os.environ.get("HOME", "")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_config(tiny, tmp_path):
    cache, out = tmp_path / "index.json", tmp_path / "b.json"
    words = [f"--config={tiny.config_file}", "--batch=4", "--shards=2", "--microbatch=2"]
    words += ["--step=32", "--longest=640", f"--cache={cache}", f"--json={out}"]
    done = sg4v(tiny, *words)
    assert done.returncode == 0, done.stderr
    assert "packed rows, best first" in done.stdout and cache.exists()
    found = json.loads(out.read_text())
    assert found["packed"][0]["useful"] >= found["packed"][-1]["useful"] > 0.2
    assert found["lengths"]["positions"]["max"] <= found["packed"][0]["budget"]["positions"]


@pytest.mark.slow
def test_what_is_wrong_is_said(tiny):
    done = sg4v(tiny, "--mix=released_181k", "--records=300", "--rows=1,2")
    assert done.returncode == 2 and "--rows=1,2" in done.stderr and "Traceback" not in done.stderr
