"""A preset as a source of settings: what no file of the parts can say, and a check of the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.models.video_lm import PRESETS, VideoLMConfig
from sg4v_jax.weights.store import anyres_of

# How parts are joined and fed; a file of one part does not know.
_OF_THE_WHOLE = ("image_size", "image_mean", "image_std", "feature_layer")


def given(preset: str) -> dict[str, Any]:
    """The settings of `PRESETS[preset]` that join a tower and a decoder, by the names of `--set`.

    Raises:
      ConfigError: no such preset.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} is unknown", mend=f"use {', '.join(PRESETS)}")
    config = PRESETS[preset]()
    found = {f"tower.{name}": getattr(config.tower, name) for name in _OF_THE_WHOLE}
    return found | {"pinpoints": [list(size) for size in anyres_of(config).pinpoints]}


def check(config: VideoLMConfig, *, preset: str, where: str) -> None:
    """Raises `CheckpointError` where the parts make another model than the preset."""
    found, wanted = _flat(config), _flat(PRESETS[preset]())
    wrong = [f"{k} is {found[k]!r}, not {v!r}" for k, v in wanted.items() if found[k] != v]
    if wrong:
        raise CheckpointError(
            f"{where}: not the model of preset {preset!r}: " + "; ".join(wrong),
            mend="leave --preset out and give settings with --set, or use the preset's own parts",
        )


def _flat(config: VideoLMConfig) -> Mapping[str, Any]:
    parts = dataclasses.asdict(config)
    inner = {f"{p}.{k}": v for p in ("tower", "llm") for k, v in parts.pop(p).items()}
    return inner | parts
