"""Animated WebP and PNG, and still pictures."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import (
    CorruptVideoError,
    EmptyVideoError,
    MissingVideoError,
    VideoError,
)
from sg4v_jax.video import source
from sg4v_jax.video.decode import probe, read_frames, sample_frames
from sg4v_jax.video.sampling import mvbench_indices, run_indices

N = 30


@pytest.fixture(scope="module", params=["webp", "png"])
def clip(request, tmp_path_factory, clips):
    path = tmp_path_factory.mktemp("pictures") / f"a.{request.param}"
    first, *rest = (Image.fromarray(clips.barcode(k)) for k in range(N))
    durations = [40 + 20 * (k % 2) for k in range(N)]  # milliseconds, 50 on average
    first.save(path, save_all=True, append_images=rest, duration=durations, lossless=True)
    return path


def test_probe(clip):
    info = probe(clip)
    assert (info.width, info.height, info.frames) == (128, 64, N)
    assert info.duration == pytest.approx(1.5) and info.fps == pytest.approx(20)


def test_frames_by_number(clip, clips):
    wanted = [N - 1, 0, 7, 7, 12]
    decoded = read_frames(clip, wanted)
    assert [clips.number_of(f) for f in decoded.frames] == wanted
    assert (decoded.indices, decoded.substituted) == (tuple(wanted), 0)
    np.testing.assert_array_equal(decoded.frames[0], clips.barcode(N - 1))
    assert [clips.number_of(f) for f in sample_frames(clip).frames] == run_indices(N)


def test_bounds_use_the_mean_rate(clip):
    decoded = sample_frames(clip, n=4, rule="mvbench", bounds=(0.5, 1.2))
    assert list(decoded.indices) == mvbench_indices(N, n=4, fps=20, bounds=(0.5, 1.2))


def test_nothing_wanted(clip):
    assert read_frames(clip, []).frames == []


def test_frames_after_damage_are_the_last_sound_one(tmp_path, clips, monkeypatch):
    path = tmp_path / "a.webp"
    first, *rest = (Image.fromarray(clips.barcode(k)) for k in range(10))
    first.save(path, save_all=True, append_images=rest, duration=40, lossless=True)
    content = bytearray(path.read_bytes())
    at = -1
    for _ in range(8):  # the picture of frame 7
        at = content.index(b"ANMF", at + 1)
    content[at + 45 : at + 65] = b"\xff" * 20
    path.write_bytes(content)
    decoded = read_frames(path, [1, 4, 6, 7, 9])
    assert [clips.number_of(f) for f in decoded.frames] == [1, 4, 6, 6, 6]
    assert decoded.substituted == 2
    assert probe(path).frames == 10 and probe(path).duration == pytest.approx(0.4)
    with pytest.raises(CorruptVideoError, match="only 1 of 3 wanted"):
        read_frames(path, [6, 7, 9])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "JPEG"])
def test_a_still_picture_is_one_frame(tmp_path, clips, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(clips.barcode(5)).save(path)
    info = probe(path)
    assert (info.width, info.height, info.frames, info.fps, info.duration) == (128, 64, 1, 0, 0)
    assert [clips.number_of(f) for f in sample_frames(path, n=3).frames] == [5, 5, 5]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_every_mode_becomes_rgb(tmp_path, clips, mode):
    path = tmp_path / "a.png"
    Image.fromarray(clips.barcode(5)).convert(mode).save(path)
    (frame,) = read_frames(path, [0]).frames
    assert frame.shape == (64, 128, 3) and frame.dtype == np.uint8 and clips.number_of(frame) == 5


@pytest.mark.parametrize(
    "content, error, message",
    [
        (None, MissingVideoError, "No such file"),
        (b"", EmptyVideoError, "0 bytes"),
        (b"<html>404</html>" * 30, CorruptVideoError, "cannot be opened as a picture"),
    ],
)
@pytest.mark.parametrize("read", [probe, sample_frames])
def test_bad_files(tmp_path, content, error, message, read):
    path = tmp_path / "a.webp"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=message) as e:
        read(path)
    assert type(e.value) is error and str(path) in str(e.value) and e.value.mend


@pytest.mark.parametrize("suffix", ["webp", "jpg", "png"])
@pytest.mark.parametrize("read", [probe, sample_frames])
def test_truncated(tmp_path, clips, suffix, read):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(clips.barcode(5)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(CorruptVideoError, match=str(path)):
        read(path)


@pytest.mark.parametrize("suffix", ["mp4", "gif", "png"])
def test_too_many_pixels(tmp_path, clips, suffix, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    if suffix == "mp4":
        clips.write(path, 2)
    else:
        Image.fromarray(clips.barcode(5)).save(path)
    monkeypatch.setattr(source, "MOST_PIXELS", 128 * 64 - 1)
    with pytest.raises(VideoError, match="frames of 128x64; at most 8191 pixels"):
        probe(path)
    monkeypatch.setattr(source, "MOST_PIXELS", 128 * 64)
    assert probe(path).width == 128


def test_a_fifo_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.webp")
    with pytest.raises(MissingVideoError, match="not a regular file"):
        probe(tmp_path / "a.webp")
