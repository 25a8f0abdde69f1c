"""One real clip in 21 containers, from the package iscc-samples (CC BY 4.0, not in this checkout)."""

from __future__ import annotations

import functools
import importlib.util
import pathlib

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import CorruptVideoError
from sg4v_jax.video.decode import probe, read_frames, sample_frames
from sg4v_jax.video.grid import make_grid
from sg4v_jax.video.sampling import run_indices

SPEC = importlib.util.find_spec("iscc_samples")  # found, not imported
pytestmark = pytest.mark.skipif(
    SPEC is None, reason="needs iscc-samples: pip install '.[realtest]'"
)
WHOLE = (
    *("3g2", "3gp", "asf", "avi", "f4v", "flv", "m1v", "m4v", "mkv"),
    *("mov", "mp4", "mpeg", "mpg", "rm", "swf", "vob", "webm", "wmv"),
)
DAMAGED = ("ogg", "ogv")
# The least PSNR, in dB, of a container's grid against the mp4's: old codecs at low rates blur.
FLOOR = 30.0


def clip(suffix: str) -> pathlib.Path:
    return pathlib.Path(SPEC.submodule_search_locations[0]) / "files" / "video" / f"demo.{suffix}"


@functools.cache
def picture(suffix: str) -> np.ndarray:
    """The grid of 16 frames, at the size of the mp4's."""
    decoded = sample_frames(clip(suffix))
    assert decoded.substituted == 0 and list(decoded.indices) == run_indices(1441)
    size = (704, 576)  # four cells of 176 x 144 each way
    grid = make_grid(decoded.frames, band=0)
    return np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BILINEAR), float)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.mean((a - b) ** 2), 1e-9))


def test_every_file_of_the_package_is_covered():
    files = sorted(p.suffix[1:] for p in clip("mp4").parent.glob("demo.*"))
    assert files == sorted((*WHOLE, *DAMAGED, "gif"))


@pytest.mark.parametrize("suffix", WHOLE)
def test_1441_frames(suffix):
    info = probe(clip(suffix))
    assert info.frames == 1441
    assert info.fps == (25 if suffix == "m1v" else 24)  # a bare MPEG-1 stream was labelled so
    assert info.width * 9 == info.height * 11


@pytest.mark.parametrize("suffix", WHOLE)
def test_all_containers_show_the_same_grid(suffix):
    assert psnr(picture(suffix), picture("mp4")) > FLOOR


def test_the_floor_tells_frames_apart():
    """Frames that come two too late fall below it."""
    late = [index + 2 for index in run_indices(1441)]
    grid = make_grid(read_frames(clip("mp4"), late).frames, band=0)
    assert psnr(grid.astype(float), picture("mp4")) < FLOOR - 5


def test_gif():
    """The first 120 frames, in 256 colours."""
    info = probe(clip("gif"))
    assert (info.width, info.height, info.frames, info.fps) == (176, 144, 120, 25)
    decoded = sample_frames(clip("gif"))
    assert decoded.substituted == 0 and list(decoded.indices) == run_indices(120)
    video = read_frames(clip("mp4"), decoded.indices)
    for a, b in zip(decoded.frames, video.frames, strict=True):
        assert psnr(a.astype(float), b.astype(float)) > 21


@pytest.mark.parametrize("suffix", DAMAGED)
def test_damaged(suffix):
    """Three packets in four do not decode, here or in other players."""
    with pytest.raises(CorruptVideoError, match=r"demo\.og.: only \d of 16 wanted frames decode"):
        sample_frames(clip(suffix))
