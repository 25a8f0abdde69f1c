"""The tokenizer in a GGUF file, rebuilt for the `tokenizers` library (byte-level BPE only).

The file has tokens with their types, merges, and the name of the rule that cuts text before
merging; the rule itself is part of every reader.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from sg4v_jax.errors import CheckpointError
from sg4v_jax.text.byte_level import add_bos, byte_level_tokenizer
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.weights import gguf_source

_CONTROL, _USER_DEFINED = 3, 4  # of tokenizer.ggml.token_type
_MEND = "give the model's tokenizer.json with --tokenizer"


def read(path: str | os.PathLike) -> Tokenizer:
    """The tokenizer of a GGUF file.

    Raises:
      CheckpointError: the file is damaged, has no byte-level BPE, or cuts text by an unknown rule.
      ConfigError: the package gguf is not installed.
    """
    return from_metadata(gguf_source.open_file(path).metadata, source=os.fspath(path))


def from_metadata(metadata: Mapping[str, Any], *, source: str) -> Tokenizer:
    """The tokenizer that a file's metadata describe; `source` names the file in messages.

    Raises:
      CheckpointError: see `read`.
    """
    get = lambda name: metadata.get(f"tokenizer.ggml.{name}")
    if get("model") != "gpt2":
        raise CheckpointError(
            f"{source}: tokenizer.ggml.model is {get('model')!r}, not byte-level BPE ('gpt2')",
            mend=_MEND,
        )
    if get("pre") not in _CUTS:
        raise CheckpointError(
            f"{source}: tokenizer.ggml.pre is {get('pre')!r}; known are {', '.join(_CUTS)}",
            mend=_MEND,
        )
    tokens, kinds, merges = get("tokens"), get("token_type"), get("merges")
    if not tokens or not merges or len(kinds or ()) != len(tokens):
        raise CheckpointError(f"{source}: tokens, their types or merges are missing", mend=_MEND)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    backend = _CUTS[get("pre")](vocabulary, pairs)
    of_kind = lambda kind: [t for t, k in zip(tokens, kinds, strict=True) if k == kind]
    backend.add_special_tokens(of_kind(_CONTROL))
    backend.add_tokens(of_kind(_USER_DEFINED))
    if get("add_bos_token"):
        add_bos(backend, tokens[get("bos_token_id")])
    return Tokenizer(backend, source=source)


def _smollm(vocabulary, merges) -> tokenizers.Tokenizer:
    """GPT-2's cut, with every digit alone."""
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, to_bytes])
    backend.decoder = decoders.ByteLevel()
    return backend


def _llama_3(vocabulary, merges) -> tokenizers.Tokenizer:
    return byte_level_tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))


_CUTS = {"smollm": _smollm, "llama-bpe": _llama_3}  # tokenizer.ggml.pre -> maker
