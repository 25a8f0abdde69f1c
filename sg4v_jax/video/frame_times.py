"""When each frame of a video is shown, in seconds from its first: the file's own times."""

from __future__ import annotations

import contextlib

import numpy as np

from sg4v_jax.errors import VideoError
from sg4v_jax.video import container as containers
from sg4v_jax.video.limits import Deadline
from sg4v_jax.video.source import Source
from sg4v_jax.video.stream import StreamSource


def frame_times(source: Source, *, deadline: Deadline) -> np.ndarray:
    """f64[total], rising from 0.

    Videos of changing frame rate have true times only in their packets; where those cannot be
    trusted, or there are none (a folder of frames), frame k is at k / fps.

    Raises:
      VideoError: no times and no frame rate.
    """
    if isinstance(source, StreamSource):
        times = _packet_times(source.name, deadline=deadline)
        if times is not None and len(times) == source.total:
            return times
    if not source.fps > 0:
        raise VideoError(
            f"{source.name}: nothing tells its frame rate",
            mend="make a video file of it; folders of frames have no times",
        )
    return np.arange(source.total) / source.fps


def at_interval(times: np.ndarray, *, interval: float) -> list[int]:
    """The frames nearest to 0, `interval`, 2 `interval`, ... seconds, each once.

    times 0, 1, 2, 3, 4, 5, interval 2       -> [0, 2, 4]
    times 0, 0.1, 0.2, 3.9, 4.0, interval 2  -> [0, 2, 4]   (2.0 s is nearer to 0.2 than to 3.9)
    """
    wanted = np.arange(int(times[-1] / interval + 1e-9) + 1) * interval
    middles = (times[1:] + times[:-1]) / 2
    # A hair earlier, so that a tie takes the later frame however the division was rounded.
    nearest = np.searchsorted(middles, wanted + 1e-9, side="right")
    return sorted({int(frame) for frame in nearest})


def _packet_times(name: str, *, deadline: Deadline) -> np.ndarray | None:
    container, stream = containers.open_video(name, deadline=deadline)
    with contextlib.closing(container):
        if not containers.has_true_times(container):
            return None
        shown = [
            p.pts
            for p in containers.packets(container, stream, deadline=deadline)
            if not p.is_discard
        ]
        if not shown or None in shown or len(set(shown)) < len(shown):
            return None
        return (np.sort(np.array(shown, np.int64)) - min(shown)) * float(stream.time_base)
