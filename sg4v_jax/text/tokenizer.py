"""The tokenizer: text to token ids and back, and ids of control tokens by their names.

`Tokenizer` looks control tokens up by name, so that no id is written anywhere in the code, and
says which one is missing. `tokenizer_files.py` reads the files.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, ConfigError, RecordError
from sg4v_jax.text.byte_level import add_bos, byte_level_tokenizer
from sg4v_jax.text.control_tokens import (
    BOS,
    END_HEADER,
    END_OF_DOCUMENT,
    END_OF_TEXT,
    EOT,
    INTERNLM2_NAMES,
    LLAMA_3_1_NAMES,
    PAD,
    SENTENCE_END,
    SENTENCE_START,
    START_HEADER,
)
from sg4v_jax.text.tokenizer_files import read_backend

SPECIAL_TOKENS = (BOS, END_OF_TEXT, START_HEADER, END_HEADER, EOT, PAD)

# First found wins. Llama 3 has no pad token of its own, so fine-tunes brought different ones.
_BOS_NAMES = (BOS, SENTENCE_START)
_PAD_NAMES = (
    PAD,
    "<pad>",
    "<|finetune_right_pad_id|>",
    END_OF_TEXT,
    END_OF_DOCUMENT,
    SENTENCE_END,
)


class Tokenizer:
    """Text to token ids and back. Picklable, so that data workers can hold one."""

    def __init__(self, backend: tokenizers.Tokenizer, *, source: str = "tokenizer"):
        """Wraps `backend`; `source` names its file in messages.

        Truncation and padding settings stored in the file are switched off: length is the
        business of `data/`.
        """
        backend.no_truncation()
        backend.no_padding()
        self._backend, self._source = backend, source
        # Second spellings: of InternLM2's chat tokens also in texts, where both must be seen; of
        # Llama 3's reserved tokens only by name, as the original reads them as plain text.
        self._spellings = self._missing(INTERNLM2_NAMES)
        self._names = self._spellings | self._missing(LLAMA_3_1_NAMES)

    def _missing(self, names: Mapping[str, str]) -> dict[str, str]:
        """Those of `names` (second name -> own name) whose own name alone is in the vocabulary."""
        known = self._backend.token_to_id
        return {n: own for n, own in names.items() if known(n) is None and known(own) is not None}

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> Tokenizer:
        """Reads a tokenizer from a file or from the folder that has it, local or `gs://`.

        `tokenizer.json`, Llama 3's `tokenizer.model` (ranks) and InternLM2's `tokenizer.model`
        (SentencePiece) are told apart by their content. A rank file does not say whether a bos
        is added: the tokenizer made of it adds one, as the released Llama 3 models were trained.

        Raises:
          CheckpointError: the file is missing, damaged, or of no known kind.
        """
        return cls(read_backend(path), source=str(path))

    def save(self, path: str | os.PathLike) -> None:
        """Writes the tokenizer as `tokenizer.json`, whole or not at all.

        Raises:
          StorageError: the disk is full or the folder cannot be written.
        """
        files.write_atomic(path, self._backend.to_str(pretty=True))

    def digest(self) -> str:
        """A hash of all that decides ids; equal tokenizers have equal ones."""
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`.

        Control tokens spelled out in `text` become their ids either way: the chat template is
        written with them. Text from outside is checked before, in `text/chat.py`.

        Args:
          text: any string; bytes that have no longer token stand alone.
          special: let the file's post-processor add its tokens (Llama 3's adds the bos).

        Raises:
          RecordError: `text` has a lone surrogate (a half of a character).
        """
        for second, own in self._spellings.items():
            text = text.replace(second, own)
        try:
            return self._backend.encode(text, add_special_tokens=special).ids
        except TypeError as e:  # all that the library says of a lone surrogate
            raise RecordError(
                f"text {text!r:.60} has a half of a character, which no token can spell",
                mend="write the character whole, or take it out",
            ) from e

    def cut(self, text: str, *, tokens: int) -> str:
        """The longest beginning of `text` that is at most so many tokens, whole characters only.

        The text itself is cut, so that a tokenizer that changes case or spaces changes nothing:

            "A Dog runs.", of tokens a, dog, runs and ., with tokens=2  ->  "A Dog"

        Raises:
          RecordError: as `encode`.
        """
        if len(self.encode(text, special=False)) <= tokens:
            return text
        spans = self._backend.encode(text, add_special_tokens=False).offsets
        for keep in range(min(tokens, len(spans)), 0, -1):
            # A cut may change how the end is split, and a character may be several tokens.
            piece = text[: max(end for _, end in spans[:keep])].rstrip()
            if len(self.encode(piece, special=False)) <= tokens:
                return piece
        return ""

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Text of `ids` (all >= 0); control tokens are left out, or spelled out."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special)

    def id_of(self, token: str) -> int:
        """The id of `token`; control tokens answer to their second names too.

        `<|im_end|>` and `[UNUSED_TOKEN_145]` are one id of InternLM2; Llama 3's
        `<|reserved_special_token_4|>` is also Llama 3.1's `<|eom_id|>`.

        Raises:
          CheckpointError: the vocabulary has no such token.
        """
        token_id = self._backend.token_to_id(self._names.get(token, token))
        if token_id is None:
            raise CheckpointError(
                f"{self._source}: the vocabulary has no token {token!r}",
                mend="use the tokenizer of the model that the chat template was made for",
            )
        return token_id

    def has(self, token: str) -> bool:
        """Whether `id_of(token)` has an answer."""
        return self._backend.token_to_id(self._names.get(token, token)) is not None

    def token_of(self, token_id: int) -> str | None:
        """The vocabulary entry of `token_id` as stored, None where there is none."""
        return self._backend.id_to_token(token_id)

    @property
    def vocab_size(self) -> int:
        """Number of ids: one more than the largest, control tokens included."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    @functools.cached_property
    def adds_bos(self) -> bool:
        """Whether encoding with `special=True` puts a bos in front."""
        return any(self.has(n) for n in _BOS_NAMES) and (
            self.encode("", special=True)[:1] == [self.bos_id]
        )

    @functools.cached_property
    def control_ids(self) -> frozenset[int]:
        """Ids of every control token of the file, reserved ones included."""
        added = self._backend.get_added_tokens_decoder()
        return frozenset(i for i, token in added.items() if token.special)

    @functools.cached_property
    def pad_id(self) -> int:
        """Id of the pad token, or of the end of text where the file has no pad."""
        return self._first_id(_PAD_NAMES, or_else=END_OF_TEXT)

    @functools.cached_property
    def bos_id(self) -> int:
        """Id of `<|begin_of_text|>` or `<s>`: the one that is added, else the one that is there."""
        front = self.encode("", special=True)[:1]
        added = [n for n in _BOS_NAMES if self.has(n) and front == [self.id_of(n)]]
        return self._first_id([*added, *_BOS_NAMES], or_else=BOS)

    def _first_id(self, names: Sequence[str], *, or_else: str) -> int:
        own = self._backend.token_to_id
        return self.id_of(next((n for n in names if own(n) is not None), or_else))

    @functools.cached_property
    def eot_id(self) -> int:
        """Id of `<|eot_id|>`, which closes every turn."""
        return self.id_of(EOT)

    @functools.cached_property
    def start_header_id(self) -> int:
        """Id of `<|start_header_id|>`, which opens a turn's role."""
        return self.id_of(START_HEADER)

    @functools.cached_property
    def end_header_id(self) -> int:
        """Id of `<|end_header_id|>`, which closes a turn's role."""
        return self.id_of(END_HEADER)


def train_byte_bpe(texts: Iterable[str], *, vocab_size: int, adds_bos: bool = False) -> Tokenizer:
    """A byte-level BPE tokenizer with Llama 3's cut pattern and control tokens.

    Ids 0..255 are the bytes, so any text encodes; merges follow; the six `SPECIAL_TOKENS` come
    last. The same texts in the same order give the same tokenizer.

    Args:
      texts: what to learn the merges from.
      vocab_size: number of ids, all included; fewer come out where `texts` has too few pairs.
      adds_bos: give the file a post-processor that puts a bos in front, as Llama 3's has.

    Raises:
      ConfigError: `vocab_size` has no room for the bytes and the control tokens.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ConfigError(
            f"vocab_size {vocab_size} is too small for 256 bytes and control tokens",
            mend=f"use at least {smallest}",
        )
    backend = byte_level_tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer=trainer)
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    if adds_bos:
        add_bos(backend, BOS)
    return Tokenizer(backend, source="trained tokenizer")
