"""Which frames of a video to look at."""

from __future__ import annotations

from sg4v_jax.errors import ConfigError, EmptyVideoError


def run_indices(total: int, *, n: int = 16) -> list[int]:
    """The `n` frames that the released `run.py` shows the model, spread evenly.

    With the step `s = (total - 1) / n`, frame `i` is `int(s / 2) + round(s * i)`, halves rounding
    to even. A clip shorter than `n` repeats frames; a long one never shows its last frame.

        run_indices(8)       -> [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7]
        run_indices(9, n=4)  -> [1, 3, 5, 7]

    Source: `run.py` of ShareGPT4Video; its MVBench and VideoBench scripts agree on whole clips.

    Args:
      total: frames in the video.
      n: frames wanted.

    Raises:
      EmptyVideoError: `total` is below 1.
      ConfigError: `n` is below 1.
    """
    if n < 1:
        raise ConfigError(f"cannot sample n={n} frames", mend="ask for at least one frame")
    if total < 1:
        raise EmptyVideoError(
            f"cannot sample from a video of {total} frames", mend="leave this video out"
        )
    step = (total - 1) / n
    return [int(step / 2) + round(step * i) for i in range(n)]
