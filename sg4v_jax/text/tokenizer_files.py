"""Tokenizer files to tokenizers: which kind a file is of is read from its content, not its name.

tokenizer.json    the format of the `tokenizers` library
tokenizer.model   Llama 3: base64 tokens and ranks (`byte_level.py`)
tokenizer.model   InternLM2: a SentencePiece model (`sentencepiece_model.py`)
"""

from __future__ import annotations

import json
import os
import re

import tokenizers

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError
from sg4v_jax.text.byte_level import read_llama3_ranks
from sg4v_jax.text.control_tokens import INTERNLM2_NAMES, SENTENCE_END, SENTENCE_START, UNK
from sg4v_jax.text.sentencepiece_model import read_sentencepiece

FILE_NAMES = ("tokenizer.json", "tokenizer.model")  # in a folder the first found is read
_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")
_FIRST_PIECE = b"\n"  # protobuf: field 1, the first piece


def read_backend(path: str | os.PathLike) -> tokenizers.Tokenizer:
    """The tokenizer of a file, or of a folder's `tokenizer.json` or else `tokenizer.model`.

    InternLM2's control tokens are made special, which its files leave to other files.

    Raises:
      CheckpointError: no such file, a kind that is not known, or a damaged file.
    """
    source, content = _read(path)
    if content.lstrip()[:1] == b"{":
        backend = _read_json(content, source=source)
    elif _RANK_LINE.match(content):
        backend = read_llama3_ranks(content, source=source)
    elif content.startswith(_FIRST_PIECE):
        backend = read_sentencepiece(content, source=source)
    else:
        raise CheckpointError(
            f"{source}: not a tokenizer file: it begins with {content[:20]!r}",
            mend="use a tokenizer.json, or a tokenizer.model of Llama 3 or of SentencePiece",
        )
    _add_internlm2_control_tokens(backend)
    return backend


def _read(path: str | os.PathLike) -> tuple[str, bytes]:
    """Name and content of the file at `path`, or of the first known one in the folder there."""
    place = files.path(path)
    try:
        if place.is_dir():
            found = [place / name for name in FILE_NAMES if (place / name).exists()]
            if not found:
                raise CheckpointError(
                    f"{path}: no {' or '.join(FILE_NAMES)} in this folder",
                    mend="point to a folder or file of a tokenizer",
                )
            place = found[0]
        return str(place), place.read_bytes()
    except OSError as e:
        raise CheckpointError(
            f"{place}: cannot read the tokenizer: {e.strerror or e}",
            mend="point to a folder or file of a tokenizer",
        ) from e


def _read_json(content: bytes, *, source: str) -> tokenizers.Tokenizer:
    try:
        text = content.decode()
        if any(name in text for name in INTERNLM2_NAMES.values()):
            text = _without_second_names(text)
        return tokenizers.Tokenizer.from_str(text)
    except Exception as e:  # the library raises bare Exception for every format error
        raise CheckpointError(
            f"{source}: not a tokenizer file: {e}",
            mend="use a tokenizer.json in the format of the tokenizers library",
        ) from e


def _without_second_names(text: str) -> str:
    """Takes out added tokens that name an id which the vocabulary spells in another way.

    The library would not give them that id, but a new one at the end.
    """
    value = json.loads(text)
    vocabulary = value["model"]["vocab"]
    value["added_tokens"] = [
        token
        for token in value.get("added_tokens") or []
        if vocabulary.get(INTERNLM2_NAMES.get(token["content"])) != token["id"]
    ]
    return json.dumps(value, ensure_ascii=False)


def _add_internlm2_control_tokens(backend: tokenizers.Tokenizer) -> None:
    if backend.token_to_id(INTERNLM2_NAMES["<|im_start|>"]) is None:
        return
    names = (UNK, SENTENCE_START, SENTENCE_END, *INTERNLM2_NAMES.values())
    backend.add_special_tokens([n for n in names if backend.token_to_id(n) is not None])
