"""The tokenizer: a `tokenizer.json` file read through the `tokenizers` library.

The package speaks Llama 3's control tokens (spec of the original system, 1.6). `Tokenizer` looks
them up by name, so that no id is written anywhere in the code, and says which one is missing.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, ConfigError

BOS = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
EOT = "<|eot_id|>"
PAD = "<|pad|>"
SPECIAL_TOKENS = (BOS, END_OF_TEXT, START_HEADER, END_HEADER, EOT, PAD)

# Llama 3 has no pad token of its own, so fine-tunes brought different ones; first found wins.
_PAD_NAMES = (PAD, "<pad>", "<|finetune_right_pad_id|>", END_OF_TEXT)

# How Llama 3 cuts text before merging bytes: contractions, words with at most one leading
# non-letter, numbers of up to three digits, punctuation runs, line ends, other white space.
_LLAMA_3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
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

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> Tokenizer:
        """Reads a `tokenizer.json`, local or `gs://`.

        Raises:
          CheckpointError: the file is missing, or is not a tokenizer file.
        """
        try:
            backend = tokenizers.Tokenizer.from_str(files.path(path).read_text())
        except OSError as e:
            raise CheckpointError(
                f"{path}: cannot read the tokenizer: {e.strerror or e}",
                mend="point to a folder or file that has tokenizer.json",
            ) from e
        except Exception as e:  # the library raises bare Exception for every format error
            raise CheckpointError(
                f"{path}: not a tokenizer file: {e}",
                mend="use a tokenizer.json in the format of the tokenizers library",
            ) from e
        return cls(backend, source=str(path))

    def save(self, path: str | os.PathLike) -> None:
        """Writes the tokenizer as `tokenizer.json`, whole or not at all.

        Raises:
          StorageError: the disk is full or the folder cannot be written.
        """
        files.write_atomic(path, self._backend.to_str(pretty=True))

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`.

        Control tokens spelled out in `text` become their ids either way: the chat template is
        written with them. Text from outside is checked before, in `text/chat.py`.

        Args:
          text: any string; bytes that have no longer token stand alone.
          special: let the file's post-processor add its tokens (Llama 3's adds the bos).
        """
        return self._backend.encode(text, add_special_tokens=special).ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Text of `ids` (all >= 0); control tokens are left out, or spelled out."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special)

    def id_of(self, token: str) -> int:
        """The id of `token`.

        Raises:
          CheckpointError: the vocabulary has no such token.
        """
        token_id = self._backend.token_to_id(token)
        if token_id is None:
            raise CheckpointError(
                f"{self._source}: the vocabulary has no token {token!r}",
                mend="use a Llama 3 tokenizer, or make one with train_byte_bpe",
            )
        return token_id

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
        return self.encode("", special=True)[:1] == [self.bos_id]

    @functools.cached_property
    def control_ids(self) -> frozenset[int]:
        """Ids of every control token of the file, reserved ones included."""
        added = self._backend.get_added_tokens_decoder()
        return frozenset(i for i, token in added.items() if token.special)

    @functools.cached_property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end an answer: both of Llama 3's, end of text and end of turn."""
        return frozenset({self.id_of(END_OF_TEXT), self.eot_id})

    @functools.cached_property
    def pad_id(self) -> int:
        """Id of the pad token, or of the end of text where the file has no pad."""
        for name in _PAD_NAMES[:-1]:
            if self._backend.token_to_id(name) is not None:
                return self.id_of(name)
        return self.id_of(_PAD_NAMES[-1])

    @functools.cached_property
    def bos_id(self) -> int:
        """Id of `<|begin_of_text|>`."""
        return self.id_of(BOS)

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
    backend = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(_LLAMA_3_SPLIT), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer=trainer)
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", special_tokens=[(BOS, backend.token_to_id(BOS))]
        )
    return Tokenizer(backend, source="trained tokenizer")
