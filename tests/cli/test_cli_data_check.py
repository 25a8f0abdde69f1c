"""`sg4v data check` as a user runs it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from sg4v_jax.world.dataset import make_dataset

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = """
import ml_collections


def get_config(arg=""):
    part = dict(name="captions", file={lines!r}, format="jsonl", root={root!r}, expected=2,
                source="made by a test", licence="CC0", next_step="make it again")
    data = dict(annotations=({annotations!r},), root="", parts=(part,), decode_seconds=20.0)
    held_out = dict(annotations=({annotations!r},), root="")
    return ml_collections.ConfigDict(dict(data=data, eval=held_out))
"""


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A data set of two videos with a caption file, and config.py that names both."""
    make_dataset(str(tmp_path / "data"), videos=2, seed=0)
    videos = sorted((tmp_path / "data" / "videos").iterdir())
    lines = [{"id": v.stem, "video": f"videos/{v.name}", "caption": "A ball."} for v in videos]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    names = dict(
        lines=str(tmp_path / "captions.jsonl"),
        root=str(tmp_path / "data"),
        annotations=str(tmp_path / "data" / "train.json"),
    )
    (tmp_path / "config.py").write_text(CONFIG.format(**names))
    return tmp_path


def check(folder, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sg4v_jax", "data", "check", f"--config={folder}/config.py"]
    wide = os.environ | {"COLUMNS": "300"}
    return subprocess.run(
        [*command, *words], cwd=ROOT, env=wide, capture_output=True, text=True, check=False
    )


def test_all_is_there_and_then_a_video_is_not(folder):
    done = check(folder, f"--json={folder}/report.json")
    assert done.returncode == 0, done.stderr + done.stdout
    for text in ("captions", "train", "eval: train", "CC0", "made by a test"):
        assert text in done.stdout
    report = json.loads((folder / "report.json").read_text())
    assert report["complete"] and [p["media"] for p in report["parts"]] == [2, 2, 2]

    gone, cut = sorted((folder / "data" / "videos").iterdir())
    gone.unlink()
    os.truncate(cut, 100)
    quick = check(folder, "--quick")
    assert quick.returncode == 1, quick.stderr
    assert f"  missing {gone}" in quick.stdout and ": broken" not in quick.stdout
    assert "  next step: make it again" in quick.stdout
    whole = check(folder)
    assert whole.returncode == 1
    assert f"  broken {cut}" in whole.stdout and f"  missing {gone}" in whole.stdout


def test_bad_annotations_are_bad_input_and_missing_ones_are_not(folder):
    (folder / "captions.jsonl").write_text("oops\n")
    done = check(folder, "--quick")
    assert done.returncode == 2 and "captions.jsonl: line 1: not JSON" in done.stdout
    assert "Traceback" not in done.stderr
    (folder / "captions.jsonl").unlink()
    done = check(folder, "--quick")
    assert done.returncode == 1 and "captions.jsonl: no such file" in done.stdout
    assert "  next step: make it again" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.data.annotations=()", "--config.data.parts=()", "--config.eval.annotations=()"],
         "the config names no training data"),
        (["--threads=0"], "threads"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(folder, words, message):
    done = check(folder, *words)
    assert done.returncode == 2 and message in done.stderr and "mend:" in done.stderr
    assert "Traceback" not in done.stderr
