"""The `Batch`: everything a training step reads, with static shapes.

Legend: `B` rows, `S` positions a row, `T` tiles a row, `L` scored positions a row, `R` tile side.
A row holds several packed samples; their visual tokens are found through `visual_index`
(`data/layout.py` explains the indices), so nothing here depends on a video's aspect.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """One batch; a pytree of numpy or jax arrays. With accumulation A, a leading axis A."""

    tokens: np.ndarray  # i32[B,S] text token ids; 0 where a visual token stands
    visual_index: np.ndarray  # i32[B,S] row of the visual table, -1 = text
    positions: np.ndarray  # i32[B,S] rotary positions, restarting for each packed sample
    segments: np.ndarray  # i32[B,S] 1.. for packed samples, 0 = padding
    loss_index: np.ndarray  # i32[B,L] positions whose output is scored, -1 = none
    targets: np.ndarray  # i32[B,L] what should come next there
    loss_weights: np.ndarray  # f32[B,L]
    tiles: np.ndarray  # u8[B,T,R,R,3] raw pixels; normalised on the device
