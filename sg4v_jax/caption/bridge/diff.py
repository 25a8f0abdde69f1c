"""Whether two files of training data differ in the learnt text alone, record by record.

A record is taken apart into what must be the same (its id, what it shows, what is asked, and all
other fields) and the text that is learnt. Both files are read side by side, a slice at a time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from sg4v_jax.caption.bridge import slices
from sg4v_jax.caption.bridge.build import source_format
from sg4v_jax.caption.bridge.formats import base
from sg4v_jax.caption.bridge.rows import RowReader
from sg4v_jax.errors import RecordError

# Format -> fields of the learnt text. LLaVA's is in its conversations, see `_llava`.
TEXT = {
    "sharegpt4video_jsonl": ("captions",),
    "osp": ("cap",),
    "wan": ("prompt",),
    "videochatgpt_json": ("a",),
    "panda_csv": ("caption",),
    "caption_job": ("caption_detailed", "caption_short", "diff_captions"),
    "csv": (*base.USUAL["detailed"], *base.USUAL["short"], *base.USUAL["static"]),
    "jsonl": (*base.USUAL["detailed"], *base.USUAL["short"], *base.USUAL["static"]),
}
_IDS = ("id", "video_id", "videoID", "path", "video")
_SHOWS = ("video", "image", "video_path", "path", "source", "bounds", "start", "end")
_SHOWS += ("frame_idx", "fps", "timestamp")
_ASKS = ("question", "q", "prompt")
CHECKS = ("records", "order and ids", "videos", "questions", "other fields")
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Parts:
    """A record taken apart; all values as JSON text but for `text`."""

    id: str
    shows: str
    asks: str
    other: str
    text: str


@dataclasses.dataclass
class Diff:
    """What two files have and do not have in common.

    Attributes:
      a, b: the files. `records`: of each.
      differ: check of `CHECKS` -> how many records differ in it. `first`: where the first do.
      texts: records whose text differs. `words`: of each file's texts, in all.
      examples: (id, text of a, text of b) of the first that differ.
      other_order: the ids are the same, in another order.
    """

    a: str
    b: str
    records: tuple[int, int] = (0, 0)
    differ: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    first: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    texts: int = 0
    words: tuple[int, int] = (0, 0)
    examples: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    other_order: bool = False

    @property
    def text_alone(self) -> bool:
        """Whether nothing but text differs (perhaps not even that)."""
        return not any(self.differ.values())

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return dataclasses.asdict(self) | {"text_alone": self.text_alone}

    def __str__(self) -> str:
        lines = [f"{self.a}\n{self.b}"]
        for name in CHECKS:
            n = self.differ[name]
            told = "the same" if not n else f"{n} differ, first {self.first[name][0]}"
            if name == "records":
                told = f"{self.records[0]} and {self.records[1]}" if n else f"{self.records[0]}"
            elif name == "order and ids" and self.other_order:
                told += " (the same ids in another order)"
            lines.append(f"  {name}: {told}")
        means = [w / max(1, n) for w, n in zip(self.words, self.records, strict=True)]
        lines.append(f"  texts: {self.texts} differ; {means[0]:.1f} and {means[1]:.1f} words each")
        verdict = "only text differs" if self.text_alone else "more than text differs"
        return "\n".join([*lines, verdict if self.texts or not self.text_alone else "all the same"])


def compare(a: str | os.PathLike, b: str | os.PathLike, *, form: str = "") -> Diff:
    """Reads both files side by side.

    Args:
      a, b: files of one format.
      form: their format, if it cannot be told.

    Raises:
      RecordError: a file or a record that cannot be read, or two formats.
    """
    sides = [_Side(str(name), form) for name in (a, b)]
    if sides[0].format != sides[1].format:
        raise RecordError(
            f"{a} is {sides[0].format}, {b} is {sides[1].format}", mend="compare like with like"
        )
    diff, counts, words, ids = Diff(str(a), str(b)), [0, 0], [0, 0], [0, 0]
    for number, pair in enumerate(itertools.zip_longest(*(s.parts() for s in sides)), 1):
        for i, parts in enumerate(pair):
            if parts is not None:
                counts[i] += 1
                words[i] += len(parts.text.split())
                digest = hashlib.sha256(parts.id.encode()).digest()
                ids[i] = (ids[i] + int.from_bytes(digest, "big")) % 2**256
        if None in pair:
            _note(diff, "records", f"record {number}", "")
            continue
        one, two = pair
        for check, field in zip(CHECKS[1:], ("id", "shows", "asks", "other"), strict=True):
            x, y = getattr(one, field), getattr(two, field)
            if x != y:
                _note(diff, check, f"record {number} ({one.id:.40})", f": {x:.80} | {y:.80}")
        if one.text != two.text:
            diff.texts += 1
            if len(diff.examples) < _SHOWN:
                diff.examples.append((one.id, one.text, two.text))
    diff.records, diff.words = tuple(counts), tuple(words)
    diff.other_order = bool(diff.differ["order and ids"]) and ids[0] == ids[1]
    return diff


def _note(diff: Diff, check: str, where: str, what: str) -> None:
    diff.differ[check] += 1
    places = diff.first.setdefault(check, [])
    if len(places) < _SHOWN:
        places.append(where + what)


class _Side:
    """One of the two files."""

    def __init__(self, name: str, form: str):
        self._name, self._sliced = name, slices.cut(name)
        self.format = form or source_format(name, self._sliced)
        self._reader = RowReader(name, self._sliced.layout, self._sliced.header)

    def parts(self) -> Iterator[Parts]:
        """Its records, taken apart."""
        for part in self._sliced.slices:
            for row in self._reader.rows(slices.read(self._name, part), first=part.first):
                if row.fault is not None:
                    told = f"{row.fault.kind} {row.fault.value or ''}".strip()
                    raise RecordError(f"{row.where}: {told}", mend="mend the file")
                yield taken_apart(row.values, self.format)


def taken_apart(record: Mapping[str, Any], form: str) -> Parts:
    """A record of a format as `Parts`.

    {"id": "a", "video": "a.mp4", "conversations": [asked, said]}
      -> id a; shows {"video": "a.mp4"}; asks [asked]; other {}; text: said
    """
    rest = dict(record)
    if "conversations" in rest and form in ("llava_json", "jsonl"):
        asks, text = _llava(rest.pop("conversations"))
    else:
        fields = TEXT.get(form, ())
        text = "\n".join(_text(rest.pop(f)) for f in fields if f in rest)
        asks = _json({f: rest.pop(f) for f in _ASKS if f in rest})
    key = next((f for f in _IDS if f in rest), "")
    name = str(rest.get(key, ""))
    if key not in _SHOWS:
        rest.pop(key, None)
    shows = {f: rest.pop(f) for f in _SHOWS if f in rest}
    return Parts(name, _json(shows), asks, _json(rest), text)


def _llava(turns: Any) -> tuple[str, str]:
    if not isinstance(turns, list):
        return _json(turns), ""
    asks, said = [], []
    for turn in turns:
        learnt = isinstance(turn, dict) and turn.get("from") == "gpt"
        if learnt:
            said.append(_text(turn.get("value")))
        asks.append({k: v for k, v in turn.items() if k != "value"} if learnt else turn)
    return _json(asks), "\n".join(said)


def _text(value: Any) -> str:
    if isinstance(value, list):  # captions of a published row, or several
        return "\n".join(_text(v.get("content") if isinstance(v, dict) else v) for v in value)
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
