"""A training set made of parts: which files, in which formats, where they come from.

A run's config gives them as `data.parts`, one dict a part, beside the shorthand
`data.annotations` for LLaVA-style JSON files that need no more words:

    c.data.parts = (
        dict(name="clevrer", file="data/clevrer.json", format="llava_json", root="data/videos",
             expected=45_000, source="http://clevrer.csail.mit.edu", licence="CC0",
             next_step="download train videos and unpack them into data/videos/clevrer"),
    )
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from sg4v_jax.data.readers import READERS
from sg4v_jax.data.record import Record
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER

_KINDS = {
    "expected": (int, "a whole number"),
    "weight": (int | float, "a number"),
    "loss_weight": (int | float, "a number"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One annotation file of a mix.

    Attributes:
      name: short, unique in the mix.
      file: the annotation file.
      format: a key of `readers.READERS`.
      root: the folder that its paths are relative to; empty: the file's own folder.
      expected: records that it should have, 0 for unknown. A multiple of 1000 is taken as
        rounded, as papers give such numbers.
      source, licence: where it comes from and under which terms, for `sg4v data check`.
      next_step: what to do if it is not there.
      preamble: text put before the first question of each record that shows something, right
        after its `<image>`; as `InputSpec.preamble` does in chat.
      weight: how much of it an epoch of the mix holds: 1 is each record once, 2.5 each two or
        three times, 0.25 a quarter, another one each epoch (`draws.Draws`).
      loss_weight: how much each of its trained tokens counts in the loss, beside 1 elsewhere.
    """

    name: str
    file: str
    format: str = "llava_json"
    root: str = ""
    expected: int = 0
    source: str = ""
    licence: str = ""
    next_step: str = ""
    preamble: str = ""
    weight: float = 1.0
    loss_weight: float = 1.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, (kind, said) = getattr(self, field.name), _KINDS.get(field.name, (str, "a text"))
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ConfigError(
                    f"data part {self.name!r}: field {field.name!r} is {value!r:.60}",
                    mend=f"give it as {said}",
                )
        for field in ("weight", "loss_weight"):
            if not 0 < (value := getattr(self, field)) < math.inf:
                raise ConfigError(
                    f"data part {self.name!r}: field {field!r} is {value!r}",
                    mend="give a number above 0; take the part out to leave it out",
                )
        if not self.name or not self.file:
            raise ConfigError(
                f"data part {self.name!r}: name and file must be given",
                mend="give each part a name and a file",
            )
        if self.format not in READERS:
            raise ConfigError(
                f"data part {self.name!r}: format {self.format!r} is unknown",
                mend=f"use one of {', '.join(READERS)}",
            )

    @property
    def folder(self) -> str:
        """The folder that media paths are relative to."""
        return self.root or os.path.dirname(self.file) or "."

    @property
    def about(self) -> str:
        """How to get it, in one line; empty where the config does not say."""
        said = {"source": self.source, "licence": self.licence, "next step": self.next_step}
        return "; ".join(f"{name}: {text}" for name, text in said.items() if text)

    def is_short(self, found: int) -> bool:
        """Whether `found` records are fewer than expected, by more than rounding explains."""
        rounding = 500 if self.expected % 1000 == 0 else 0
        return found < self.expected - rounding


def parts_of(data: Mapping[str, Any] | ml_collections.ConfigDict) -> tuple[Part, ...]:
    """The parts that a run's `config.data` names: `annotations` first, then `parts`.

    Args:
      data: a mapping with `annotations` and `root`, `parts`, or both.

    Raises:
      ConfigError: an unknown field, a missing or mistyped one, or two parts of one name.
    """
    short = [
        Part(name=_name_of(file), file=str(file), root=data.get("root") or "")
        for file in data.get("annotations") or ()
    ]
    if len({p.name for p in short}) < len(short):  # files of one name in several folders
        short = [dataclasses.replace(p, name=p.file) for p in short]
    long = [_part(item, number) for number, item in enumerate(data.get("parts") or ())]
    parts = (*short, *long)
    names = [p.name for p in parts]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"data.parts: {names.count(name)} parts have the name {name!r}",
                mend="give each part a name of its own",
            )
    return parts


def _name_of(file: Any) -> str:
    return pathlib.PurePosixPath(str(file)).stem


def _part(item: Any, number: int) -> Part:
    where = f"data.parts[{number}]"
    if isinstance(item, ml_collections.ConfigDict):
        item = item.to_dict()
    if not isinstance(item, Mapping):
        raise ConfigError(
            f"{where}: expected a dict, got {item!r:.60}", mend="give dict(name=..., file=...)"
        )
    known = [field.name for field in dataclasses.fields(Part)]
    for name in item:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            offer = f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}"
            raise ConfigError(f"{where}: field {name!r} is unknown", mend=offer)
    for name in ("name", "file"):
        if name not in item:
            raise ConfigError(f"{where}: field {name!r} is missing", mend=f"give the part a {name}")
    return Part(**item)


def read_part(part: Part, *, seed: int = 0) -> list[Record]:
    """The records of a part, each with the part's name.

    Args:
      part: which file, in which format.
      seed: draws what a format leaves open (the prompts of captions).

    Raises:
      RecordError: the file is missing (the message says how to get it) or cannot be used.
      UnsafePathError: a path in it leaves the part's root.
    """
    try:
        records = READERS[part.format](part.file, root=part.folder, seed=seed)
    except RecordError as e:
        mend = "; ".join(x for x in (e.mend, part.about) if x)
        raise type(e)(f"data part {part.name!r}: {e.message}", mend=mend) from e
    return [
        dataclasses.replace(r, part=part.name, turns=_with_preamble(r, part.preamble))
        for r in records
    ]


def _with_preamble(record: Record, preamble: str) -> tuple:
    if not preamble or not record.visuals:
        return record.turns
    first, *rest = record.turns
    start = f"{IMAGE_PLACEHOLDER}\n"
    if not first.content.startswith(start):
        return record.turns
    asked = f"{start}{preamble}{first.content.removeprefix(start)}"
    return (dataclasses.replace(first, content=asked), *rest)


def weights_of(parts: Sequence[Part]) -> dict[str, float]:
    """The weight of each part by its name, for `Rows`."""
    return {part.name: part.weight for part in parts}


def loss_weights_of(parts: Sequence[Part]) -> dict[str, float]:
    """The loss weight of each part by its name, for `Rows`."""
    return {part.name: part.loss_weight for part in parts}


def read_mix(parts: Sequence[Part], *, seed: int = 0) -> list[Record]:
    """The records of all parts, in order.

    Raises: as `read_part`; ConfigError where there is no part.
    """
    if not parts:
        raise ConfigError(
            "there is no training data", mend="set data.annotations or data.parts in the config"
        )
    return [record for part in parts for record in read_part(part, seed=seed)]
