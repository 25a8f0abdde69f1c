"""The wrappers for Ray and Beam give the rows that `CaptionWork` gives."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from sg4v_jax.caption.run import CaptionWork
from sg4v_jax.caption.run_items import video_items
from sg4v_jax.world.dataset import make_dataset

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def videos(tmp_path) -> pathlib.Path:
    make_dataset(str(tmp_path / "w"), videos=5, seed=0)
    (tmp_path / "w/videos/zz.mp4").touch()
    return tmp_path / "w/videos"


def expected(videos) -> list[dict]:
    root, items = video_items(videos, keyframes=None)
    work = CaptionWork("sliding", "paper", "world:", root=root, interval=0.25)
    rows = {row["id"]: row for row in work(items)}
    rows["zz"]["attempts"] = 2
    return [rows[item["id"]] for item in items]


def launch(script: str, videos, out, *words: str) -> list[dict]:
    command = [sys.executable, f"launch/{script}", "--captioner=world:", "--interval=0.25"]
    command += [f"--videos={videos}", f"--out={out}", "--shard=2", *words]
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted(out.glob("captions*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_ray_actors(videos, tmp_path):
    pytest.importorskip("ray.data", reason="needs ray: pip install -e '.[ray]'")
    assert launch("ray_caption.py", videos, tmp_path, "--workers=2") == expected(videos)


@pytest.mark.slow
def test_a_beam_pipeline(videos, tmp_path):
    pytest.importorskip("apache_beam", reason="needs apache-beam: pip install -e '.[beam]'")
    found = launch("beam_caption.py", videos, tmp_path, "--", "--runner=DirectRunner")
    assert sorted(found, key=lambda row: row["id"]) == expected(videos)
