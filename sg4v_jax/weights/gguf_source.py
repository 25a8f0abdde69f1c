"""Llama-architecture GGUF files (llama.cpp): tensors dequantised, under Hugging Face's names.

Read with the package `gguf`. Two things differ from `LlamaForCausalLM` beside the names: matrices
are quantised, and the rows of q and k lie in the order of interleaved rotary pairs. The second is
a trap: with the wrong order nothing fails, the model is only a little worse.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from sg4v_jax.errors import CheckpointError
from sg4v_jax.weights import extras

SUFFIX = ".gguf"
ARCHITECTURE = "llama"

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# `config.json`'s names of the metadata's; what a file does not say, nothing here says.
_SETTINGS = {
    "vocab_size": "vocab_size",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rope_theta": "rope.freq_base",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "max_position_embeddings": "context_length",
}


class Opened(NamedTuple):
    """A file: tensors by `LlamaForCausalLM`'s names, what its JSON files would say, and all its
    metadata by name."""

    tensors: GGUFTensors
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    metadata: Mapping[str, Any]


class GGUFTensors(Mapping[str, np.ndarray]):
    """Tensors by name, each dequantised when it is asked for; shapes and dtypes known before."""

    def __init__(self, makers: Mapping[str, tuple[tuple[int, ...], np.dtype, Callable]], *, file):
        self._makers = makers
        self.shapes = {name: shape for name, (shape, _, _) in makers.items()}
        self.dtypes = {name: dtype for name, (_, dtype, _) in makers.items()}
        self.files = dict.fromkeys(makers, file)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._makers[name][2]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def open_file(path: str | os.PathLike) -> Opened:
    """The model in a GGUF file: its header is read, tensors are not.

    F32 and F16 tensors keep their dtype; every other kind is dequantised to f32.

    Raises:
      CheckpointError: not a whole GGUF file, another architecture than llama, or rotary settings
        that this package has not.
      ConfigError: the package gguf is not installed.
    """
    gguf = extras.optional("gguf", extra="gguf", needed_for=f"{path}")
    try:
        reader = _reader(os.fspath(path), os.stat(path).st_mtime_ns)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except Exception as e:  # the library raises what numpy raises at the end of a file
        raise CheckpointError(
            f"{path}: not a whole GGUF file ({type(e).__name__}: {e})", mend="fetch it again"
        ) from e
    config = _config(metadata, path=path)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    makers = {}
    for tensor in reader.tensors:
        kind, block = _hf_name(tensor.name)
        shape = tuple(int(n) for n in tensor.shape[::-1])  # GGUF's first axis is the fastest
        plain = tensor.data.dtype in (np.float32, np.float16)
        dtype = tensor.data.dtype if plain else np.dtype(np.float32)

        def made(tensor=tensor, shape=shape, block=block) -> np.ndarray:
            values = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
            return to_half_split(values, heads=heads[block]) if block in heads else values

        makers[kind] = (shape, dtype, made)
    config["tie_word_embeddings"] = "lm_head.weight" not in makers  # so llama.cpp reads them
    return Opened(GGUFTensors(makers, file=path), config, {}, metadata)


@functools.lru_cache(maxsize=1)
def _reader(path: str, changed: int):
    """The library's reader: seconds for 50,000 tokens, and weights and tokenizer each want it."""
    return importlib.import_module("gguf").GGUFReader(path)


def to_half_split(rows: np.ndarray, *, heads: int) -> np.ndarray:
    """Rows of q or k (heads*H, D) from interleaved rotary pairs to halves, Hugging Face's order.

    Within a head of 4 rows, pairs (0, 1) and (2, 3) become pairs (0, 2) and (1, 3):
    rows a0 b0 a1 b1 -> a0 a1 b0 b1.
    """
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _hf_name(name: str) -> tuple[str, str | None]:
    """(Hugging Face's name, what it is in its block); an unknown name stays as it is."""
    stem, _, end = name.rpartition(".")
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if block and block[2] in _LAYER_NAMES:
        return f"model.layers.{block[1]}.{_LAYER_NAMES[block[2]]}.{end}", block[2]
    return (f"{_NAMES[stem]}.{end}", None) if stem in _NAMES else (name, None)


def _config(metadata: Mapping[str, Any], *, path) -> dict[str, Any]:
    architecture = metadata.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise CheckpointError(
            f"{path}: general.architecture is {architecture!r}; only {ARCHITECTURE!r} is known",
            mend="give a file of a Llama model",
        )
    get = lambda name: metadata.get(f"{ARCHITECTURE}.{name}")
    config = {key: _decimal(get(name)) for key, name in _SETTINGS.items()}
    heads, width = config["num_attention_heads"], config["hidden_size"]
    if not heads or not width or not config["num_key_value_heads"]:
        raise CheckpointError(
            f"{path}: the metadata do not say how many heads there are", mend="fetch it again"
        )
    head_dim = config["head_dim"] = config["head_dim"] or width // heads
    turned = get("rope.dimension_count")
    if turned not in (None, head_dim):
        raise CheckpointError(
            f"{path}: rope.dimension_count is {turned}, a head has {head_dim}",
            mend="this package turns whole heads; give a file of a Llama model",
        )
    scaling = get("rope.scaling.type")
    return config | {
        "model_type": ARCHITECTURE,
        "rope_scaling": None if scaling in (None, "none") else {"rope_type": scaling},
    }


def _decimal(value: Any) -> Any:
    """A float as the shortest decimal number that rounds to its f32: 1e-5, not 9.99...e-6."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
