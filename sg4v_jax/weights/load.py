"""Any model by one name: a model directory, a checkpoint of PyTorch's world, or a hub id."""

from __future__ import annotations

import os
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from sg4v_jax.weights import assemble, orbax_params, store
from sg4v_jax.weights.source import is_model_directory, local_folder
from sg4v_jax.weights.views import Param


def load_model_settings(name: str | os.PathLike) -> store.ModelSettings:
    """All of `load_model` but the parameters, from headers and settings alone.

    Raises: as `load_model`.
    """
    if is_model_directory(folder := local_folder(name)):
        return store.load_settings(folder)
    return assemble.model(assemble.Request(source=os.fspath(name))).settings


def load_model(
    name: str | os.PathLike,
    *,
    step: int | str | None = None,
    dtype: str | None = None,
    shardings: Mapping[str, jax.sharding.Sharding] | None = None,
) -> tuple[store.ModelSettings, dict[str, jax.Array]]:
    """Settings and parameters, low-rank branches merged, ready for `infer.engine.Engine`.

    A checkpoint that is not ours is converted while it is read, a layer's matrix at a time; what
    no file of it says must be given at an import (`sg4v convert import --set`).

    Args:
      name: folder, file, `asset:NAME`, or hub id.
      step: of a working directory, as in `store.load_params`.
      dtype: of all parameters; None keeps what is stored.
      shardings: where each path goes; those not named go to the first local device.

    Raises:
      CheckpointError: it cannot be found or read, or files and settings contradict each other.
    """
    folder = local_folder(name)
    if is_model_directory(folder) and not orbax_params.is_there(folder):
        flat = store.load_params(folder, step=step, dtype=dtype, shardings=shardings)
        return store.load_settings(folder), flat
    model = assemble.merged(assemble.model(assemble.Request(source=os.fspath(name))))
    where, kind = shardings or {}, None if dtype is None else np.dtype(jnp.dtype(dtype))
    flat = {
        path: _placed(param.as_type(kind), sharding=where.get(path))
        for path, param in model.params.items()
    }
    return model.settings, flat


def _placed(param: Param, *, sharding: jax.sharding.Sharding | None) -> jax.Array:
    """The parameter on its devices; of a stack, each reads the layers that it holds."""
    if sharding is None:
        return jnp.asarray(param.whole())

    def part(index: tuple[slice, ...]) -> np.ndarray:
        if param.layers is None:
            return param.read(None)[index]
        layers = range(*index[0].indices(param.layers))
        return np.stack([param.read(layer)[index[1:]] for layer in layers])

    return jax.make_array_from_callback(param.shape, sharding, part)
