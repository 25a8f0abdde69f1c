"""A model with a DINOv2 tower for export: what PyTorch's classes want beside other names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from sg4v_jax.models.clip import CLIPConfig, resize_positions
from sg4v_jax.weights import dinov2
from sg4v_jax.weights.assemble import Assembled, structure
from sg4v_jax.weights.video_lm import LAYOUTS
from sg4v_jax.weights.views import Param

POSITIONS = "tower.embeddings.position_embedding"


def is_dinov2(tower: CLIPConfig) -> bool:
    """Whether transformers would call the tower a `Dinov2Model`."""
    return tower.layer_scale


def at_tile_side(model: Assembled) -> tuple[Assembled, list[str]]:
    """The model with its position table resized to the tiles for good, and a note that says so.

    LLaVA-NeXT's class takes the tower's `image_size` for the tiles' side, so that the table cannot
    stay of another. It computes what the model did: the tower resizes at every call.
    """
    config = model.settings.config
    side, grid = config.tower.patches, config.tower.position_grid
    if grid in (0, side):
        return model, []
    tower = dataclasses.replace(config.tower, position_grid=0)
    config = dataclasses.replace(config, tower=tower)
    old, first = model.params[POSITIONS], tower.class_token

    def read(layer: None) -> np.ndarray:
        return np.asarray(resize_positions(jnp.asarray(old.read(layer)), side=side, first=first))

    rows = side * side + first
    params = dict(model.params) | {
        POSITIONS: Param((rows, tower.hidden_size), old.dtype, None, read)
    }
    settings = dataclasses.replace(model.settings, config=config)
    note = f"positions: the tower's {grid} x {grid} table is written as {side} x {side}"
    return Assembled(settings, params, structure(config), model.notes), [note]


def names_of(names: str) -> str:
    """The layout whose prefixes a `Dinov2Model` has: no `vision_model.` in transformers' files."""
    return {"hf": "hf-v5", "clip": "clip-v5"}.get(names, names)


def renamed(tensors: Mapping[str, np.ndarray], *, names: str) -> Mapping[str, np.ndarray]:
    """`tensors` in layout `names` with the tower's under DINOv2's own names."""
    return dinov2.as_dinov2(tensors, prefix=LAYOUTS[names].tower)
