"""`sg4v caption keyframes` and `sg4v caption run` as a user runs them."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import pytest

from sg4v_jax.world.dataset import make_dataset

ROOT = pathlib.Path(__file__).parents[2]
CLIPS = "tests/data/clips"
WORLD = ("run", "--captioner=world:", "--interval=0.25")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> pathlib.Path:
    """Eight videos of the world, and a damaged one."""
    folder = tmp_path_factory.mktemp("world") / "data"
    make_dataset(str(folder), videos=8, seed=0)
    (folder / "videos/zz.mp4").write_bytes(b"\x00" * 400)
    return folder / "videos"


def command(*words) -> list[str]:
    return [sys.executable, "-m", "sg4v_jax", "caption", *map(str, words)]


def sg4v(*words, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, check=False, **options
    )


def rows(out: pathlib.Path, name: str = "captions.jsonl") -> dict[str, dict]:
    lines = (out / name).read_text().splitlines()
    found = {row["id"]: row for row in map(json.loads, lines)}
    assert len(found) == len(lines)
    return found


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> pathlib.Path:
    """Key frames of the real clips."""
    out = tmp_path_factory.mktemp("keys")
    videos = f"--videos={CLIPS}/captions.json"
    done = sg4v("keyframes", videos, f"--out={out}", "--tower=asset:world", "--threshold=0.9")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 done" in done.stdout
    return out


def test_key_frames_of_real_clips(keys):
    assert list(rows(keys, "keyframes.jsonl")) == ["fox", "flowers", "rovers", "painter"]
    assert (keys / "frames/flowers/frame_1.80.png").stat().st_size > 10_000


@pytest.mark.slow
def test_captions_of_key_frames_by_a_model(keys, tmp_path):
    words = ("--captioner=local:asset:world", "--preset=model", "--max_new_tokens=4")
    done = sg4v("run", *words, f"--keyframes={keys}", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "note: the text is worth what the model is" in done.stdout
    painter = rows(tmp_path)["painter"]
    assert painter["keyframe_times"] == [0.0, 2.0, pytest.approx(89 / 30)]
    assert len(painter["diff_captions"]) == 3 and painter["caption_detailed"]
    assert painter["decode"]["max_new_tokens"] == 4


def test_failures_are_named_and_make_exit_code_1(world, tmp_path):
    done = sg4v(*WORLD, f"--videos={world}", f"--out={tmp_path}", "--workers=2", "--shard=3")
    assert done.returncode == 1, done.stderr
    assert "8 of 9 done" in done.stdout and "1 failed:\n  zz: CorruptVideoError: " in done.stdout
    found = rows(tmp_path)
    assert len(found) == 9 and found["zz"]["error"].startswith("CorruptVideoError")
    assert all(row["caption_detailed"] for name, row in found.items() if name != "zz")

    other = sg4v(*WORLD, f"--videos={world}", f"--out={tmp_path}", "--preset=model")
    assert other.returncode == 2 and "settings.preset: 'paper' there, 'model' now" in other.stderr

    part = ("run", "--mode=clip", "--captioner=world:", f"--captions={tmp_path}/captions.jsonl")
    done = sg4v(*part, "--start=0.5", "--end=1.75", f"--out={tmp_path}/clips")
    assert "zz@0.5-1.75" in done.stdout
    clip = rows(tmp_path / "clips")["train-000000@0.5-1.75"]
    assert clip["keyframe_times"] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_killed_it_goes_on(world, tmp_path):
    run = (*WORLD, f"--videos={world}", f"--out={tmp_path}", "--shard=1", "--lease=1")
    started = subprocess.Popen(
        command(*run), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    done = tmp_path / "job/done"
    end = time.monotonic() + 60
    while not (done.exists() and len(os.listdir(done)) >= 2) and time.monotonic() < end:
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert not (tmp_path / "captions.jsonl").exists(), "it was done before it was killed"
    before = {name: (done / name).read_bytes() for name in os.listdir(done)}
    assert 2 <= len(before) < 9
    assert sg4v(*run).returncode == 1
    assert len(rows(tmp_path)) == 9
    marks = {name: (done / name).read_bytes() for name in before}
    assert marks == before, "what was done is done once"


def _little_space() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))


def test_a_full_disk_is_named_and_the_next_run_completes(world, tmp_path):
    run = (*WORLD, f"--videos={world}", f"--out={tmp_path}", "--shard=4")
    full = sg4v(*run, preexec_fn=_little_space)
    assert full.returncode == 2, full.stdout + full.stderr
    assert "cannot write" in full.stderr and "Traceback" not in full.stderr
    assert not (tmp_path / "captions.jsonl").exists()
    assert sg4v(*run).returncode == 1
    assert len(rows(tmp_path)) == 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("keyframes", "--videos=x"), "needs --videos and --out"),
        (("keyframes", "--videos=x", "--out=o", "--tower=t"), "no threshold is known"),
        (("keyframes", f"--videos={CLIPS}/none", "--out=o"), "no list of videos"),
        (("run", "--out=o"), "needs --captioner and --out"),
        (("run", "--out=o", "--captioner=world:"), "--mode=sliding needs --videos"),
        (("run", "--out=o", "--captioner=world:", "--mode=clip"), "needs --captions"),
        (
            ("run", "--out=o", "--captioner=world:", f"--videos={CLIPS}", "--prompts=p"),
            "--mode=sliding does not take --prompts",
        ),
        (("run", "--out=o", "--captioner=world:x=1", f"--videos={CLIPS}"), "unknown rate 'x'"),
        (("run", "--out=o", "--captioner=local:gone", f"--videos={CLIPS}"), "no such file"),
    ],
)
def test_wrong_flags_are_named(words, message, tmp_path):
    done = sg4v(*(word.replace("--out=o", f"--out={tmp_path}/o") for word in words))
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "o").exists()
