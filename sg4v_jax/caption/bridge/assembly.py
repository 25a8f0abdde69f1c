"""The rows of finished slices to the files of a build: counts, duplicates, what was left out."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sg4v_jax.caption.bridge import styles
from sg4v_jax.caption.bridge.clips import MENDS, Fault
from sg4v_jax.caption.bridge.formats import Container
from sg4v_jax.caption.bridge.output import Output
from sg4v_jax.errors import RecordError

_SHOWN = 5  # places of one kind of fault that a message names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Shares above which a build stops, and writes nothing.

    Attributes:
      left_out: of rows that could not be used.
      long: of captions over the model's limit, in any arm; None: any share.
    """

    left_out: float = 0.01
    long: float | None = 0.01


class Assembly:
    """Takes the results of slices in order.

    Args:
      folder: where the files will appear, once `output.keep` is called.
      arms: names of the styles.
      container: of the format.
      limit: most tokens of a caption; 0: not counted.
    """

    def __init__(self, folder, *, arms: tuple[str, ...], container: Container, limit: int = 0):
        self._limit, self._seen = limit, SeenIds()
        self._arms = {name: Arm() for name in arms}
        self._read = self._decoded = self._passed = self._written = 0
        self._kinds: dict[str, list[str]] = {}
        self._counts: collections.Counter[str] = collections.Counter()
        self._container = container
        names = [arm_file(name, container.ending) for name in arms]
        self.output = Output(folder, [*names, "problems.jsonl"])
        for name in names:
            self.output.write(name, container.head)

    def add(self, row: Mapping[str, Any]) -> None:
        """The result of one slice."""
        self._read += row["read"]
        self._decoded += row["decoded"]
        self._passed += row["passed"]
        for told in row["faults"]:
            self._fault(told)
        fresh = self._seen.add([line[0] for line in row["lines"]])
        for (name, where, arms), new in zip(row["lines"], fresh, strict=True):
            if not new:
                self._fault(Fault("duplicate id", where, name).as_json())
                continue
            for style, (line, used, words, tokens) in arms.items():
                between = self._container.between if self._written else ""
                self.output.write(arm_file(style, self._container.ending), between + line)
                self._arms[style].add(used, words, tokens, limit=self._limit)
            self._written += 1

    def _fault(self, told: Mapping[str, Any]) -> None:
        self._counts[told["kind"]] += 1
        named = f" ({told['id']})" if told["id"] is not None else ""
        said = " ".join(filter(None, (told["field"], told["value"])))
        places = self._kinds.setdefault(told["kind"], [])
        if len(places) < _SHOWN:
            places.append(f"{told['where']}{named}{': ' + said if said else ''}")
        self.output.write("problems.jsonl", json.dumps(told, ensure_ascii=False) + "\n")

    def report(self, settings: Mapping[str, Any], other: list[dict[str, Any]]) -> dict[str, Any]:
        """What build.json says; closes the files."""
        joined = collections.Counter(told["kind"] for told in other)
        for told in other:
            self.output.write("problems.jsonl", json.dumps(told, ensure_ascii=False) + "\n")
        tail = self._container.tail
        for name in self._arms:
            self.output.write(arm_file(name, self._container.ending), tail)
        sums = self.output.close()
        arms = {}
        for name, arm in self._arms.items():
            file = arm_file(name, self._container.ending)
            arms[name] = {"file": file, "sha256": sums[file]} | arm.as_json()
        return {
            "settings": dict(settings),
            "rows_read": self._read,
            "records": self._written,
            "passed_over": self._passed,
            "decoded_as_fallback": self._decoded,
            "left_out": {
                kind: {"count": n, "first": self._kinds[kind], "mend": MENDS[kind]}
                for kind, n in sorted(self._counts.items())
            },
            "short_from_left_out": dict(sorted(joined.items())),
            "arms": arms,
        }


@dataclasses.dataclass
class Arm:
    """What is counted of one arm."""

    used: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    words: int = 0
    tokens: int = 0
    long: int = 0

    def add(self, used: str, words: int, tokens: int | None, *, limit: int) -> None:
        """One caption."""
        self.used[used] += 1
        self.words += words
        self.tokens += tokens or 0
        self.long += tokens is not None and tokens > limit

    def as_json(self) -> dict[str, Any]:
        """Counts by style, and means."""
        records = max(1, self.used.total())
        told = {"styles": dict(sorted(self.used.items())), "words": self.words / records}
        return told | {"tokens": self.tokens / records, "over_limit": self.long}


class SeenIds:
    """Which ids have been seen, in 8 bytes each, so that millions fit.

    Two different ids of millions have the same 8 bytes of sha256 with a chance below 1e-6.
    """

    def __init__(self):
        self._sorted: list[np.ndarray] = []

    def add(self, names: list[str]) -> list[bool]:
        """For each name whether it is new, here and before."""
        digests = np.array(
            [int.from_bytes(hashlib.sha256(n.encode()).digest()[:8], "big") for n in names],
            dtype=np.uint64,
        )
        new = np.zeros(len(digests), bool)
        new[np.unique(digests, return_index=True)[1]] = True
        for known in self._sorted:
            at = np.minimum(np.searchsorted(known, digests), len(known) - 1)
            new &= known[at] != digests
        self._keep(np.sort(digests[new]))
        return new.tolist()

    def _keep(self, fresh: np.ndarray) -> None:
        """Arrays of doubling size, so that few are looked into and each is merged rarely."""
        if not len(fresh):
            return
        while self._sorted and len(self._sorted[-1]) <= 2 * len(fresh):
            fresh = np.sort(np.concatenate([self._sorted.pop(), fresh]))
        self._sorted.append(fresh)


def arm_file(style: str, ending: str) -> str:
    """The file of an arm: `first_n_sentences:2` -> `first_n_sentences_2.json`."""
    return styles.slug(style) + ending


def check_limits(report: Mapping[str, Any], limits: Limits, *, name: str) -> None:
    """Stops a build of which too much is missing or too long.

    Raises:
      RecordError: with counts, places and mends.
    """
    kinds, written = report["left_out"], report["records"]
    count = sum(kind["count"] for kind in kinds.values())
    if count > limits.left_out * (count + written) or not written:
        lines = [f"{name}: {count} of {count + written} records cannot be used:"]
        for kind, told in kinds.items():
            lines.append(f"    {kind}: {told['count']}, first {told['first'][0]}")
            lines.append(f"      {told['mend']}")
        raise RecordError(
            "\n".join(lines),
            mend=f"mend the source, or allow more than {limits.left_out:.2%} (--max_left_out)",
        )
    for arm, told in report["arms"].items():
        if limits.long is not None and told["over_limit"] > limits.long * written:
            raise RecordError(
                f"{name}: {told['over_limit']} of {written} captions of the arm {arm!r} have more "
                f"than {report['settings']['limit']} tokens: their ends would be cut in silence",
                mend=MENDS["caption over the limit"],
            )
