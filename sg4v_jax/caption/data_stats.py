"""What the texts of training arms are made of, side by side, and what each model would cut off."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax import files
from sg4v_jax.caption import lexical
from sg4v_jax.caption.caption_file import read_captions
from sg4v_jax.data.mixture import Part, read_part
from sg4v_jax.data.readers import READERS
from sg4v_jax.data.record import Record
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.text.chat import TEMPLATES, Turn, tokenize_chat
from sg4v_jax.text.tokenizer import Tokenizer

# Tokens that text encoders take, their own begin and end included; the rest is cut off.
# CLIP; T5 of CogVideoX (226), Open-Sora-Plan (300) and Wan (512), and a shorter one.
LIMITS = {"clip": (77,), "t5": (200, 226, 300, 512)}
TAGGED = 2000  # captions whose parts of speech are counted; tagging is slow
_SEGMENT = 1000  # words
_QUESTION = "<image>\nDescribe this video in detail."


@dataclasses.dataclass(frozen=True)
class Arm:
    """A set of texts by id: a caption file, or the answers of a training set."""

    name: str
    source: str
    texts: Mapping[str, str]
    left_out: int = 0


@dataclasses.dataclass(frozen=True)
class Limit:
    """How many tokens a model takes of a text, and how they are counted."""

    name: str
    tokens: int
    count: Callable[[str], int]


def read_arm(name: str, file: str, *, format: str = "", root: str = "", seed: int = 0) -> Arm:
    """An arm from a file.

    Args:
      format: a key of `readers.READERS`; empty: a store's folder, or a caption file of any kind.
      root: as `Part.root`.

    Raises:
      RecordError: the file is missing, holds no text, or cannot be used.
    """
    if not format and files.path(file).is_dir():
        format = "arrayrecord"
    if format:
        if format not in READERS:
            raise ConfigError(
                f"format {format!r} is unknown", mend=f"use one of {', '.join(READERS)}"
            )
        part = Part(name=name, file=file, format=format, root=root)
        return arm_of(name, read_part(part, seed=seed), source=file)
    found = read_captions(file)
    if not found.texts:
        raise RecordError(f"{file}: holds no caption that can be used", mend="see its rows")
    return Arm(name, file, found.texts, len(found.problems))


def arm_of(name: str, records: Sequence[Record], *, source: str) -> Arm:
    """The answers of each record, those of one record as one text."""
    texts = {
        record.where: "\n".join(t.content for t in record.turns if t.role == "assistant")
        for record in records
    }
    return Arm(name, source, texts)


def encoder_limits(kind: str, tokenizer: Tokenizer) -> list[Limit]:
    """The limits of a kind of text encoder, `clip` or `t5`.

    Args:
      tokenizer: that model's own; its special tokens count.
    """
    count = lambda text: len(tokenizer.encode(text, special=True))
    return [Limit(f"{kind} {tokens}", tokens, count) for tokens in LIMITS[kind]]


def row_limit(tokenizer: Tokenizer, *, positions: int, visual: int, template: str) -> Limit:
    """The positions of a row: a caption as the answer to one question about one video.

    Args:
      visual: visual tokens of the video; 1948 for 16:9 grids, 2928 at most.
    """

    def count(text: str) -> int:
        turns = (Turn("user", _QUESTION), Turn("assistant", text))
        chat = tokenize_chat(turns, tokenizer, TEMPLATES[template], generation=False)
        return len(chat.ids) - len(chat.images) + visual

    return Limit(f"row {positions}", positions, count)


def statistics(
    arm: Arm, *, tokenizer: Tokenizer, limits: Sequence[Limit] = (), tagged: int = TAGGED
) -> dict[str, Any]:
    """Of an arm, as JSON values.

    `words`, `tokens` and `sentences` are spreads over its texts; `type_token` is different words by
    words, which falls as a text set grows, and `type_token_1000` its mean over stretches of 1000
    words, which can be compared between arms. `temporal` and `classes` are shares of words; parts
    of speech are None without a tagger. `limits`: how many texts each would cut.

    Args:
      tagged: texts, drawn by a fixed seed, whose parts of speech are counted.
    """
    texts = list(arm.texts.values())
    split = [lexical.words(text) for text in texts]
    words = [word for own in split for word in own]
    sentences = [lexical.sentences(text) for text in texts]
    named = lexical.tagger() if tagged else None
    some = random.Random(0).sample(texts, min(tagged, len(texts)))
    return {
        "name": arm.name,
        "source": arm.source,
        "texts": len(texts),
        "left_out": arm.left_out,
        "words": spread([len(own) for own in split]),
        "tokens": spread([len(tokenizer.encode(text, special=False)) for text in texts]),
        "sentences": spread(sentences),
        "sentence_words": len(words) / max(1, sum(sentences)),
        "vocabulary": len(set(words)),
        "type_token": len(set(words)) / max(1, len(words)),
        "type_token_1000": _segmental(words),
        "temporal": sum(word in lexical.TEMPORAL for word in words) / max(1, len(words)),
        "tagger": named,
        "tagged": len(some) if named else 0,
        "classes": lexical.class_shares(some) if named else None,
        "limits": {limit.name: _cut(texts, limit) for limit in limits},
    }


def spread(values: Sequence[int]) -> dict[str, float]:
    """Mean, middle, 95th of a hundred, most, and all together."""
    array = np.array(values, np.float64)
    middle, high = np.quantile(array, (0.5, 0.95))
    return {
        "mean": float(array.mean()),
        "median": float(middle),
        "p95": float(high),
        "max": float(array.max()),
        "total": float(array.sum()),
    }


def compared(arms: Sequence[Arm], **how: Any) -> dict[str, Any]:
    """`statistics` of each arm, and what the arms share.

    Raises:
      ConfigError: no arm, or two of one name.
    """
    names = [arm.name for arm in arms]
    if not arms or len(set(names)) < len(names):
        raise ConfigError(f"arms {names}", mend="name one or more, each by a name of its own")
    shared = set.intersection(*(set(arm.texts) for arm in arms))
    same = sum(len({arm.texts[i] for arm in arms}) == 1 for i in shared)
    return {
        "arms": [statistics(arm, **how) for arm in arms],
        "shared_ids": len(shared),
        "equal_texts": same if len(arms) > 1 else 0,
    }


def _segmental(words: Sequence[str]) -> float | None:
    """Mean type-token ratio of whole stretches; None where there is none."""
    whole = len(words) // _SEGMENT * _SEGMENT
    parts = [words[i : i + _SEGMENT] for i in range(0, whole, _SEGMENT)]
    return float(np.mean([len(set(p)) / _SEGMENT for p in parts])) if parts else None


def _cut(texts: Sequence[str], limit: Limit) -> dict[str, float]:
    counts = np.array([limit.count(text) for text in texts])
    over = counts > limit.tokens
    lost = np.maximum(counts - limit.tokens, 0).sum() / max(1, counts.sum())
    return {
        "limit": limit.tokens,
        "over": int(over.sum()),
        "share": float(over.mean()),
        "lost_tokens": float(lost),
        "longest": int(counts.max()),
    }
