"""Folders of numbered frames."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from sg4v_jax import files
from sg4v_jax.errors import (
    ConfigError,
    CorruptVideoError,
    EmptyVideoError,
    UnsafePathError,
    VideoError,
)
from sg4v_jax.video.decode import probe, read_frames, sample_frames
from sg4v_jax.video.sampling import run_indices


@pytest.fixture
def frames(tmp_path, clips):
    """Makes a folder; frame k is named `pattern.format(first + k)`."""

    def make(n, *, pattern="{:05d}.png", first=0, name="folder"):
        folder = tmp_path / name
        folder.mkdir()
        for k in range(n):
            Image.fromarray(clips.barcode(k)).save(folder / pattern.format(first + k))
        return folder

    return make


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "pattern", ["{:05d}.png", "{}.bmp", "f2_{}.JPG", "{:04d}.jpeg", "img {:3}.webp"]
)
def test_frames_by_number(frames, clips, pattern, first):
    folder = frames(23, pattern=pattern, first=first)
    info = probe(folder)
    assert (info.width, info.height, info.frames, info.fps, info.duration) == (128, 64, 23, 0, 0)
    decoded = read_frames(folder, [22, 0, 9, 10, 10])
    assert [clips.number_of(f) for f in decoded.frames] == [22, 0, 9, 10, 10]
    assert decoded.indices == (22, 0, 9, 10, 10) and decoded.substituted == 0
    sampled = sample_frames(folder)
    assert [clips.number_of(f) for f in sampled.frames] == run_indices(23)


def test_pixels_are_those_of_the_pictures(frames, clips):
    folder = frames(3)
    for k, frame in enumerate(read_frames(folder, range(3)).frames):
        np.testing.assert_array_equal(frame, clips.barcode(k))


def test_mvbench_counts_in_file_names(frames, clips):
    """The official reader opens `f"{index:05d}.jpg"` for these numbers (180 files, 5 to 20 s)."""
    official = [16, 19, 22, 24, 27, 30, 33, 36, 38, 41, 44, 47, 50, 53, 55, 58]
    folder = frames(180, first=1)
    decoded = sample_frames(folder, rule="mvbench", bounds=(5, 20), fps=3)
    assert [clips.number_of(f) + 1 for f in decoded.frames] == official
    whole = sample_frames(folder, rule="mvbench")
    assert [clips.number_of(f) for f in whole.frames] == run_indices(180)
    from_0 = frames(180, first=0, name="from_0")
    decoded = sample_frames(from_0, rule="mvbench", bounds=(5, 20), fps=3)
    assert [clips.number_of(f) for f in decoded.frames] == official


def test_bounds_need_a_rate(frames):
    folder = frames(5)
    with pytest.raises(ConfigError, match=rf"{folder}: bounds .* fps=0"):
        sample_frames(folder, rule="mvbench", bounds=(0, 1))


def test_files_that_may_lie_beside(frames):
    folder = frames(4)
    for name in (".hidden", "Thumbs.db", "meta.json", ".cache.png"):
        (folder / name).write_text("x")
    (folder / ".git").mkdir()
    assert probe(folder).frames == 4


@pytest.mark.parametrize("name", ["notes.txt", "frame.png", "00007.mp4", "00007", "7.png.part"])
def test_files_that_may_not(frames, name):
    folder = frames(4)
    (folder / name).write_text("x")
    with pytest.raises(VideoError, match=rf"folder: '{name}' is not a numbered frame"):
        probe(folder)


def test_folder_in_the_folder(frames):
    folder = frames(2)
    (folder / "00002.png").mkdir()
    with pytest.raises(VideoError, match=r"'00002\.png' is not a numbered frame"):
        probe(folder)


def test_gap(frames):
    folder = frames(12, first=1)
    (folder / "00008.png").unlink()
    with pytest.raises(CorruptVideoError, match=r"frame 8 is missing; .* 11 of the frames 1\.\.12"):
        sample_frames(folder)


def test_late_start(frames):
    with pytest.raises(VideoError, match=r"first frame is '00002\.png'"):
        probe(frames(3, first=2))


@pytest.mark.parametrize("twin", ["2.png", "00002.jpg", "other_00009.png"])
def test_two_videos_in_one_folder(frames, clips, twin):
    folder = frames(4)
    Image.fromarray(clips.barcode(9)).save(folder / twin)
    with pytest.raises(VideoError, match=f"'{twin}'.*cannot be frames of one video|and '{twin}'"):
        probe(folder)


def test_no_frames(tmp_path):
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(EmptyVideoError, match="holds no frames"):
        probe(tmp_path)


def test_sizes_that_differ(frames):
    folder = frames(6)
    Image.new("RGB", (64, 64)).save(folder / "00003.png")
    with pytest.raises(VideoError, match=r"size changes \(128x64, 64x64\)"):
        sample_frames(folder)


@pytest.mark.parametrize("target", ["outside.png", "../outside.png", "{}/outside.png"])
def test_links_that_leave_the_folder(frames, tmp_path, clips, target):
    folder = frames(3)
    Image.fromarray(clips.barcode(3)).save(tmp_path / "outside.png")
    os.symlink(target.format(tmp_path), folder / "00003.png")
    if target == "outside.png":  # dangling, but inside: a file that is not there
        with pytest.raises(VideoError, match=r"'00003\.png' is not a numbered frame"):
            probe(folder)
    else:
        with pytest.raises(UnsafePathError, match=r"link '00003\.png' leads out"):
            probe(folder)


def test_links_within_and_to_the_folder(frames, tmp_path, clips):
    folder = frames(3)
    os.symlink("00001.png", folder / "00003.png")
    os.symlink(folder, tmp_path / "alias")
    shown = read_frames(tmp_path / "alias", range(4)).frames
    assert [clips.number_of(f) for f in shown] == [0, 1, 2, 1]


def test_damaged_pictures_are_substituted(frames, clips):
    folder = frames(10)
    for number in (3, 4):
        (folder / f"{number:05d}.png").write_bytes(b"\x89PNG but no more")
    last = (folder / "00009.png").read_bytes()
    (folder / "00009.png").write_bytes(last[: len(last) // 2])
    (folder / "00000.png").write_bytes(b"")
    decoded = read_frames(folder, [0, 2, 3, 3, 6, 7, 8, 9])
    assert [clips.number_of(f) for f in decoded.frames] == [1, 2, 5, 5, 6, 7, 8, 8]
    assert decoded.substituted == 4
    assert probe(folder).width == 128
    with pytest.raises(CorruptVideoError, match="only 1 of 3 wanted"):
        read_frames(folder, [3, 4, 5])


def test_all_damaged(frames):
    folder = frames(3)
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    for read in (probe, sample_frames):
        with pytest.raises(CorruptVideoError, match="only 0 of"):
            read(folder)


def test_index_outside(frames):
    with pytest.raises(VideoError, match="wanted of 3"):
        read_frames(frames(3), [3])


def test_remote_folders_go_through_the_files_layer(frames, clips, monkeypatch):
    folder = frames(4)
    monkeypatch.setattr(
        files, "path", lambda name: folder.parent / pathlib.PurePath(name).relative_to("gs:/bucket")
    )
    decoded = read_frames("gs://bucket/folder", [3, 1])
    assert [clips.number_of(f) for f in decoded.frames] == [3, 1]
