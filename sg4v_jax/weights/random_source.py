"""A checkpoint of random numbers in a preset's shapes, to measure and to rehearse with."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable

import ml_dtypes
import numpy as np

from sg4v_jax.errors import ConfigError
from sg4v_jax.models.params import Skeleton
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.text.chat import GRID_PREAMBLE
from sg4v_jax.text.tokenizer import train_byte_bpe
from sg4v_jax.weights import export_model, hf_settings, store
from sg4v_jax.weights.assemble import Assembled, structure
from sg4v_jax.weights.views import Param

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def write(
    out: str | os.PathLike,
    *,
    preset: str,
    layout: str,
    seed: int = 0,
    progress: Callable[[int], None] = lambda written: None,
) -> None:
    """Writes a bfloat16 checkpoint in `layout` to the folder `out`, a matrix at a time.

    The numbers are evenly spread in +-[1/128, 1/64): what is measured is the copying. The
    tokenizer is a small one of bytes.

    Raises:
      ConfigError: an unknown preset or layout, or `out` has something in it.
      StorageError: no room, or the disk is full.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} is unknown", mend=f"use {', '.join(PRESETS)}")
    config = PRESETS[preset]()
    shapes = structure(config)
    tokenizer = train_byte_bpe([GRID_PREAMBLE], vocab_size=300, adds_bos=True)
    settings = store.ModelSettings(config, hf_settings.input_spec(config, {}), tokenizer)
    model = Assembled(settings, random_params(shapes, seed=seed), shapes)
    export_model.write(model, out, layout=layout, progress=progress)


def random_params(shapes: Skeleton, *, seed: int) -> dict[str, Param]:
    """Random parameters of a model, made when they are read: the same each time."""

    def one(path: str, shape: tuple[int, ...]) -> Param:
        layers = shape[0] if shapes.axes[path][:1] == ("layers",) else None

        def read(layer: int | None) -> np.ndarray:
            key = [seed, zlib.crc32(path.encode()), -1 if layer is None else layer]
            rng = np.random.default_rng([abs(k) for k in key])
            size = shape if layer is None else shape[1:]
            bits = rng.integers(0, 1 << 16, size, np.uint16)
            # Sign and fraction are random, the exponent is that of 1/128.
            return (bits & np.uint16(0x807F) | np.uint16(0x3C00)).view(BFLOAT16)

        return Param(tuple(shape), BFLOAT16, layers, read)

    return {path: one(path, spec.shape) for path, spec in shapes.shapes.items()}
