"""The work that is measured: video files as training records, and as grids rendered before."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from sg4v_jax.bench import original
from sg4v_jax.data.index import build_index
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.readers import read_arrayrecord
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.data.rows import Rows
from sg4v_jax.data.store.write import write_shards
from sg4v_jax.errors import MissingVideoError, Sg4vError, VideoError
from sg4v_jax.text.chat import Turn
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.video.anyres import AnyRes
from sg4v_jax.video.decode import sample_frames

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v", ".gif")
SHIPPED = pathlib.Path(__file__).parents[2] / "tests" / "data" / "clips"

_QUESTION = "<image>\nDescribe this video in detail."
_ANSWER = " ".join(["The camera follows it as it moves slowly from one side to the other."] * 12)


def input_spec() -> InputSpec:
    """What the 8B model is shown in training: 16 frames, bands of 50, cap 1920, tiles of 336."""
    return InputSpec(
        anyres=AnyRes.standard(336, patches=24),
        visual="anyres",
        frames=16,
        band=50,
        longest_side=1920,
        template="llava_llama_3",
        preamble="",
    )


def find(folder: str | os.PathLike | None) -> list[str]:
    """The video files of `folder` (and below), sorted; None: the clips in the checkout's tests.

    Raises:
      MissingVideoError: there are none.
    """
    root = pathlib.Path(folder or SHIPPED)
    found = sorted(str(p) for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise MissingVideoError(
            f"{root}: no video files ({' '.join(SUFFIXES)})",
            mend="name a folder of videos with --videos",
        )
    return found


def render(paths: Sequence[str], *, spec: InputSpec, folder: str, suffix: str) -> list[str]:
    """Writes the grid of each video to `folder` as `png` or `jpg` (quality 95)."""
    options = {"quality": 95} if suffix == "jpg" else {}
    written = []
    for number, path in enumerate(paths):
        grid = spec.grid(sample_frames(path, n=spec.frames).frames)
        written.append(os.path.join(folder, f"{number:05}.{suffix}"))
        Image.fromarray(grid).save(written[-1], **options)
    return written


def rows(paths: Sequence[str], *, kind: str, spec: InputSpec) -> Rows:
    """Rows of one record each, about `paths` as `video` or `image`, with a caption of 170 words.

    Raises:
      RecordError: a file cannot be used.
    """
    return _rows(_records(paths, kind=kind), spec=spec)


def stored(paths: Sequence[str], *, spec: InputSpec, folder: str, codec: str) -> Rows:
    """The rows of videos whose pictures lie in a store, made in `folder` with `codec`.

    Raises:
      RecordError: a file cannot be used.
    """
    out = os.path.join(folder, codec)
    write_shards(_records(paths, kind="video"), out=out, spec=spec, codec=codec, workers=0)
    return _rows(read_arrayrecord(out, root=""), spec=spec)


def _records(paths: Sequence[str], *, kind: str) -> list[Record]:
    turns = (Turn("user", _QUESTION), Turn("assistant", _ANSWER))
    return [
        Record(id=os.path.basename(p), source="bench", visuals=(Visual(kind, p),), turns=turns)
        for p in paths
    ]


def _rows(records: Sequence[Record], *, spec: InputSpec) -> Rows:
    tokenizer = Tokenizer.from_file("asset:world/tokenizer.json")
    index = build_index(records, spec=spec, tokenizer=tokenizer, max_skipped=0.0)
    # A sample of this spec has at least three tiles, so that no two share a row of five or less.
    budget = Budget(*(int(most) for most in index.lengths.max(axis=0)))
    return Rows(
        index, spec=spec, tokenizer=tokenizer, budget=budget, batch_rows=1, seed=0, norm="token"
    )


def usable(
    paths: Sequence[str], *, spec: InputSpec, with_original: bool
) -> tuple[list[str], list[dict], list[tuple[str, str]]]:
    """Which videos every method reads alike.

    Returns:
      paths kept; for each, its name and the mean and largest absolute difference of our tiles and
      the original's, in levels of 0..255 (nan without decord); and (name, why) of those left out.
    """
    kept, agreement, left_out = [], [], []
    for path in paths:
        name = os.path.basename(path)
        try:
            ours = spec.tiles(spec.grid(sample_frames(path, n=spec.frames).frames))
        except Sg4vError as e:
            left_out.append((name, e.message))
            continue
        mean = most = float("nan")
        if with_original:
            try:
                theirs = np.stack([np.asarray(t) for t in original.tiles(path, spec=spec)])
            except VideoError as e:
                left_out.append((name, e.message))
                continue
            if theirs.shape != ours.shape:
                left_out.append((name, f"tiles {list(ours.shape)}, decord's {list(theirs.shape)}"))
                continue
            difference = np.abs(ours.astype(np.int16) - theirs)
            mean, most = float(difference.mean()), float(difference.max())
        kept.append(path)
        agreement.append({"clip": name, "mean_abs": mean, "max_abs": most})
    return kept, agreement, left_out
