"""The transcription of the original's way does the same work as ours."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.bench import clips, original
from sg4v_jax.errors import ConfigError, CorruptVideoError
from sg4v_jax.video.encode import write_mp4
from sg4v_jax.video.grid import make_grid


def moving(n: int, height: int, width: int) -> np.ndarray:
    """A gradient that slides, so that every frame differs."""
    y, x = np.mgrid[:height, :width]
    frames = [np.stack([x + 5 * i, y + 3 * i, x + y - 4 * i], -1) % 256 for i in range(n)]
    return np.stack(frames).astype(np.uint8)


@pytest.mark.parametrize("height, width", [(120, 160), (270, 480), (512, 96)])
@pytest.mark.parametrize("longest_side", [0, 500])
def test_tiles_equal_ours_from_the_same_frames(height, width, longest_side):
    spec = clips.input_spec()
    frames = moving(16, height, width)
    grid = original.lay_out(frames, band=spec.band)
    grid = original.cap(grid, longest_side=longest_side)
    theirs = original.cut(grid, side=spec.anyres.side, pinpoints=spec.anyres.pinpoints)
    ours = spec.tiles(make_grid(frames, band=spec.band, longest_side=longest_side or None))
    np.testing.assert_array_equal(np.stack([np.asarray(t) for t in theirs]), ours)


def test_missing_cells_are_white():
    grid = np.asarray(original.lay_out(moving(3, 8, 8), band=2))
    assert grid.shape == (18, 18, 3)
    assert (grid[10:, 10:] == 255).all() and not (grid[:8, :8] == 255).all()


def test_normalised_as_clip():
    tile = Image.fromarray(moving(1, 4, 4)[0])
    got = original.normalise([tile, tile], side=4)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = (np.asarray(tile) / 255 - mean) / std
    assert got.shape == (2, 3, 4, 4) and got.dtype == np.float32
    np.testing.assert_allclose(got[1], expected.transpose(2, 0, 1), atol=1e-6)


def test_a_clip_is_read_alike(tmp_path):
    pytest.importorskip("decord", reason="needs decord2 (extra [bench])")
    path = str(tmp_path / "clip.mp4")
    write_mp4(path, moving(40, 96, 128), fps=8)
    kept, agreement, left_out = clips.usable([path], spec=clips.input_spec(), with_original=True)
    assert kept == [path] and left_out == []
    assert agreement[0]["clip"] == "clip.mp4"
    assert agreement[0]["mean_abs"] < 0.5  # levels of 255; two FFmpeg builds convert colours


def test_other_frames_would_be_seen(tmp_path, monkeypatch):
    frames = moving(40, 96, 128)
    path = str(tmp_path / "clip.mp4")
    write_mp4(path, frames, fps=8)
    monkeypatch.setattr(original, "read", lambda path, *, n: frames[-n:])
    _, agreement, _ = clips.usable([path], spec=clips.input_spec(), with_original=True)
    assert agreement[0]["mean_abs"] > 5


def test_what_cannot_be_read_is_left_out(tmp_path, monkeypatch):
    good, bad = str(tmp_path / "good.mp4"), str(tmp_path / "bad.mp4")
    write_mp4(good, moving(20, 64, 64), fps=8)
    (tmp_path / "bad.mp4").write_bytes(b"not a video at all")
    kept, _, left_out = clips.usable([bad, good], spec=clips.input_spec(), with_original=False)
    assert kept == [good] and left_out[0][0] == "bad.mp4"

    def refuses(path, *, n):
        raise CorruptVideoError(f"{path}: cannot seek")

    monkeypatch.setattr(original, "read", refuses)
    kept, _, left_out = clips.usable([good], spec=clips.input_spec(), with_original=True)
    assert kept == [] and left_out == [("good.mp4", f"{good}: cannot seek")]


def test_what_decord_says_is_an_error_of_ours(tmp_path):
    pytest.importorskip("decord", reason="needs decord2 (extra [bench])")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video at all")
    with pytest.raises(CorruptVideoError, match=r"bad\.mp4: decord cannot read it"):
        original.read(str(bad), n=16)


def test_without_decord(monkeypatch):
    monkeypatch.setattr(original, "available", lambda: False)
    with pytest.raises(ConfigError, match=r"decord is not installed[\s\S]*\[bench\]"):
        original.read("clip.mp4", n=16)
