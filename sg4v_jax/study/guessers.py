"""A guesser that never sees a video: what the texts of questions give away.

From training questions it counts how often an option was right, given more or less of what the
text says; for each aspect and form it then guesses by the kind of count that does best there on
training questions it has not counted. What it gets right above chance is a leak of the question
writer, and no model's knowledge.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax.study import accuracy, records
from sg4v_jax.world.aspects.scene import SHAPES, WorldSettings, sample_scene

Question = Mapping[str, Any]  # with aspect, form, text, options and answer
Cell = tuple[str, str]  # aspect, form
_SHAPE = re.compile(rf"\b({'|'.join(SHAPES)})\b")
_PRIOR = 2.0  # questions at chance that each count begins with


def claim_of(question: Question) -> str:
    """What is asked, whatever the thing's shape, the wording and the order of the options.

    "Is this so? Does the cross move left?" -> "Does the thing move left?"; of a question with
    options, those in the order of the alphabet.
    """
    if question["form"] == "yesno":
        return _SHAPE.sub("thing", question["text"].removeprefix("Is this so? "))
    return " | ".join(sorted(question["options"]))


def shape_of(question: Question) -> str:
    """The shape that the text names, or nothing."""
    found = _SHAPE.search(question["text"])
    return found[1] if found else ""


FEATURES: dict[str, Callable[[Question, int], Hashable]] = {
    "place": lambda q, i: i,
    "option": lambda q, i: q["options"][i],
    "shape": lambda q, i: (shape_of(q), q["options"][i]),
    "claim": lambda q, i: (claim_of(q), q["options"][i]),
    "shape and claim": lambda q, i: (shape_of(q), claim_of(q), q["options"][i]),
    "options in order": lambda q, i: (tuple(q["options"]), i),
    "shape and order": lambda q, i: (shape_of(q), tuple(q["options"]), i),
    "whole text": lambda q, i: (q["text"], i),
}


class Counts:
    """How often an option with a feature was right, of how often it was offered."""

    def __init__(self, feature: str, questions: Iterable[Question]):
        self._feature = FEATURES[feature]
        self._right: collections.Counter = collections.Counter()
        self._seen: collections.Counter = collections.Counter()
        for question in questions:
            for place, option in enumerate(question["options"]):
                key = self._key(question, place)
                self._seen[key] += 1
                self._right[key] += option == question["answer"]

    def guess(self, question: Question) -> str:
        """The option that was right most often, of equals the first."""
        chance = 1 / len(question["options"])
        keys = [self._key(question, place) for place in range(len(question["options"]))]
        shares = [(self._right[key] + _PRIOR * chance) / (self._seen[key] + _PRIOR) for key in keys]
        return question["options"][int(np.argmax(shares))]

    def _key(self, question: Question, place: int) -> Hashable:
        return question["aspect"], question["form"], self._feature(question, place)


@dataclasses.dataclass(frozen=True)
class Guesser:
    """Counts of every kind, and which kind is used for which cell."""

    counts: Mapping[str, Counts]
    chosen: Mapping[Cell, str]

    @staticmethod
    def fit(questions: Sequence[Question]) -> Guesser:
        """From training questions: at least some hundreds of each aspect and form."""
        halves = questions[::2], questions[1::2]
        right: dict[Cell, collections.Counter] = collections.defaultdict(collections.Counter)
        for counted, asked in (halves, halves[::-1]):
            counts = {name: Counts(name, counted) for name in FEATURES}
            for question in asked:
                cell = right[question["aspect"], question["form"]]
                for name in FEATURES:
                    cell[name] += counts[name].guess(question) == question["answer"]
        # Of equals the first, which knows least.
        chosen = {
            cell: max(FEATURES, key=lambda name: found[name]) for cell, found in right.items()
        }
        return Guesser({name: Counts(name, questions) for name in FEATURES}, chosen)

    def guess(self, question: Question) -> str:
        """The option it says; the first for a cell without training questions."""
        how = self.chosen.get((question["aspect"], question["form"]))
        return question["options"][0] if how is None else self.counts[how].guess(question)

    def accuracy(self, questions: Iterable[Question]) -> dict[str, Any]:
        """What it gets right, as `accuracy.summary` has it."""
        return accuracy.summary(
            (q["aspect"], q["form"], self.guess(q) == q["answer"]) for q in questions
        )


def two_fold(questions: Sequence[Question], *, feature: str) -> float:
    """The accuracy of one kind of count on one half of the questions, counted on the other."""
    right, half = 0, len(questions) // 2
    for counted, asked in (
        (questions[:half], questions[half:]),
        (questions[half:], questions[:half]),
    ):
        counts = Counts(feature, counted)
        right += sum(counts.guess(q) == q["answer"] for q in asked)
    return right / len(questions)


def training_questions(scenes: int, *, settings: WorldSettings) -> list[dict[str, Any]]:
    """Every question that can be asked of the first `scenes` training scenes."""
    known = (sample_scene(n, split="train", settings=settings) for n in range(scenes))
    return records.asked(known, settings=settings)


def chance(questions: Iterable[Question]) -> dict[str, Any]:
    """Blind guessing: the mean of one over the number of options, as `accuracy.summary` has it.

    Cells hold [expected number right, asked].
    """
    cells: dict[str, dict[str, list[float]]] = {}
    for question in questions:
        cell = cells.setdefault(question["aspect"], {}).setdefault(question["form"], [0.0, 0])
        cell[0] += 1 / len(question["options"])
        cell[1] += 1
    return accuracy.means(cells)
