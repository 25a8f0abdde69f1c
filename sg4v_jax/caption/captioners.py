"""Who answers: a request, the protocol, and captioners by name."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from sg4v_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class CaptionRequest:
    """One question: images u8[H,W,3] RGB (any number, any sizes), a prompt, and who asks.

    `id` names the video and step in messages, for example "clip-7#3".
    """

    images: tuple[np.ndarray, ...]
    prompt: str
    id: str

    @property
    def bucket(self) -> tuple[tuple[int, ...], ...]:
        """What a batch has in common: the number and shapes of images."""
        return tuple(image.shape for image in self.images)


class Captioner(Protocol):
    """Answers requests. `name` tells model and settings, for the rows that it makes.

    May have `weights_hash`, `decode` (settings of decoding) and `notice` (a warning to users).
    """

    name: str

    def describe(self, requests: Sequence[CaptionRequest]) -> Sequence[str]:
        """One text for each request, in order."""


# Loaded when asked for: each stands on this module, and `local` loads jax.
_KINDS = {
    "world": ("world_captioner", "WorldCaptioner"),
    "openai": ("openai_captioner", "OpenAICaptioner"),
    "local": ("local_captioner", "LocalCaptioner"),
}


def open_captioner(spec: str, **options: Any) -> Captioner:
    """The captioner that `spec` names.

        world:                             the world's oracle without errors
        world:omit=0.1,false=0.05,shuffle=0.2,seed=3
        openai:http://localhost:8000/v1,MODEL
        local:MODEL                        a model directory, checkpoint or hub id

    Args:
      spec: the kind, a colon, and what that kind wants.
      options: further settings of that kind.

    Raises:
      ConfigError: unknown kind or settings.
    """
    kind, _, rest = spec.partition(":")
    if kind not in _KINDS:
        raise ConfigError(
            f"captioner {spec!r}: unknown kind {kind!r}",
            mend=f"use one of {', '.join(f'{k}:' for k in _KINDS)}",
        )
    module, name = _KINDS[kind]
    return getattr(importlib.import_module(f"sg4v_jax.caption.{module}"), name).parse(
        rest, **options
    )
