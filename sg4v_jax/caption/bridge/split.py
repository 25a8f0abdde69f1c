"""A published mix of one file taken apart into its named parts, each record's bytes as they are.

The 181K mix is 153K questions and 28K captions from six sources in one JSON list; which record is
whose only its media path says (sections 3.3 and 3.4 of the original system's specification). TGIF's
folder is not named there, so that part is what no other takes; the counts show whether it fits.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.caption.bridge import recognise, swap
from sg4v_jax.caption.bridge.formats.base import LIST
from sg4v_jax.caption.bridge.output import Output
from sg4v_jax.data.readers.source import parse_json
from sg4v_jax.errors import ConfigError, RecordError


@dataclasses.dataclass(frozen=True)
class Named:
    """A part: the rules (of `recognise`) that its records all follow, none for the rest, and how
    many there should be, rounded to thousands."""

    name: str
    rules: tuple[str, ...]
    expected: int


# In this order: the captions first, whose folders EgoQA shares. They have 273 words on average,
# an answer of EgoQA a sentence; the border of 60 words is ours.
MIXES = {
    "181k": (
        Named("share4video", ("media:(?:panda|bdd|ego4d)", "words:60"), 28_000),
        Named("videochatgpt", ("media:videochatgpt",), 13_000),
        Named("clevrer", ("media:clevrer",), 45_000),
        Named("egoqa", ("media:ego4d",), 8_000),
        Named("nextqa", ("media:next_?qa",), 34_000),
        Named("tgif", (), 53_000),
    ),
}


def named(mix: str) -> tuple[Named, ...]:
    """The parts of a known mix.

    Raises:
      ConfigError: it is not known.
    """
    if mix not in MIXES:
        raise ConfigError(f"mix {mix!r} is unknown", mend=f"use one of {', '.join(MIXES)}")
    return MIXES[mix]


def split(
    mix: str | os.PathLike, parts: Sequence[Named], *, out: str | os.PathLike
) -> list[dict[str, Any]]:
    """Writes OUT/NAME.json for each part, its records in their order and to the byte.

    Returns:
      For each part its name, file, records and how many there should be.

    Raises:
      RecordError: the mix cannot be read, or a record belongs to no part.
    """
    rules = [[recognise.parse(rule) for rule in part.rules] for part in parts]
    counts = [0] * len(parts)
    names = [f"{part.name}{LIST.ending}" for part in parts]
    with swap.open_mix(mix, lambda record: False) as opened, Output(out, names) as output:
        for name in names:
            output.write(name, LIST.head)
        for number in range(len(opened.records)):
            raw, where = opened.raw(number), f"{mix}: record {number + 1}"
            record = parse_json(raw.decode(), where=where)
            own = next((i for i, r in enumerate(rules) if all(rule(record) for rule in r)), None)
            if own is None:
                raise RecordError(
                    f"{where} belongs to no part: {raw[:100]!r}", mend="name its part"
                )
            output.write(names[own], (LIST.between if counts[own] else "").encode() + raw)
            counts[own] += 1
        for name in names:
            output.write(name, LIST.tail)
    return [
        {"name": part.name, "file": str(files.path(out) / name), "records": n,
         "expected": part.expected}
        for part, name, n in zip(parts, names, counts, strict=True)
    ]  # fmt: skip
