"""The runner between a benchmark's questions and a model's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sg4v_jax.evals.world_qa import Item, frame_order, videos_shown
from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER, Turn
from sg4v_jax.video.decode import sample_frames

CHUNK = 64  # requests whose pictures are held at once


def picture(engine: Engine, video: str, *, condition: str, seed: int) -> np.ndarray:
    """The grid u8[H,W,3] that the model is shown of `video` under a condition."""
    inputs = engine.settings.inputs
    frames = sample_frames(video, n=inputs.frames, rule=inputs.sampling).frames
    order = frame_order(video, frames=len(frames), condition=condition, seed=seed)
    return inputs.grid([frames[i] for i in order])


def answer_items(
    engine: Engine,
    items: Sequence[Item],
    *,
    condition: str,
    seed: int = 0,
    max_new_tokens: int = 24,
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Greedy answers to `items`, each asked alone.

    Args:
      condition: one of `world_qa.CONDITIONS`.
      progress: called with the number of answers done so far.
    """
    shown = videos_shown(items, condition=condition, seed=seed)
    preamble = engine.settings.inputs.preamble
    answers: list[str] = []
    for start in range(0, len(items), CHUNK):
        part = range(start, min(start + CHUNK, len(items)))
        pictures = {
            v: picture(engine, v, condition=condition, seed=seed) for v in {shown[i] for i in part}
        }
        requests = [
            Request(
                [Turn("user", f"{IMAGE_PLACEHOLDER}\n{preamble}{items[i].text}")],
                [pictures[shown[i]]],
            )
            for i in part
        ]
        answers += engine.answer(requests, max_new_tokens=max_new_tokens)
        progress(len(answers))
    return answers
