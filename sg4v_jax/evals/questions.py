"""Questions of a benchmark as read from its files, whichever benchmark it is. No model here."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One question about one video.

    Attributes:
      id: unique in its benchmark, made of what its files say.
      task: the file, sub-set or kind that it belongs to.
      group: aspect or level within the benchmark; None where there is none.
      video: path below the data folder.
      text: the question as the file has it, options included where the file includes them.
      gold: the right answer as the scorer wants it; "" where the files do not tell it.
      options: the choices, without letters, where the file has them apart.
      bounds, fps: the part of the video to look at, in seconds, and the rate of a frame folder.
      extra: what only its own benchmark understands.
    """

    id: str
    task: str
    video: str
    text: str
    gold: str
    group: str | None = None
    options: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    fps: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A benchmark's questions, how many the published files have a task, and what looked odd."""

    questions: tuple[Question, ...]
    expected: Mapping[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def found(self) -> dict[str, int]:
        """Questions by task."""
        return dict(Counter(q.task for q in self.questions))


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model said: `text` None where it said nothing, `error` why there is no answer."""

    text: str | None
    error: str | None = None


def chosen_tasks(known: Sequence[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """The tasks `wanted`, in the order of `known`; all of them if none is named.

    Raises:
      ConfigError: an unknown name.
    """
    wanted = [name for name in wanted if name]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ConfigError(f"tasks: {unknown[0]!r} is unknown", mend=f"use {', '.join(known)}")
    return tuple(name for name in known if not wanted or name in wanted)


def subset(questions: Sequence[Question], *, limit: int | None) -> tuple[Question, ...]:
    """At most `limit` questions of each task, spread evenly over its file.

        5 questions of a task, limit 2  ->  the 1st and the 3rd

    The same questions for the same files: what `predict` asked, `score` counts.
    """
    if limit is None:
        return tuple(questions)
    if limit < 1:
        raise ConfigError(f"limit: {limit} is below 1", mend="use 1 or more, or leave it out")
    by_task: dict[str, list[Question]] = {}
    for question in questions:
        by_task.setdefault(question.task, []).append(question)
    kept = {
        group[i * len(group) // limit].id if len(group) > limit else group[i].id
        for group in by_task.values()
        for i in range(min(limit, len(group)))
    }
    return tuple(q for q in questions if q.id in kept)


def count_warning(file: str, *, found: int, published: int) -> str | None:
    """What to say of a file whose number of rows is not the published one; None if it is."""
    if found == published:
        return None
    why = "cut short, or another version" if found < published else "another version"
    return f"{file}: {found} questions, the published file has {published}: {why}"


def read_object(name: str | os.PathLike, *, of: type = dict) -> Any:
    """The JSON object (or list, with `of`) in a question file.

    Raises:
      RecordError: the file is missing, cut short, or holds something else.
    """
    value = files.read_json(name)
    if not isinstance(value, of):
        kind = {dict: "an object", list: "a list"}[of]
        raise RecordError(
            f"{name}: holds a {type(value).__name__}, not {kind}",
            mend="use the file as its authors publish it",
        )
    return value


def text_field(row: Any, field: str, *, where: str) -> str:
    """`row[field]`, a text; numbers are taken for texts, as published files have some.

    Raises:
      RecordError: the row is no object, or lacks the field.
    """
    if not isinstance(row, Mapping):
        raise RecordError(f"{where}: {row!r:.60} is not an object", mend="fetch the file again")
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RecordError(f"{where}: field {field!r} is {value!r:.60}", mend="fetch the file again")
    return value if isinstance(value, str) else str(value)


class Videos:
    """Finds the videos of a benchmark's folder, whose folders are looked for once."""

    def __init__(self, data: str | os.PathLike):
        self._data = files.path(data)
        self._there: dict[str, bool] = {}

    def find(self, folders: Sequence[str], names: Sequence[str], *, where: str) -> str:
        """The first of `names` in the first of `folders` that has it, relative to the data folder.

        The first name in the first folder if none has: it is missing there.

        Raises:
          UnsafePathError: a name that leaves the data folder.
        """
        first = posixpath.join(folders[0], names[0])
        files.safe_join(self._data, first, where=where)
        for folder in folders:
            if folder not in self._there:
                self._there[folder] = (self._data / folder).exists()
            for name in names if self._there[folder] else ():
                relative = posixpath.join(folder, name)
                if (self._data / relative).exists():
                    files.safe_join(self._data, relative, where=where)
                    return relative
        return first
