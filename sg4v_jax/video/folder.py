"""A folder of numbered frames as video, as MVBench and many frame extractors keep them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from sg4v_jax import files
from sg4v_jax.errors import (
    CorruptVideoError,
    EmptyVideoError,
    MissingVideoError,
    UnsafePathError,
    VideoError,
)
from sg4v_jax.video import pictures
from sg4v_jax.video.limits import Deadline
from sg4v_jax.video.source import Decoded, Source, VideoInfo

_NUMBERED = re.compile(r"(?P<stem>.*?)\s*(?P<number>\d+)\.[^.]+", re.ASCII | re.DOTALL)


def is_folder(name: str) -> bool:
    """Whether `name` is a folder, local or `gs://`."""
    return files.path(name).is_dir() if "://" in name else os.path.isdir(name)


class FolderSource(Source):
    """The pictures of one folder, in the order of the last number in their names.

        00001.jpg 00002.jpg 00003.jpg   -> frames 0 1 2, `first` is 1
        f0.png f1.png .. f9.png f10.png -> frames 0 .. 10, `first` is 0

    Numbers start at 0 or 1 and leave no gap: without the lost one nobody could tell how much
    time passes between its neighbours, nor how many are lost at the end. A picture that is there
    but does not decode is damage: the nearest later one (or else the last that decodes) stands
    for it, and it counts as substituted. Hidden files, `Thumbs.db` and JSON files may lie beside
    the frames. A folder has no frame rate.

    Raises:
      EmptyVideoError: no pictures.
      CorruptVideoError: a gap in the numbers, or more than half of the frames wanted are damaged.
      UnsafePathError: a link to a place outside the folder.
      VideoError: anything else in the folder, names that differ in more than the number, a number
        twice, numbers that start above 1, frames of several sizes.
    """

    def __init__(self, name: str, *, deadline: Deadline):
        self.name, self._deadline = name, deadline
        self.first, self._files = _numbered(name, _picture_names(name, deadline=deadline))

    @property
    def total(self) -> int:
        return len(self._files)

    @property
    def fps(self) -> float:
        return 0.0

    def info(self) -> VideoInfo:
        for number in range(self.total):
            picture = self._picture(number)
            if picture is not None:
                height, width = picture.shape[:2]
                return VideoInfo(width, height, self.total, 0.0, 0.0)
        raise self.undecodable(0, self.total)

    def read(self, indices: Sequence[int]) -> Decoded:
        self.check_indices(indices)
        pictures_of: dict[int, np.ndarray | None] = {}
        found, decoded = {}, set()
        for index in sorted(set(indices)):
            for number in (*range(index, self.total), *reversed(range(index))):
                if number not in pictures_of:
                    pictures_of[number] = self._picture(number)
                if pictures_of[number] is not None:
                    found[index] = pictures_of[number]
                    if number == index:
                        decoded.add(index)
                    break
        return self.gather(indices, found=found, decoded=decoded, sound=decoded)

    def _picture(self, number: int) -> np.ndarray | None:
        self._deadline.check()
        path = os.path.join(self.name, self._files[number])
        return pictures.pixels_or_none(path, source=self)


def _picture_names(folder: str, *, deadline: Deadline) -> list[str]:
    """Names of the frames in `folder`, in no order; everything else is refused or ignored."""
    names = []
    for name, is_file in _entries(folder):
        deadline.check()
        if name.startswith(".") or name == "Thumbs.db" or name.lower().endswith(".json"):
            continue
        if not (is_file and pictures.is_picture(name) and _NUMBERED.fullmatch(name)):
            raise VideoError(
                f"{folder}: {name!r} is not a numbered frame ({', '.join(pictures.SUFFIXES)})",
                mend="move it elsewhere, or name a video file instead of this folder",
            )
        names.append(name)
    if not names:
        raise EmptyVideoError(f"{folder}: the folder holds no frames", mend="leave it out")
    return names


def _entries(folder: str) -> list[tuple[str, bool]]:
    """(name, whether it is a file) of all that lies in `folder`; links may not lead out of it."""
    if "://" in folder:
        return [(entry.name, not entry.is_dir()) for entry in files.path(folder).iterdir()]
    root = os.path.realpath(folder)
    entries = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                target = os.path.realpath(entry.path) if entry.is_symlink() else root
                if os.path.commonpath([root, target]) != root:
                    raise UnsafePathError(
                        f"{folder}: the link {entry.name!r} leads out of the folder",
                        mend="copy the frame into the folder",
                    )
                entries.append((entry.name, entry.is_file()))
    except OSError as e:
        raise MissingVideoError(
            f"{folder}: cannot be read ({e.strerror or e})", mend="check the path and its rights"
        ) from e
    return entries


def _numbered(folder: str, names: Sequence[str]) -> tuple[int, list[str]]:
    """The number of the first frame, and the names in order."""
    by_number: dict[int, str] = {}
    stems: dict[str, str] = {}
    for name in sorted(names):
        match = _NUMBERED.fullmatch(name)
        stems.setdefault(match["stem"], name)
        number = int(match["number"])
        if number in by_number or len(stems) > 1:
            twin = by_number.get(number) or next(iter(stems.values()))
            raise VideoError(
                f"{folder}: {twin!r} and {name!r} cannot be frames of one video",
                mend="keep one video in a folder, each frame once",
            )
        by_number[number] = name
    first, last = min(by_number), max(by_number)
    if first > 1:
        raise VideoError(
            f"{folder}: the first frame is {by_number[first]!r}; numbers start at 0 or 1",
            mend="extract the frames again, or number them from 0",
        )
    if last - first + 1 != len(by_number):
        lost = next(number for number in range(first, last) if number not in by_number)
        raise CorruptVideoError(
            f"{folder}: frame {lost} is missing; the folder has {len(by_number)} of the frames "
            f"{first}..{last}",
            mend="fetch or extract the frames again",
        )
    return first, [by_number[number] for number in range(first, last + 1)]
