"""Names of CLIP's vision tower in Hugging Face checkpoints (`CLIPVisionModel`).

What other towers have more or less is optional, by the same names; `dinov2.py` translates its own.
Legend as in `table.py`. Checkpoints on the hub and transformers up to version 4 put
`vision_model.` before every name; transformers 5 drops it in memory.
"""

from __future__ import annotations

from sg4v_jax.weights.table import (
    CONV,
    FLAT,
    LINEAR,
    MATRIX,
    MERGE_HEADS,
    SPLIT_HEADS,
    VECTOR,
    Table,
)

HUB = "vision_model."
TRANSFORMERS_5 = ""

# What a full CLIP model has beside its vision tower, and nothing here uses.
OTHER_HALF = Table(
    {},
    ignored=(
        "text_model.{any}",
        "text_projection.weight",
        "visual_projection.weight",
        "logit_scale",
    ),
)


def table(*, prefix: str, at: str = "") -> Table:
    """The tower's table.

    Args:
      prefix: what stands before every torch name: `HUB`, `TRANSFORMERS_5`, or a longer one.
      at: what stands before every path of ours, `tower.` inside a `VideoLM`.

    `{prefix}encoder.layers.23.mlp.fc1.weight` is the last layer of a 24-layer tower. With feature
    layer -2 it never runs and is `{at}tail.mlp.fc1.kernel[0]`; layers 0..22 are `{at}layers`.
    """
    torch, ours = f"{prefix}encoder.layers.{{i}}.", f"{at}layers."
    entries = {
        f"{prefix}embeddings.class_embedding": (f"{at}embeddings.class_embedding", VECTOR),
        f"{prefix}embeddings.patch_embedding.weight": (
            f"{at}embeddings.patch_embedding.kernel",
            CONV,
        ),
        f"{prefix}embeddings.position_embedding.weight": (
            f"{at}embeddings.position_embedding",
            MATRIX,
        ),
        **_norm(f"{prefix}pre_layrnorm", f"{at}pre_layrnorm"),
        **_norm(f"{prefix}post_layernorm", f"{at}post_layernorm"),
        **_norm(f"{torch}layer_norm1", f"{ours}layer_norm1"),
        **_norm(f"{torch}layer_norm2", f"{ours}layer_norm2"),
    }
    more = {
        f"{prefix}embeddings.patch_embedding.bias": (
            f"{at}embeddings.patch_embedding.bias",
            VECTOR,
        ),
        f"{torch}layer_scale1": (f"{ours}layer_scale1", VECTOR),
        f"{torch}layer_scale2": (f"{ours}layer_scale2", VECTOR),
    }
    less = (f"{prefix}embeddings.class_embedding", *_norm(f"{prefix}pre_layrnorm", ""))
    for name in ("q_proj", "k_proj", "v_proj"):
        entries[f"{torch}self_attn.{name}.weight"] = (
            f"{ours}self_attn.{name}.kernel",
            SPLIT_HEADS,
        )
        entries[f"{torch}self_attn.{name}.bias"] = (f"{ours}self_attn.{name}.bias", FLAT)
    for name, kernel in (
        ("self_attn.out_proj", MERGE_HEADS),
        ("mlp.fc1", LINEAR),
        ("mlp.fc2", LINEAR),
    ):
        entries[f"{torch}{name}.weight"] = (f"{ours}{name}.kernel", kernel)
        entries[f"{torch}{name}.bias"] = (f"{ours}{name}.bias", VECTOR)
    return Table(
        entries | more,
        continues={ours: f"{at}tail."},
        # A buffer of 0..P that transformers up to 4.30 saved with the weights, and what only
        # DINOv2's pre-training reads.
        ignored=(f"{prefix}embeddings.position_ids", f"{prefix}embeddings.mask_token"),
        optional=(*more, *less),
    )


def _norm(torch: str, ours: str) -> dict:
    return {
        f"{torch}.weight": (f"{ours}.scale", VECTOR),
        f"{torch}.bias": (f"{ours}.bias", VECTOR),
    }
