"""The study's questions and pictures as an evaluation reads them from the data folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.infer.engine import Shown
from sg4v_jax.study import pictures
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER, Turn
from sg4v_jax.world.aspects.scene import SAMPLED

PATHS = ("grid", "frames")
_FIELDS = (
    "id",
    "scene",
    "video",
    "unseen",
    "aspect",
    "form",
    "text",
    "options",
    "answer",
    "claims",
)
_SALT = 83


def user_turn(text: str, *, images: int) -> Turn:
    r"""The question as the records of training have it.

    >>> user_turn("Does it move?", images=1).content
    "<image>\nDoes it move?"
    """
    return Turn("user", f"{IMAGE_PLACEHOLDER}\n" * images + text)


def read_questions(
    data: str | os.PathLike, *, split: str, scenes: int | None = None
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The questions about the first `scenes` scenes, and the video of every scene of the split.

    Raises:
      RecordError: no such file, or a line that is not a question.
    """
    file = files.path(data) / "questions" / f"{split}.jsonl"
    lines = _read(file, fields=_FIELDS)
    every = {line["scene"]: line["video"] for line in lines}
    kept = set(list(every)[:scenes])
    return [line for line in lines if line["scene"] in kept], every


def read_captions(data: str | os.PathLike) -> list[dict[str, Any]]:
    """The true captions of the development split.

    Raises:
      RecordError: no such file, or a line that is not a caption.
    """
    file = files.path(data) / "captions" / "dev.jsonl"
    return _read(file, fields=("id", "video", "caption"))


def _read(file: str | os.PathLike, *, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, each with all of `fields`."""
    lines = files.read_jsonl(file)
    for number, line in enumerate(lines, 1):
        missing = [field for field in fields if field not in line]
        if missing:
            raise RecordError(
                f"{file}: object {number}: field {missing[0]!r} is missing",
                mend="make the study's data again",
            )
    return lines


class Videos:
    """The clips of a data folder as a model sees them; each is read once.

    Args:
      show: makes a picture u8[H,W,3] ready: `Scorer.show`, or `Engine.show`.
      data: the folder.
      path: "grid" (one picture a clip) or "frames" (each of its frames is a picture).

    Raises:
      ConfigError: an unknown path.
    """

    def __init__(self, show: Callable[[np.ndarray], Shown], *, data: str | os.PathLike, path: str):
        if path not in PATHS:
            raise ConfigError(f"visual path {path!r} is unknown", mend=f"use one of {PATHS}")
        self._ready, self._data, self._path = show, data, path
        self._shown: dict[str, tuple[Shown, ...]] = {}

    def shown(self, video: str) -> tuple[Shown, ...]:
        """What stands at the image places of a question about `video`, a path in the data folder.

        Raises:
          RecordError: no such picture.
          UnsafePathError: a path that leaves the data folder.
        """
        if video not in self._shown:
            self._shown[video] = self._show(self._read(video))
        return self._shown[video]

    def blank(self) -> tuple[Shown, ...]:
        """The same places, with nothing to see."""
        return self.shown(pictures.BLANK_FILE)

    def _show(self, picture: np.ndarray) -> tuple[Shown, ...]:
        if self._path == "grid":
            return (self._ready(picture),)
        return tuple(self._ready(pictures.cell(picture, n)) for n in range(SAMPLED))

    def _read(self, video: str) -> np.ndarray:
        where = files.safe_join(self._data, video, where="questions: field 'video'")
        try:
            with Image.open(where) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as e:
            raise RecordError(f"{where}: no picture ({e})", mend="make the data again") from e


def derangement(scenes: Sequence[int]) -> dict[int, int]:
    """For each scene another one, always the same; each is another's once.

    Raises:
      ConfigError: there is but one.
    """
    scenes = sorted(scenes)
    if len(scenes) < 2:
        raise ConfigError("one scene has no wrong video", mend="make two scenes or more")
    order = np.random.default_rng([_SALT, len(scenes)]).permutation(len(scenes))
    return {scenes[a]: scenes[b] for a, b in zip(order, np.roll(order, -1), strict=True)}
