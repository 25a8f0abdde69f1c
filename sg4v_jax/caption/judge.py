"""Events through a judge: a language model reads captions against a reference, under strict rules.

Two kinds of question, both text only, answered by any `Captioner`:

    the events of a reference       {"events": ["a fox runs right", ...]}, in order of time
    which of them a caption tells   {"told": [{"event": "it runs left", "is": null}, ...]}

Answers that break the form are asked for once more, with the fault named; then the caption counts
as not judged, is named, and enters no score.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sg4v_jax import files
from sg4v_jax.caption.caption_file import Problem
from sg4v_jax.caption.captioners import Captioner, CaptionRequest
from sg4v_jax.caption.event_scores import EventCounts, count_events
from sg4v_jax.errors import RecordError

T = TypeVar("T")

_EVENTS = """\
Below is a description of a video. List what happens in it: every action, movement, change and
camera movement, in the order in which they happen. One short sentence in the present tense each,
with who or what, and the direction, speed or result where they are given. Leave out how things
look, unless it changes. Use only what the description says.
Answer with JSON and nothing else: {"events": ["...", "..."]}. If nothing happens: {"events": []}

Description: %s"""

_TOLD = """\
Below are the events of a video, numbered, and a description of the same video by someone else.
Go through the description from its beginning to its end. For each event that it tells of, in the
order in which it says that they happen, give a short sentence and the number of the event of the
list that it means. Give null if the list has no such event, or if the description has something
wrong about it: another doer, object, direction or result. Leave out how things look.
Answer with JSON and nothing else: {"told": [{"event": "...", "is": 1}, {"event": "...", "is": null}]}.
If it tells of no event: {"told": []}

Events:
%s

Description: %s"""

_AGAIN = "%s\n\nAn earlier answer to this could not be used: %s. Answer in exactly the given form."


@dataclasses.dataclass(frozen=True)
class Judged:
    """Counts by caption id, the evidence behind them, and who could not be judged."""

    counts: dict[str, EventCounts]
    evidence: dict[str, dict[str, Any]]
    problems: tuple[Problem, ...]


def judge_events(
    captions: Mapping[str, str], references: Mapping[str, str], *, judge: Captioner
) -> Judged:
    """Which of the references' events the captions tell.

    Args:
      captions: id -> text; empty ones tell nothing and are not asked about.
      references: id -> text of the same video; ids without a caption are not asked about.
      judge: answers; all questions of one kind go to it in one call.

    Raises:
      RecordError: no caption has a reference.
    """
    shared = [name for name in captions if name in references]
    if not shared:
        raise RecordError("no caption has a reference", mend="give both the same ids")
    asked = {name: _EVENTS % references[name] for name in shared}
    events, faults = _ask(asked, read=read_events, judge=judge, kind="events")
    ready = [name for name in events if captions[name].strip()]
    asked = {name: _TOLD % (_numbered(events[name]), captions[name]) for name in ready}
    told, more = _ask(
        asked,
        read=lambda name, text: read_told(text, true=len(events[name])),
        judge=judge,
        kind="told",
    )
    counts, evidence = {}, {}
    for name in events:
        if name in more:
            continue
        pairs = told.get(name, [])
        counts[name] = count_events([index for _, index in pairs], true=len(events[name]))
        evidence[name] = {
            "events": events[name],
            "told": [{"event": text, "is": index} for text, index in pairs],
        }
    problems = [Problem("not judged", why, name) for name, why in (faults | more).items()]
    return Judged(counts, evidence, tuple(problems))


def read_events(_: str, text: str) -> list[str]:
    """The events in an answer of the first kind.

    Raises:
      RecordError: any other form.
    """
    value = _json(text, only="events")
    if not all(isinstance(event, str) and event.strip() for event in value):
        raise RecordError("an event is not a text")
    return [event.strip() for event in value]


def read_told(text: str, *, true: int) -> list[tuple[str, int | None]]:
    """What an answer of the second kind says is told: the words, and the event from 0 or None.

    {"told": [{"event": "it runs left", "is": 2}]}  ->  [("it runs left", 1)]

    Raises:
      RecordError: any other form, or a number outside 1..true.
    """
    result = []
    for entry in _json(text, only="told"):
        if not isinstance(entry, dict) or set(entry) != {"event", "is"}:
            raise RecordError(f"{entry!r:.60} is not {{event, is}}")
        event, number = entry["event"], entry["is"]
        if not isinstance(event, str):
            raise RecordError(f"event {event!r:.60} is not a text")
        if number is not None and (type(number) is not int or not 1 <= number <= true):
            raise RecordError(f"number {number!r:.20} is not 1..{true} or null")
        result.append((event, None if number is None else number - 1))
    return result


class ReplayJudge:
    """Answers from a file, and asks `behind` for what is not there, adding it to the file.

    The file has JSON lines {"question": sha256, "id": ..., "answer": ...}, so a score can be
    made again without the model, and its evidence be read.

    Raises:
      RecordError: the file cannot be read; a question that is not there, with no one behind.
    """

    def __init__(self, path: str | os.PathLike, *, behind: Captioner | None = None):
        self._path, self._behind = os.fspath(path), behind
        self._rows: dict[str, dict[str, str]] = {}
        if behind is None or files.path(path).exists():
            for number, row in enumerate(files.read_jsonl(path), 1):
                if not all(isinstance(row.get(k), str) for k in ("question", "answer")):
                    raise RecordError(f"{path}: record {number}: needs question and answer")
                self._rows[row["question"]] = row
        self.name = f"replay:{os.path.basename(self._path)}" if behind is None else behind.name

    def describe(self, requests: Sequence[CaptionRequest]) -> list[str]:
        keys = [hashlib.sha256(r.prompt.encode()).hexdigest() for r in requests]
        missing = {k: r for k, r in zip(keys, requests, strict=True) if k not in self._rows}
        if missing and self._behind is None:
            first = next(iter(missing.values()))
            raise RecordError(
                f"{self._path}: {len(missing)} questions have no answer, the first is {first.id}",
                mend="judge with openai:URL,MODEL and --judge_log to add them",
            )
        if missing:
            answers = self._behind.describe(list(missing.values()))
            for (key, request), answer in zip(missing.items(), answers, strict=True):
                self._rows[key] = {"question": key, "id": request.id, "answer": answer}
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in self._rows.values())
            files.write_atomic(self._path, "".join(lines))
        return [self._rows[key]["answer"] for key in keys]


def _ask(
    prompts: Mapping[str, str],
    *,
    read: Callable[[str, str], T],
    judge: Captioner,
    kind: str,
) -> tuple[dict[str, T], dict[str, str]]:
    """Answers read, and why others cannot be; what cannot is asked once more."""
    done: dict[str, T] = {}
    faults: dict[str, str] = {}
    for attempt in range(2):
        left = [name for name in prompts if name not in done]
        requests = [
            CaptionRequest(
                (),
                _AGAIN % (prompts[name], faults[name]) if attempt else prompts[name],
                f"{name}#{kind}",
            )
            for name in left
        ]
        for name, text in zip(left, judge.describe(requests) if requests else [], strict=True):
            try:
                done[name] = read(name, text)
                faults.pop(name, None)
            except RecordError as e:
                faults[name] = e.message
    return {name: done[name] for name in prompts if name in done}, faults


def _json(text: str, *, only: str) -> list[Any]:
    """The list under `only`, the one key of the one JSON object in `text`.

    A fence of three backticks around it is allowed, as models add one whatever they are told.
    """
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", text, re.DOTALL)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except json.JSONDecodeError as e:
        raise RecordError(f"not JSON ({e.msg}): {text.strip()[:60]!r}") from e
    if not isinstance(value, dict) or set(value) != {only} or not isinstance(value[only], list):
        raise RecordError(f"not an object with the one list {only!r}: {text.strip()[:60]!r}")
    return value[only]


def _numbered(events: Sequence[str]) -> str:
    lines = [f"{number}. {event}" for number, event in enumerate(events, 1)]
    return "\n".join(lines) or "(none)"
