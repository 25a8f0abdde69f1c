"""Key frames of many videos, as the work of a job: decode, compare on the device, write PNGs.

    OUT/keyframes.jsonl                     a row a video; see `KeyFrameWork`
    OUT/frames/ID/frame_12.00.png           its key frames, named by their seconds

A shard's videos are decoded side by side, and their frames share the tower's batches: a short
video has a handful. A video is read twice, small for the comparison and then the chosen frames
alone, so that memory does not grow with the video's size.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sg4v_jax import files
from sg4v_jax.caption import frames as reading
from sg4v_jax.caption.embedders import Embedder, open_embedder
from sg4v_jax.caption.keyframe_index import FOLDER, file_names
from sg4v_jax.caption.videos import folder_of, open_path
from sg4v_jax.errors import Sg4vError
from sg4v_jax.jobs.items import FATAL
from sg4v_jax.video.keyframes import select


@dataclasses.dataclass(frozen=True)
class KeyFrameSettings:
    """What the result depends on, beside the videos."""

    tower: str
    threshold: float
    rule: str
    interval: float


class _Compared(NamedTuple):
    """A video's candidates: `small` u8[n,R,R,3] for the tower, `last` and `step` for `select`."""

    numbers: list[int]
    small: np.ndarray
    last: int
    step: int


@dataclasses.dataclass
class KeyFrameWork:
    """`do` of a key-frame job: items of `videos.list_videos` in, a row for each out.

    A row has id, source, frames (in the video), fps, width and height (of the key frames),
    substituted (frames that stand for lost ones), candidates (how many were compared), numbers,
    times (seconds) and files of the key frames, and error.

    Args:
      root: what the items' paths are relative to.
      out: where the frames go.
      settings: rule and tower.
      threads: videos decoded at a time.
      seconds: how long one reading of a video may take.
      embedder: in place of opening the settings' tower.
    """

    root: str
    out: str
    settings: KeyFrameSettings
    threads: int = 4
    seconds: float = reading.TIME_LIMIT
    embedder: Embedder | None = None

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Raises what no video is to blame for (`jobs.items.FATAL`)."""
        embedder = self._opened()
        with futures.ThreadPoolExecutor(self.threads, "decode") as pool:
            compared = list(pool.map(lambda item: _tried(self._compare, item), items))
            good = [c for c in compared if isinstance(c, _Compared)]
            small = np.concatenate([c.small for c in good]) if good else None
            features = embedder.features(small) if good else np.zeros((0, 1))
            ends = np.cumsum([len(c.numbers) for c in good])[:-1]
            shares = iter(np.split(features, ends))

            def finish(pair) -> dict[str, Any]:
                item, found, share = pair
                row = found if share is None else _tried(self._write, item, found, share)
                return row if isinstance(row, dict) else _failed(item, row)

            pairs = [
                (item, c, next(shares) if isinstance(c, _Compared) else None)
                for item, c in zip(items, compared, strict=True)
            ]
            return list(pool.map(finish, pairs))

    def __getstate__(self):  # a process that is handed the work opens the tower itself
        return self.__dict__ | {"embedder": None}

    def _opened(self) -> Embedder:
        if self.embedder is None:
            self.embedder = open_embedder(self.settings.tower)
        return self.embedder

    def _compare(self, item: Mapping[str, Any]) -> _Compared:
        folder_of(self.out, item["id"])  # refused before any work is done
        settings = self.settings

        def work(video: reading.Opened) -> _Compared:
            numbers, last, step = reading.candidates(
                video, rule=settings.rule, interval=settings.interval
            )
            small, _ = video.read(numbers, change=self.embedder.prepare)
            return _Compared(numbers, np.stack(small), last, step)

        return reading.with_video(open_path(self.root, dict(item)), seconds=self.seconds, work=work)

    def _write(self, item: Mapping[str, Any], found: _Compared, features) -> dict[str, Any]:
        chosen = select(
            found.numbers,
            features,
            last=found.last,
            rule=self.settings.rule,
            step=found.step,
            threshold=self.settings.threshold,
        )
        path = open_path(self.root, dict(item))
        key = reading.sample(path, choose=lambda video: chosen, seconds=self.seconds)
        names = [f"{FOLDER}/{item['id']}/{name}" for name in file_names(key.times)]
        for name, frame in zip(names, key.frames, strict=True):
            files.write_atomic(files.path(self.out) / name, _png(frame))
        height, width = key.frames[0].shape[:2]
        return {
            "id": item["id"],
            "source": item["video"],
            "frames": key.total,
            "fps": key.fps,
            "width": width,
            "height": height,
            "substituted": key.substituted,
            "candidates": len(found.numbers),
            "numbers": key.numbers,
            "times": key.times,
            "files": names,
            "error": None,
        }


def _tried(function: Callable, item: Mapping[str, Any], *more) -> Any:
    """What `function` returns, or the error that this item is to blame for."""
    try:
        return function(item, *more)
    except FATAL:
        raise
    except (Sg4vError, ValueError) as e:
        return e


def _failed(item: Mapping[str, Any], error: Exception) -> dict[str, Any]:
    text = error.message if isinstance(error, Sg4vError) else str(error)
    return {
        "id": item["id"],
        "source": item["video"],
        "error": f"{type(error).__name__}: {text}",
    }


def _png(frame: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(frame).save(content, "PNG")
    return content.getvalue()
