"""Import: any checkpoint to a model directory, with one layer's matrix in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from sg4v_jax.weights import orbax_params, store
from sg4v_jax.weights.assemble import Assembled
from sg4v_jax.weights.whole_folder import whole_folder


def write(
    model: Assembled,
    out: str | os.PathLike,
    *,
    dtype: str | None = None,
    progress: Callable[[int], None] = lambda written: None,
) -> None:
    """Writes `model` as a model directory: model.json, tokenizer.json, params (Orbax).

    Args:
      model: from `assemble.model`.
      out: a folder that does not exist yet, or is empty.
      dtype: of the weights; None keeps each as it is.
      progress: called with the bytes written since the last call.

    Raises:
      ConfigError: `out` has something in it.
      StorageError: no room, or the disk is full or not writable; nothing is left behind.
    """
    kind = None if dtype is None else np.dtype(jnp.dtype(dtype))
    params = {path: param.as_type(kind) for path, param in model.params.items()}
    size = sum(p.nbytes for p in params.values())
    with whole_folder(out, size=size) as folder:
        orbax_params.write(folder, params, progress=progress)
        store.save_settings(folder, model.settings)
