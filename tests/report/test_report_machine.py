"""Which commit a report says that it was measured at."""

from __future__ import annotations

import subprocess

import sg4v_jax
from sg4v_jax.report import machine


def test_a_commit_tells_whether_code_or_configs_differ_from_it(tmp_path, monkeypatch):
    for name in ("sg4v_jax/__init__.py", "configs/run.py", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    git = lambda *words: subprocess.run(
        ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "--short", "HEAD")
    monkeypatch.setattr(sg4v_jax, "__file__", str(tmp_path / "sg4v_jax/__init__.py"))
    said = lambda: machine.describe(())["commit"]

    (tmp_path / "README.md").write_text("2\n")
    assert said() == commit
    for name in ("sg4v_jax/__init__.py", "configs/run.py"):
        (tmp_path / name).write_text("2\n")
        assert said() == f"{commit}+", name
        (tmp_path / name).write_text("1\n")
