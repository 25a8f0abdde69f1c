"""Parameters of a model directory, from whichever form it holds them in."""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError
from sg4v_jax.train.checkpoint import load_params
from sg4v_jax.weights import safetensors_io

FILE = "params.safetensors"


def load_flat_params(folder: str | os.PathLike) -> dict[str, jax.Array]:
    """Parameters by path, f32, of a working directory or a shipped model.

    Raises:
      CheckpointError: `folder` has neither a checkpoint nor a parameter file.
    """
    flat = load_params(folder)
    file = files.path(folder) / FILE
    if flat is None and file.exists():
        flat = safetensors_io.read(file)
    if flat is None:
        raise CheckpointError(
            f"{folder}: no weights (neither {FILE} nor a checkpoint)",
            mend="train first, or name a folder that has weights",
        )
    return {path: jnp.asarray(value, jnp.float32) for path, value in flat.items()}
