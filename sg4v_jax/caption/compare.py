"""Two caption files side by side, blinded: which items, which side, and the key to it.

Source of the criteria: the human study of the ShareGPT4Video paper (Table 7): one point each for
a caption without omission or fabrication, without distortion, without temporal mismatch. Its
wording of the instructions is not published; ours is in `compare_page`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from typing import Any

import numpy as np
from PIL import Image

from sg4v_jax import files
from sg4v_jax.caption.caption_file import Captions, Problem
from sg4v_jax.caption.videos import list_videos, open_path
from sg4v_jax.errors import ConfigError, RecordError, VideoError
from sg4v_jax.video import decode
from sg4v_jax.video.grid import make_grid

CRITERIA = ("omission or fabrication", "distortion", "temporal mismatch")
SIDES = ("left", "right")
_FRAMES, _BAND = 16, 6
_LONGEST = 720  # pixels; on a usual screen the captions can then be seen with the frames


@dataclasses.dataclass(frozen=True)
class Item:
    """One video: the captions shown at the left and the right, a JPEG of frames, a link to it."""

    id: str
    left: str
    right: str
    picture: bytes | None = None
    link: str | None = None


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What a rater sees, the `key` that no rater should see, and what could not be used."""

    id: str
    items: tuple[Item, ...]
    key: dict[str, Any]
    problems: tuple[Problem, ...]


def make_sheet(
    a: Captions,
    b: Captions,
    *,
    seed: int,
    items: int | None = None,
    videos: str | os.PathLike | None = None,
    beside: str | os.PathLike = ".",
) -> Sheet:
    """Items in random order, the two captions of each on random sides.

    Half of the items (one more or less) have A at the left, so that a habit of preferring one
    side cannot favour a system.

    Args:
      a, b: the captions; videos that both have are compared.
      seed: of order and sides; the same input and seed give the same sheet.
      items: how many videos, drawn at random; None takes all.
      videos: folder or list of videos; 16 frames of each are shown, and a link.
      beside: the folder of the page, for links.

    Raises:
      RecordError: no video has both captions.
      ConfigError: `items` is below 1.
    """
    if items is not None and items < 1:
        raise ConfigError(f"items={items}", mend="compare at least one video")
    shared = sorted(set(a.texts) & set(b.texts))
    if not shared:
        raise RecordError(
            f"{a.name} and {b.name} have captions of no common video",
            mend="give captions of the same videos, under the same ids",
        )
    problems = [
        Problem("only in one file", file.name, name)
        for file, other in ((a, b), (b, a))
        for name in file.texts
        if name not in other.texts
    ]
    rng = np.random.default_rng(seed)
    chosen = [shared[i] for i in rng.permutation(len(shared))[:items]]
    swapped = rng.permutation(np.arange(len(chosen)) % 2 == 1)
    pictures = _Pictures(videos, beside=beside, problems=problems)
    made, entries = [], []
    for name, swap in zip(chosen, swapped, strict=True):
        texts = (a.texts[name], b.texts[name])
        left, right = texts[::-1] if swap else texts
        made.append(Item(name, left, right, *pictures.of(name)))
        entries.append({"id": name, "left": "b" if swap else "a"})
    content = json.dumps([[i.id, i.left, i.right] for i in made], ensure_ascii=True)
    sheet_id = hashlib.sha256(content.encode()).hexdigest()[:16]
    key = {"sheet": sheet_id, "a": a.name, "b": b.name, "seed": seed, "items": entries}
    return Sheet(sheet_id, tuple(made), key, tuple(problems))


class _Pictures:
    """Frames and links of videos by id; those that cannot be read are added to `problems`."""

    def __init__(
        self,
        videos: str | os.PathLike | None,
        *,
        beside: str | os.PathLike,
        problems: list[Problem],
    ):
        self._beside, self._problems = os.fspath(beside), problems
        self._root, found = list_videos(videos) if videos is not None else ("", [])
        self._items = {item["id"]: item for item in found}
        self._wanted = videos is not None

    def of(self, name: str) -> tuple[bytes | None, str | None]:
        """A JPEG of the video's frames, and the way to it from the page."""
        if not self._wanted:
            return None, None
        if name not in self._items:
            self._problems.append(Problem("no video", self._root, name))
            return None, None
        try:
            path = open_path(self._root, self._items[name])
            frames = decode.sample_frames(path, n=_FRAMES).frames
            grid = make_grid(frames, band=_BAND, longest_side=_LONGEST)
        except (RecordError, VideoError) as e:
            self._problems.append(Problem("no video", e.message, name))
            return None, None
        content = io.BytesIO()
        Image.fromarray(grid).save(content, "JPEG", quality=85)
        return content.getvalue(), os.path.relpath(path, self._beside).replace(os.sep, "/")


def write_sheet(sheet: Sheet, *, page: str, out: str | os.PathLike) -> str:
    """Writes the page to `out` and the key beside it; returns the key's name.

    x/sheet.html -> x/sheet.key.json. Keep the key away from those who judge.

    Raises:
      ConfigError: `out` does not end in .html.
    """
    target = files.path(out)
    if target.suffix != ".html":
        raise ConfigError(f"--out={out} is no .html file", mend="write it like --out=sheet.html")
    key = target.parent / f"{target.stem}.key.json"
    files.write_json(key, sheet.key)
    files.write_atomic(target, page)
    return str(key)
