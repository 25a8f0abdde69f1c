"""Judges: who rates answers that no rule can read. One interface, three kinds.

    none               nobody: such answers stay unjudged, and every result says how many
    replay:PATH        stored replies: our own `judge.jsonl`, or a benchmark's own result files
    openai:URL,MODEL   a model behind an OpenAI-compatible endpoint

What a judge is asked, with which settings and how often, is the benchmark's `Rule`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from sg4v_jax import files
from sg4v_jax.endpoint.client import Answer, Call, Endpoint
from sg4v_jax.errors import ConfigError, RecordError

LOG = "judge.jsonl"

Read = Callable[[str], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """How a benchmark's authors ask their judge.

    Attributes:
      model: the judge whose numbers are published; others are not comparable.
      settings: fields of the request besides model and messages.
      attempts: replies asked for until one can be used.
      wait: seconds between them, from and to.
    """

    model: str
    settings: Mapping[str, Any]
    attempts: int
    wait: tuple[float, float] = (0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a judge is to say something about: a row's id, the answer, and the messages."""

    id: str
    prediction: str
    messages: Sequence[Mapping[str, str]] = ()


class Judge(Protocol):
    """Attributes:
    name: what results call it.
    asks: whether it sends messages (and so needs their texts).
    absent: whether there is no judge.
    """

    name: str
    asks: bool
    absent: bool

    def ask(self, asked: Sequence[Asked], *, rule: Rule, read: Read) -> dict[str, str]:
        """Replies by id; rows without a usable one are left out.

        Args:
          read: raises ValueError for a reply that cannot be used.
        """


@dataclasses.dataclass(frozen=True)
class NoJudge:
    """Nobody."""

    name: str = "none"
    asks: ClassVar[bool] = False
    absent: ClassVar[bool] = True

    def ask(self, asked: Sequence[Asked], *, rule: Rule, read: Read) -> dict[str, str]:
        return {}


class ReplayJudge:
    """Stored replies, by row id.

    Args:
      name: of the judge that gave them, or of the file.
      rows: {"id", "prediction", "answer"}: a reply counts only for the answer that it was given
        for; rows without a "prediction" count for any.
    """

    asks, absent = False, False

    def __init__(self, rows: Sequence[Mapping[str, Any]], *, name: str):
        self.name = name
        self._rows = {row["id"]: row for row in rows}

    def ask(self, asked: Sequence[Asked], *, rule: Rule, read: Read) -> dict[str, str]:
        found = {}
        for one in asked:
            row = self._rows.get(one.id)
            if row is None or row.get("answer") is None:
                continue
            if row.get("prediction") not in (None, one.prediction):
                continue
            if _usable(row["answer"], read):
                found[one.id] = row["answer"]
        return found


@dataclasses.dataclass(eq=False)
class _JudgeEndpoint(Endpoint):
    role: ClassVar[str] = "judge"
    empty_answers: ClassVar[bool] = True  # a benchmark's rule says what an empty reply means


class EndpointJudge:
    """A model behind an endpoint. Its replies go to a log that `replay:` reads.

    Attributes:
      name: the model; where a benchmark's published judge is another, results say so.
    """

    asks, absent = True, False

    def __init__(
        self,
        spec: str,
        *,
        log: str | os.PathLike | None = None,
        sleep: Callable[[float], None] = time.sleep,
        **options: Any,
    ):
        self.endpoint = _JudgeEndpoint.parse(spec, sleep=sleep, **options)
        self.name = f"openai:{self.endpoint.model}"
        self._log, self._sleep = log, sleep
        self._rows: dict[str, dict[str, Any]] = {}

    def ask(self, asked: Sequence[Asked], *, rule: Rule, read: Read) -> dict[str, str]:
        found: dict[str, str] = {}
        waiting = list(asked)
        try:
            for attempt in range(rule.attempts):
                if attempt and waiting:
                    self._sleep(random.uniform(*rule.wait))
                replies = self._ask(waiting, rule=rule, attempt=attempt)
                waiting = [one for one in waiting if isinstance(replies[one.id], Answer)]
                for one in list(waiting):
                    if _usable(replies[one.id].strip(), read):
                        found[one.id] = replies[one.id].strip()
                        waiting.remove(one)
                if not waiting:
                    break
        finally:
            for one in asked:
                if one.id in found:
                    row = {"id": one.id, "prediction": one.prediction, "answer": found[one.id]}
                    self._rows[one.id] = row
            if self._log is not None and self._rows:
                lines = (json.dumps(r, ensure_ascii=False) + "\n" for r in self._rows.values())
                files.write_atomic(self._log, "".join(lines))
        return found

    def _ask(self, asked: Sequence[Asked], *, rule: Rule, attempt: int) -> dict[str, Any]:
        bodies = {
            one.id: {
                "model": self.endpoint.model,
                "messages": list(one.messages),
                **rule.settings,
            }
            for one in asked
        }
        # Another attempt is another draw, so it has a key of its own.
        keys = {
            name: hashlib.sha256(
                json.dumps([self.endpoint.url, body, attempt], sort_keys=True).encode()
            ).hexdigest()
            for name, body in bodies.items()
        }
        answers = self.endpoint.complete(
            {keys[name]: Call(name, lambda body=body: body) for name, body in bodies.items()}
        )
        return {name: answers[key] for name, key in keys.items()}


def open_judge(
    spec: str,
    *,
    stored: Callable[[str], list[dict[str, Any]]],
    log: str | os.PathLike | None = None,
    **options: Any,
) -> Judge:
    """The judge that `spec` names: `none`, `replay:PATH` or `openai:URL,MODEL`.

    Args:
      stored: reads a benchmark's own result files as rows for `ReplayJudge`.
      log: where an endpoint's replies are kept for `replay:`.
      options: for the endpoint: cache, budget, concurrency, attempts, timeout.

    Raises:
      ConfigError: another spec. RecordError: a file that cannot be read.
    """
    kind, _, rest = spec.partition(":")
    if spec == "none":
        return NoJudge()
    if kind == "replay" and rest:
        return ReplayJudge(_stored_rows(rest, stored), name=f"replay:{os.path.basename(rest)}")
    if kind == "openai" and rest:
        return EndpointJudge(rest, log=log, **options)
    raise ConfigError(
        f"judge {spec!r} is unknown", mend="use none, replay:PATH or openai:URL,MODEL"
    )


def _stored_rows(path: str, stored: Callable) -> list[dict[str, Any]]:
    place = files.path(path)
    if place.is_dir() and (place / LOG).exists():
        place = place / LOG
    if place.is_dir() or not place.name.endswith(".jsonl"):
        return stored(str(place))
    rows = files.read_jsonl(place)
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get("id"), str) or not isinstance(row.get("answer"), str):
            raise RecordError(f"{place}: record {number}: needs id and answer")
    return rows


def _usable(reply: str, read: Read) -> bool:
    try:
        read(reply)
    except ValueError:
        return False
    return True
