"""Bytes of one chip by part, from shapes and shardings alone."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from sg4v_jax.train.state import TrainState


def of_tree(tree: Any) -> int:
    """Bytes of one chip's part of arrays that carry their sharding, without padding.

    A f32[8,4] split over two chips along its first axis takes 64.
    """
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _bytes(leaf: jax.ShapeDtypeStruct) -> int:
    shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape
    return math.prod(shape) * np.dtype(leaf.dtype).itemsize


def of_state(state: TrainState, batch: Any) -> dict[str, int]:
    """Bytes of masters that train, of their optimizer slots, of what is frozen, of the batch."""
    return {
        "trained": of_tree(state.trained),
        "slots": of_tree(state.slots),
        "frozen": of_tree(state.frozen),
        "batch": of_tree(batch),
    }


def advice(
    parts: dict[str, int], *, temporaries: float | None, available: float, remat: str, rows: int
) -> str:
    """What to change when a step does not fit.

    Args:
      rows: rows that a chip's group works on at once (of one micro-batch).
    """
    state = parts["trained"] + parts["slots"] + parts["frozen"]
    ways = []
    if state > 0.5 * available:
        if parts["trained"] > parts["frozen"]:
            ways.append(
                f"the state alone takes {100 * state / available:.0f} %: use a larger slice or "
                "more fsdp, or train less (optim.parts: lora)"
            )
        else:
            ways.append(
                f"the state alone takes {100 * state / available:.0f} %: use a larger slice or "
                "more fsdp, or model.frozen_dtype=bfloat16"
            )
    if temporaries is None or temporaries + state > available:
        if remat != "full":
            ways.append(f"model.remat=full (now {remat})")
        if rows > 1:
            ways.append(f"fewer rows at once (now {rows} a chip): raise data.accumulate")
        else:
            ways.append("a row over several chips (run.mesh: tensor or context), or shorter rows")
    return "; ".join(ways)
