"""The JSON files of a checkpoint in each exported layout; `hf_settings.py` is the other direction.

What a file says follows from our dataclasses alone; nothing is left to a reader's defaults that
this package can state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.clip import CLIPConfig
from sg4v_jax.models.llama import LlamaConfig
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.text.chat import stop_ids
from sg4v_jax.text.templates import TEMPLATES, ChatML, Template
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.weights import dinov2
from sg4v_jax.weights.store import ModelSettings, anyres_of

IMAGE = "<image>"
_PER_BYTE = 1 / 255


def configs(
    settings: ModelSettings, *, layout: str, dtype: str, image_id: int | None
) -> dict[str, Any]:
    """File name -> JSON value: `config.json` and what stands beside it.

    Args:
      settings: the model as it is exported (its vocabulary already widened).
      layout: llava, hf, clip or llama.
      dtype: of the weights, as torch calls it.
      image_id: the token that stands for visual tokens in layout hf.
    """
    if layout == "clip":
        return {
            "config.json": _vision(settings.config.tower)
            | {"architectures": ["CLIPVisionModel"], "torch_dtype": dtype},
            "preprocessor_config.json": _preprocessor(settings, kind="CLIPImageProcessor"),
        }
    files = {"generation_config.json": _generation(settings)}
    files["tokenizer_config.json"] = _tokenizer(settings, image=layout == "hf")
    if layout == "llama":
        text = _text(settings) | {"architectures": ["LlamaForCausalLM"], "torch_dtype": dtype}
        return files | {"config.json": text}
    if layout == "llava":
        files["config.json"] = _llava(settings) | {"torch_dtype": dtype}
        files["preprocessor_config.json"] = _preprocessor(settings, kind="CLIPImageProcessor")
        return files
    files["config.json"] = _llava_next(settings, image_id=image_id) | {"torch_dtype": dtype}
    kind = "LlavaNextImageProcessor"
    files["preprocessor_config.json"] = _preprocessor(settings, kind=kind) | {
        "do_pad": True,
        "image_grid_pinpoints": _pinpoints_height_first(settings),
        "processor_class": "LlavaNextProcessor",
    }
    files["processor_config.json"] = {
        "image_token": IMAGE,
        "num_additional_image_tokens": 1,  # the class token, which `default` then drops
        "patch_size": settings.config.tower.patch_size,
        "processor_class": "LlavaNextProcessor",
        "vision_feature_select_strategy": "default",
    }
    return files


def chat_template(settings: ModelSettings) -> str | None:
    r"""The model's chat template in Jinja, for transformers; None for one that has no blocks.

    An image is `<image>` and a line end before the text, as the model was trained. The bos that
    the tokenizer adds to a prompt is spelled: transformers adds none where the text begins with
    one.
    """
    template = settings.inputs.chat_template
    if type(template) not in (Template, ChatML):
        return None
    doubled = settings.inputs.double_bos
    if doubled is None:
        doubled = template.tokenizer_bos and settings.tokenizer.adds_bos
    bos = settings.tokenizer.token_of(settings.tokenizer.bos_id) if doubled else ""
    end = _quoted(template.end + template.gap)
    block = f"{{{{ {_quoted(template.start)} + role + {_quoted(template.header_end)} }}}}"
    system = ""
    if template.system is not None:
        text = _quoted(template.system)
        system = (
            "{% if not messages or messages[0]['role'] != 'system' %}"
            + block.replace("role", "'system'")
            + f"{{{{ {text} + {end} }}}}{{% endif %}}"
        )
    content = (
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        f"{{{{ '{IMAGE}\\n' }}}}{{% else %}}{{{{ part['text'] }}}}{{% endif %}}{{% endfor %}}"
        "{% endif %}"
    )
    turn = block.replace("role", "message['role']") + content
    ended = f"{{% if message['content'] %}}{{{{ {end} }}}}{{% endif %}}"
    begin = f"{{{{ {_quoted(bos + template.begin)} }}}}" if bos + template.begin else ""
    opened = block.replace("role", "'assistant'")
    return (
        f"{begin}{system}{{% for message in messages %}}{turn}{ended}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{opened}{{% endif %}}"
    )


def _quoted(text: str) -> str:
    """`text` as a Jinja string."""
    for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return f"'{text}'"


def _llm(llm: LlamaConfig) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "attention_bias": False,
        "head_dim": llm.head_dim,
        "hidden_act": "silu",
        "hidden_size": llm.hidden_size,
        "intermediate_size": llm.intermediate_size,
        "max_position_embeddings": llm.max_position_embeddings,
        "mlp_bias": False,
        "num_attention_heads": llm.num_attention_heads,
        "num_hidden_layers": llm.num_hidden_layers,
        "num_key_value_heads": llm.num_key_value_heads,
        "rms_norm_eps": llm.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": llm.rope_theta,
        "tie_word_embeddings": llm.tie_word_embeddings,
        "vocab_size": llm.vocab_size,
    }


def _text(settings: ModelSettings) -> dict[str, Any]:
    tokenizer = settings.tokenizer
    ids = {"bos_token_id": _bos(tokenizer)[0], "pad_token_id": tokenizer.pad_id}
    return _llm(settings.config.llm) | ids | {"eos_token_id": _end(settings)}


def _bos(tokenizer: Tokenizer) -> tuple[int | None, str | None]:
    """Id and text of the bos; (None, None) in a vocabulary that has none, as ChatML's."""
    try:
        return tokenizer.bos_id, tokenizer.token_of(tokenizer.bos_id)
    except CheckpointError:
        return None, None


def _end(settings: ModelSettings) -> int:
    """The token that closes an answer."""
    return settings.tokenizer.id_of(settings.inputs.chat_template.stops[0])


def _vision(tower: CLIPConfig) -> dict[str, Any]:
    if tower.layer_scale:
        return dinov2.config_json(tower)
    return {
        "model_type": "clip_vision_model",
        "hidden_act": tower.hidden_act,
        "hidden_size": tower.hidden_size,
        "image_size": tower.image_size,
        "intermediate_size": tower.intermediate_size,
        "layer_norm_eps": tower.layer_norm_eps,
        "num_attention_heads": tower.num_attention_heads,
        "num_channels": 3,
        "num_hidden_layers": tower.num_hidden_layers,
        "patch_size": tower.patch_size,
    }


def _llava(settings: ModelSettings) -> dict[str, Any]:
    config = settings.config
    return _text(settings) | {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava_llama",
        "image_aspect_ratio": "anyres",
        "image_grid_pinpoints": [list(p) for p in anyres_of(config).pinpoints],
        "mm_hidden_size": config.tower.hidden_size,
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": config.tower.feature_layer,
        # LLaVA's code builds the tower by this name; what it leaves open is said below, for ours.
        "mm_vision_tower": _tower_name(config.tower),
        "mm_vision_config": _vision(config.tower),
        "tokenizer_padding_side": "right",
        "unfreeze_mm_vision_tower": True,
    }


def _tower_name(tower: CLIPConfig) -> str | None:
    released = PRESETS["sg4v-8b"]().tower
    return "openai/clip-vit-large-patch14-336" if tower == released else None


def _llava_next(settings: ModelSettings, *, image_id: int | None) -> dict[str, Any]:
    config = settings.config
    return {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "model_type": "llava_next",
        "image_grid_pinpoints": _pinpoints_height_first(settings),
        "image_seq_length": config.tower.patches**2,
        "image_token_index": image_id,
        "multimodal_projector_bias": True,
        "projector_hidden_act": "gelu",
        "text_config": _text(settings),
        "tie_word_embeddings": config.llm.tie_word_embeddings,
        "vision_config": _vision(config.tower),
        "vision_feature_layer": config.tower.feature_layer,
        "vision_feature_select_strategy": "default",
    }


def _pinpoints_height_first(settings: ModelSettings) -> list[list[int]]:
    return [[h, w] for w, h in anyres_of(settings.config).pinpoints]


def _preprocessor(settings: ModelSettings, *, kind: str) -> dict[str, Any]:
    tower = settings.config.tower
    return {
        "crop_size": {"height": tower.image_size, "width": tower.image_size},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(tower.image_mean),
        "image_processor_type": kind,
        "image_std": list(tower.image_std),
        "resample": 3,  # Pillow's bicubic
        "rescale_factor": _PER_BYTE,
        "size": {"shortest_edge": tower.image_size},
    }


def _generation(settings: ModelSettings) -> dict[str, Any]:
    tokenizer = settings.tokenizer
    return {
        "bos_token_id": _bos(tokenizer)[0],
        "do_sample": False,
        "eos_token_id": sorted(stop_ids(tokenizer, TEMPLATES[settings.inputs.template])),
        "pad_token_id": tokenizer.pad_id,
    }


def _tokenizer(settings: ModelSettings, *, image: bool) -> dict[str, Any]:
    tokenizer = settings.tokenizer
    value: Mapping[str, Any] = {
        "bos_token": _bos(tokenizer)[1],
        "clean_up_tokenization_spaces": False,
        "eos_token": tokenizer.token_of(_end(settings)),
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": settings.config.llm.max_position_embeddings,
        "pad_token": tokenizer.token_of(tokenizer.pad_id),
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    extra = {"extra_special_tokens": {"image_token": IMAGE}} if image else {}
    return value | extra | ({"processor_class": "LlavaNextProcessor"} if image else {})
