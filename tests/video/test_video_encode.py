from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from sg4v_jax.errors import StorageError, VideoError
from sg4v_jax.video.decode import probe, read_frames
from sg4v_jax.video.encode import write_mp4


def moving_shapes(n: int = 17, side: int = 96) -> np.ndarray:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(base, 3 * i, 1) for i in range(n)])


def test_round_trip(tmp_path):
    frames = moving_shapes(n=20)[:, :64]
    write_mp4(tmp_path / "a.mp4", frames, fps=29.97)
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.frames) == (96, 64, 20)
    assert info.fps == pytest.approx(29.97) and info.duration == pytest.approx(20 / 29.97)
    again = read_frames(tmp_path / "a.mp4", range(20))
    assert again.substituted == 0
    # Chroma loses half its resolution, so compare the luminance.
    grey, grey_again = (np.mean(f, -1) for f in (frames, np.stack(again.frames)))
    error = np.abs(grey - grey_again).mean()
    assert error < 8 and np.abs(grey[1:] - grey_again[:-1]).mean() > 2 * error


def test_crf_is_quality(tmp_path):
    sizes = []
    for crf in (10, 40):
        write_mp4(tmp_path / "q.mp4", moving_shapes(), fps=8, crf=crf)
        sizes.append((tmp_path / "q.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


def test_same_bytes_again(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, moving_shapes(), fps=8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_same_bytes_whatever_fresh_memory_holds(tmp_path):
    # An encoder that reads memory it never wrote agrees with itself within one process, so other
    # processes get other fillings of fresh memory (glibc only; elsewhere it is a plain repeat).
    write_mp4(tmp_path / "a.mp4", moving_shapes(), fps=8)
    np.save(tmp_path / "frames.npy", moving_shapes())
    code = (
        "import sys, numpy as np; from sg4v_jax.video.encode import write_mp4; "
        "write_mp4(sys.argv[2], np.load(sys.argv[1]), fps=8)"
    )
    digests = {hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()}
    for filling in ("1", "170"):
        out = tmp_path / f"{filling}.mp4"
        env = {**os.environ, "MALLOC_PERTURB_": filling, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / "frames.npy", out], env=env, check=True
        )
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    "frames, kwargs, message",
    [
        (np.zeros((2, 8, 9, 3), "u1"), {}, "9x8 pixels"),
        (np.zeros((2, 7, 8, 3), "u1"), {}, "8x7 pixels"),
        (np.zeros((0, 8, 8, 3), "u1"), {}, "no frames"),
        (np.zeros((2, 8, 8, 3)), {}, "float64"),
        (np.zeros((8, 8, 3), "u1"), {}, "uint8"),
        (np.zeros((2, 8, 8, 3), "u1"), {"fps": 0}, "fps=0"),
        (np.zeros((2, 8, 8, 3), "u1"), {"fps": float("nan")}, "fps=nan"),
        (np.zeros((2, 8, 8, 3), "u1"), {"crf": 52}, "crf=52"),
    ],
)
def test_what_cannot_be_encoded(tmp_path, frames, kwargs, message):
    with pytest.raises(VideoError, match=message) as e:
        write_mp4(tmp_path / "a.mp4", frames, **{"fps": 8, **kwargs})
    assert "a.mp4" in str(e.value) and e.value.mend
    assert not list(tmp_path.iterdir())


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(StorageError, match="a.mp4"):
        write_mp4(tmp_path / "a.mp4", moving_shapes(n=2), fps=8)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]  # no temporary file is left
