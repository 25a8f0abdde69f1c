"""DINOv2's names (transformers' `Dinov2Model`) beside those of the one tower, which are CLIP's.

Reading, `as_clip` shows a checkpoint with a DINOv2 tower under CLIP's names, so that every layout
and table serves both; writing, `as_dinov2` gives its own names back. Only names and axes of size 1
differ:

    embeddings.cls_token (1, 1, D)                      embeddings.class_embedding (D,)
    embeddings.position_embeddings (1, 1 + G*G, D)      embeddings.position_embedding.weight
    encoder.layer.3.attention.attention.query.weight    encoder.layers.3.self_attn.q_proj.weight
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax.models.clip import CLIPConfig

SIGN = "embeddings.cls_token"

# DINOv2's beginnings of names, and CLIP's; `{i}` is the layer.
_PAIRS = (
    (SIGN, "embeddings.class_embedding"),
    ("embeddings.mask_token", "embeddings.mask_token"),
    ("embeddings.position_embeddings", "embeddings.position_embedding.weight"),
    ("embeddings.patch_embeddings.projection.", "embeddings.patch_embedding."),
    ("encoder.layer.{i}.norm1.", "encoder.layers.{i}.layer_norm1."),
    ("encoder.layer.{i}.norm2.", "encoder.layers.{i}.layer_norm2."),
    ("encoder.layer.{i}.attention.attention.query.", "encoder.layers.{i}.self_attn.q_proj."),
    ("encoder.layer.{i}.attention.attention.key.", "encoder.layers.{i}.self_attn.k_proj."),
    ("encoder.layer.{i}.attention.attention.value.", "encoder.layers.{i}.self_attn.v_proj."),
    ("encoder.layer.{i}.attention.output.dense.", "encoder.layers.{i}.self_attn.out_proj."),
    ("encoder.layer.{i}.layer_scale1.lambda1", "encoder.layers.{i}.layer_scale1"),
    ("encoder.layer.{i}.layer_scale2.lambda1", "encoder.layers.{i}.layer_scale2"),
    ("encoder.layer.{i}.mlp.", "encoder.layers.{i}.mlp."),
    ("layernorm.", "post_layernorm."),
)


class Translated(Mapping[str, np.ndarray]):
    """`tensors` under other names and in shapes of as many numbers, made when asked for.

    Args:
      places: new name -> (old name, shape).
    """

    def __init__(
        self, tensors: Mapping[str, np.ndarray], places: Mapping[str, tuple[str, tuple[int, ...]]]
    ):
        self._tensors, self._places = tensors, places
        self.shapes = {new: shape for new, (_, shape) in places.items()}
        self.dtypes = {new: tensors.dtypes[old] for new, (old, _) in places.items()}
        old_files = getattr(tensors, "files", {})
        self.files = {new: old_files[old] for new, (old, _) in places.items() if old in old_files}

    def __getitem__(self, name: str) -> np.ndarray:
        old, shape = self._places[name]
        return self._tensors[old].reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def is_dinov2(names: Sequence[str] | Mapping) -> bool:
    """Whether one of the tensors with these names shows that a DINOv2 tower is there."""
    return _prefix(names) is not None


def as_clip(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """`tensors` (with `shapes` and `dtypes`) with a DINOv2 tower's under CLIP's names.

    What is not the tower's keeps its name; without a DINOv2 tower `tensors` itself is returned.
    """
    prefix = _prefix(tensors)
    if prefix is None:
        return tensors
    places = {}
    for old, shape in tensors.shapes.items():
        new = _renamed(old, prefix, pairs=_PAIRS)
        if new.endswith("embeddings.class_embedding"):
            shape = shape[-1:]
        elif new != old and new.endswith("position_embedding.weight"):
            shape = shape[-2:]
        places[new] = (old, tuple(shape))
    return Translated(tensors, places)


def as_dinov2(tensors: Mapping[str, np.ndarray], *, prefix: str) -> Translated:
    """Undoes `as_clip`: `prefix` is what stands before the tower's names."""
    backwards = tuple((clip, dino) for dino, clip in _PAIRS)
    places = {}
    for old, shape in tensors.shapes.items():
        new = _renamed(old, prefix, pairs=backwards)
        if new.endswith(SIGN):
            shape = (1, 1, *shape)
        elif new != old and new.endswith("position_embeddings"):
            shape = (1, *shape)
        places[new] = (old, tuple(shape))
    return Translated(tensors, places)


def config_json(tower: CLIPConfig) -> dict[str, Any]:
    """`Dinov2Config`'s JSON for the tower; the position table's side is told as an image size."""
    return {
        "model_type": "dinov2",
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
        "hidden_act": tower.hidden_act,
        "hidden_dropout_prob": 0.0,
        "hidden_size": tower.hidden_size,
        "image_size": (tower.position_grid or tower.patches) * tower.patch_size,
        "layer_norm_eps": tower.layer_norm_eps,
        "mlp_ratio": tower.intermediate_size // tower.hidden_size,
        "num_attention_heads": tower.num_attention_heads,
        "num_channels": 3,
        "num_hidden_layers": tower.num_hidden_layers,
        "patch_size": tower.patch_size,
        "qkv_bias": True,
        "use_mask_token": False,
        "use_swiglu_ffn": False,
    }


def _prefix(names) -> str | None:
    return next((n.removesuffix(SIGN) for n in names if n.endswith(SIGN)), None)


def _renamed(name: str, prefix: str, *, pairs: Sequence[tuple[str, str]]) -> str:
    """`name` with its beginning after `prefix` exchanged; names that no pair begins stay."""
    if not name.startswith(prefix):
        return name
    inner = name[len(prefix) :]
    for old, new in pairs:
        found = re.match(re.escape(old).replace(r"\{i\}", r"(\d+)"), inner)
        if found:
            layer = found[1] if found.groups() else ""
            return prefix + new.replace("{i}", layer) + inner[found.end() :]
    return name
