"""Slides: clips whose frames show objects that have nothing to do with each other.

They teach a model to see and to find a frame in the grid before anything moves: every frame has
its own shape, colour, size and place, so nothing about one can be guessed from another.

    DIR/videos/slides-{seed}.mp4   one more frame than is asked about, so that the n-frame `run`
                                   sampling takes frames 0..n-1 once each
    DIR/train.json                 LLaVA-style records
    DIR/dataset.json               arguments; written last
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sg4v_jax import files
from sg4v_jax.errors import WorkdirError
from sg4v_jax.video.encode import write_mp4
from sg4v_jax.world.render import background, draw
from sg4v_jax.world.scene import (
    CANVAS,
    FPS,
    RADII,
    SHAPES,
    SIZES,
    ObjectState,
    colours_shown,
    place,
)

ALL_FRAMES = 4  # up to so many frames, one answer tells them all
TURNS = 7  # else so many questions, each about another frame
_SALT = 31


def make_slides(
    out: str,
    *,
    videos: int,
    seed: int,
    frames: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Renders `videos` clips of `frames` unrelated frames into `out`; returns dataset.json.

    Shapes and colours are those of the train split, in every frame. A complete folder of the same
    arguments is left as it is.

    Raises:
      WorkdirError: `out` is a data set of other arguments.
    """
    folder = files.path(out)
    summary = {"arguments": {"slides": videos, "seed": seed, "frames": frames}}
    if (folder / "dataset.json").exists():
        if (found := files.read_json(folder / "dataset.json")) != summary:
            raise WorkdirError(
                f"{folder}: holds a data set of other arguments ({found['arguments']})",
                mend="choose another folder, or repeat its arguments",
            )
        return summary
    records = []
    for index in range(videos):
        number = seed * 10**6 + index
        rng = np.random.default_rng([number, _SALT])
        states = [_draw_state(rng) for _ in range(frames + 1)]
        still = background(number, canvas=CANVAS)
        pixels = np.repeat(still[None], len(states), axis=0)
        for picture, state in zip(pixels, states, strict=True):
            draw(picture, state)
        name = f"slides-{number:06d}"
        write_mp4(str(folder / f"videos/{name}.mp4"), pixels, fps=FPS)
        records.append(_record(name, states[:frames], rng))
        if progress is not None:
            progress(index + 1, videos)
    files.write_json(folder / "train.json", records)
    files.write_json(folder / "dataset.json", summary)
    return summary


def _draw_state(rng: np.random.Generator) -> ObjectState:
    shape = SHAPES[rng.integers(len(SHAPES))]
    colours = colours_shown(shape, split="train")
    colour = colours[rng.integers(len(colours))]
    size = SIZES[rng.integers(len(SIZES))]
    x, y = rng.uniform(0.05 * CANVAS, 0.95 * CANVAS, 2)
    return ObjectState(float(x), float(y), RADII[size], size, colour, shape)


def describe(state: ObjectState) -> str:
    """For example "large blue cross, top left"."""
    return f"{state.size} {state.colour} {state.shape}, {place(state)}"


def _record(name: str, states: list[ObjectState], rng: np.random.Generator) -> dict[str, Any]:
    if len(states) <= ALL_FRAMES:
        told = [f"frame {n}: {describe(s)}." for n, s in enumerate(states, 1)]
        turns = [("What does each frame show?", " ".join(told))]
    else:
        asked = rng.permutation(len(states))[:TURNS]
        turns = [(f"What does frame {n + 1} show?", f"{describe(states[n])}.") for n in asked]
    conversations = []
    for number, (question, answer) in enumerate(turns):
        text = question if number else f"<image>\n{question}"
        conversations += [{"from": "human", "value": text}, {"from": "gpt", "value": answer}]
    return {"id": name, "video": f"videos/{name}.mp4", "conversations": conversations}
