"""Our dataclasses from a checkpoint's `config.json` and `preprocessor_config.json`.

Each value is checked against the shapes of the tensors, and none has a default: what no file says
must be given (`--set`). `hf_files.py` is the other direction.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.models.clip import CLIPConfig
from sg4v_jax.models.llama import LlamaConfig
from sg4v_jax.models.video_lm import CLIP_MEAN, CLIP_STD, VideoLMConfig
from sg4v_jax.text.chat import GRID_PREAMBLE
from sg4v_jax.video.anyres import AnyRes
from sg4v_jax.weights.facts import Facts
from sg4v_jax.weights.source import Source
from sg4v_jax.weights.video_lm import LAYOUTS

# LLaVA's config names its tower and says no more. What that name stands for, from the files of
# the hub's repository of this name; shapes are still checked.
TOWERS: Mapping[str, Mapping[str, Any]] = {
    "clip-vit-large-patch14-336": {
        "num_attention_heads": 16,
        "layer_norm_eps": 1e-5,
        "hidden_act": "quick_gelu",
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
    }
}
# What every DINOv2 tower has, of `CLIPConfig`'s options.
DINOV2 = {"patch_bias": True, "layer_scale": True, "pre_norm": False}

# How the original shows a video; a checkpoint does not define it, `--set` changes it.
PROTOCOL = {
    "visual": "anyres",
    "frames": 16,
    "band": 50,
    "longest_side": 1920,
    "template": "llava_llama_3",
    "preamble": GRID_PREAMBLE,
}


def video_config(parts: Mapping[str, Source], facts: Facts) -> VideoLMConfig | None:
    """The model whose parts come from `parts` (part -> source); None where facts are lacking."""
    llm = llm_config(parts["llm"], facts)
    tower = tower_config(parts["tower"], parts["projector"], facts)
    main = parts["projector"] if parts["projector"].config else parts["llm"]
    config = main.config
    facts.must_be(config, "mm_projector_type", "mlp2x_gelu")
    facts.must_be(config, "projector_hidden_act", "gelu")
    facts.must_be(config, "mm_patch_merge_type", "spatial_unpad")
    facts.must_be(config, "image_aspect_ratio", "anyres")
    facts.must_be(config, "mm_vision_select_feature", "patch")
    facts.must_be(config, "vision_feature_select_strategy", "default")
    facts.must_be(config, "mm_use_im_start_end", False)
    first = LAYOUTS[parts["projector"].layout].projector[0]
    shape = parts["projector"].tensors.shapes[f"{first}.weight"]
    if llm is not None and tower is not None and shape != (llm.hidden_size, tower.hidden_size):
        facts.wrong.append(
            f"{first}.weight has shape {shape}, but decoder and tower have widths "
            f"{llm.hidden_size} and {tower.hidden_size}"
        )
    listed = config.get("image_grid_pinpoints")
    if listed is not None and config.get("model_type") == "llava_next":
        listed = [[w, h] for h, w in listed]  # transformers writes (height, width)
    listed = facts.value("pinpoints", listed)
    if llm is None or tower is None or listed is None:
        return None
    side = tower.image_size
    if any(w % side or h % side for w, h in listed):
        facts.wrong.append(f"pinpoints {listed} are not made of whole tiles of {side}")
        return None
    pinpoints = tuple((w // side, h // side) for w, h in listed)
    return VideoLMConfig(tower=tower, llm=llm, separators=1, pinpoints=pinpoints)


def llm_config(source: Source, facts: Facts) -> LlamaConfig | None:
    """The decoder of `source`."""
    text, shapes = source.config.get("text_config") or source.config, source.tensors.shapes
    for key, allowed in {
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "mlp_bias": (False,),
        "rope_scaling": (),
    }.items():
        facts.must_be(text, key, *allowed)
    rope = text.get("rope_parameters") or {}
    facts.must_be(rope, "rope_type", "default")
    prefix, head = LAYOUTS[source.layout].decoder, LAYOUTS[source.layout].head
    at = f"{prefix}layers.0."
    name = {
        "embed": f"{prefix}embed_tokens.weight",
        "q": f"{at}self_attn.q_proj.weight",
        "k": f"{at}self_attn.k_proj.weight",
        "gate": f"{at}mlp.gate_proj.weight",
    }
    rows = {k: shapes[n][0] for k, n in name.items() if n in shapes}
    layers = _layers(shapes, rf"{re.escape(prefix)}layers\.(\d+)\.")
    heads = facts.value("num_attention_heads", text.get("num_attention_heads"))
    per_head = rows["q"] // heads if heads and "q" in rows else None
    head_dim = facts.value("head_dim", text.get("head_dim"), shape=per_head, of=name["q"])
    kv_heads = rows["k"] // head_dim if head_dim and "k" in rows else None
    # Files up to transformers 4 leave the field out where it is false; the head decides.
    tied = text.get("tie_word_embeddings", source.config.get("tie_word_embeddings"))
    no_head = True if head not in shapes else None
    fields = {
        "vocab_size": facts.value(
            "vocab_size", text.get("vocab_size"), shape=rows["embed"], of=name["embed"]
        ),
        "hidden_size": facts.value(
            "hidden_size", text.get("hidden_size"), shape=shapes[name["embed"]][1], of=name["embed"]
        ),
        "intermediate_size": facts.value(
            "intermediate_size",
            text.get("intermediate_size"),
            shape=rows.get("gate"),
            of=name["gate"],
        ),
        "num_hidden_layers": facts.value(
            "num_hidden_layers", text.get("num_hidden_layers"), shape=layers, of="all layers"
        ),
        "num_attention_heads": heads,
        "num_key_value_heads": facts.value(
            "num_key_value_heads", text.get("num_key_value_heads"), shape=kv_heads, of=name["k"]
        ),
        "head_dim": head_dim,
        "rope_theta": facts.value("rope_theta", text.get("rope_theta"), rope.get("rope_theta")),
        "rms_norm_eps": facts.value("rms_norm_eps", text.get("rms_norm_eps")),
        "max_position_embeddings": facts.value(
            "max_position_embeddings", text.get("max_position_embeddings")
        ),
        "tie_word_embeddings": facts.value("tie_word_embeddings", tied, shape=no_head, of=head),
    }
    return None if None in fields.values() else LlamaConfig(**fields)


def tower_config(source: Source, main: Source, facts: Facts) -> CLIPConfig | None:
    """The tower in `source`; which layer's features are taken, `main` says."""
    shapes, prefix = source.tensors.shapes, LAYOUTS[source.layout].tower
    stated = source.config.get("vision_config") or source.config.get("mm_vision_config")
    if stated is None:
        known = any(kind in source.config.get("model_type", "") for kind in ("clip", "dinov2"))
        stated = source.config if known else {}
    facts.must_be(stated, "use_swiglu_ffn", False)
    named = str(source.config.get("mm_vision_tower")).rstrip("/").rpartition("/")[2]
    known = TOWERS.get(named, {})
    names = {
        "patch": f"{prefix}embeddings.patch_embedding.weight",
        "position": f"{prefix}embeddings.position_embedding.weight",
        "fc1": f"{prefix}encoder.layers.0.mlp.fc1.weight",
    }
    found = {k: shapes.get(n) for k, n in names.items()}
    patch = found["patch"][2] if found["patch"] else None
    width = found["patch"][0] if found["patch"] else None
    grid = math.isqrt(found["position"][0] - 1) if found["position"] else None
    side = grid * patch if grid and patch else None

    def one(key: str, *more: Any, shape: Any = None, of: str = "") -> Any:
        return facts.value(f"tower.{key}", stated.get(key), *more, shape=shape, of=names.get(of))

    def pixels(key: str) -> Any:
        value = one(key, source.preprocessor.get(key), main.preprocessor.get(key), known.get(key))
        return None if value is None else tuple(value)

    layers = _layers(shapes, rf"{re.escape(prefix)}encoder\.layers\.(\d+)\.")
    config = main.config
    # DINOv2's table is resized to the image, whose side the image processor knows.
    resized = f"{prefix}encoder.layers.0.layer_scale1" in shapes
    crop = (source.preprocessor.get("crop_size") or {}).get("height")
    fields = {
        "image_size": facts.value("tower.image_size", crop, stated.get("image_size"))
        if resized
        else one("image_size", shape=side, of="position"),
        "patch_size": one("patch_size", shape=patch, of="patch"),
        "hidden_size": one("hidden_size", shape=width, of="patch"),
        "intermediate_size": one(
            "intermediate_size", shape=found["fc1"][0] if found["fc1"] else None, of="fc1"
        ),
        "num_hidden_layers": one("num_hidden_layers", shape=layers),
        "num_attention_heads": one("num_attention_heads", known.get("num_attention_heads")),
        "layer_norm_eps": one("layer_norm_eps", known.get("layer_norm_eps")),
        "hidden_act": one("hidden_act", known.get("hidden_act")),
        "feature_layer": one(
            "feature_layer",
            config.get("mm_vision_select_layer"),
            config.get("vision_feature_layer"),
        ),
        "image_mean": pixels("image_mean"),
        "image_std": pixels("image_std"),
    }
    if None in fields.values():
        return None
    if resized:
        own = grid == fields["image_size"] // fields["patch_size"]
        fields |= DINOV2 | {"position_grid": 0 if own else grid}
    return CLIPConfig(**fields)


def input_spec(config: VideoLMConfig, given: Mapping[str, Any]) -> InputSpec:
    """How the original shows videos to a model with `config`, changed by `given`."""
    side = config.tower.image_size
    pinpoints = tuple((w * side, h * side) for w, h in config.pinpoints)
    anyres = AnyRes(side=side, pinpoints=pinpoints, patches=config.tower.patches)
    fields = InputSpec.__dataclass_fields__
    return InputSpec(anyres=anyres, **PROTOCOL | {k: v for k, v in given.items() if k in fields})


def _layers(shapes: Mapping[str, Any], pattern: str) -> int | None:
    numbers = {int(m[1]) for m in (re.match(pattern, name) for name in shapes) if m}
    return len(numbers) or None
