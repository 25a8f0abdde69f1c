"""The files of a key-frame job, written by `keyframing` and read by `run`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sg4v_jax import files
from sg4v_jax.caption.sliding import KeyFrames
from sg4v_jax.errors import RecordError

INDEX = "keyframes.jsonl"
FOLDER = "frames"


def file_names(times: Sequence[float]) -> list[str]:
    """Names by seconds with two decimals, as the released script has them; more where two would
    be the same.

        0, 2.0, 2.004, 4.5  ->  frame_0.00.png frame_2.0000.png frame_2.0040.png frame_4.50.png
    """
    short = [f"{t:.2f}" for t in times]
    return [
        f"frame_{text if short.count(text) == 1 else format(t, '.4f')}.png"
        for t, text in zip(times, short, strict=True)
    ]


def read_index(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """The rows of a finished key-frame job by id, failures included.

    Raises:
      RecordError: it is not there, damaged, or a row lacks a field.
    """
    name = files.path(folder) / INDEX
    rows = {}
    for number, row in enumerate(files.read_jsonl(name), 1):
        wanted = {"id", "source", "error"}
        if row.get("error") is None:
            wanted |= {"frames", "fps", "times", "files"}
        if lacking := sorted(wanted - set(row)):
            raise RecordError(
                f"{name}: line {number}: no field {lacking[0]!r}",
                mend="make it again with `sg4v caption keyframes`",
            )
        rows[row["id"]] = row
    return rows


def load_key_frames(folder: str | os.PathLike, row: Mapping[str, Any]) -> KeyFrames:
    """The pictures of a row.

    Raises:
      RecordError: the row is a failure, or a picture is missing or damaged.
      UnsafePathError: a file's name leaves `folder`.
    """
    if row.get("error") is not None:
        raise RecordError(f"{row['id']}: it has no key frames: {row['error']}")
    return KeyFrames(
        row["id"], [_picture(folder, row["id"], name) for name in row["files"]], row["times"]
    )


def _picture(folder: str | os.PathLike, name: str, file: str) -> np.ndarray:
    path = files.safe_join(folder, file, where=f"key frames of {name!r}")
    try:
        with files.path(path).open("rb") as f, Image.open(f, formats=("PNG",)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as e:
        raise RecordError(
            f"{name}: key frame {file} cannot be read ({e})",
            mend="make it again with `sg4v caption keyframes`",
        ) from e
