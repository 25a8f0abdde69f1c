"""A guesser that never sees a video: what the texts of questions give away.

From training questions it counts how often an option was right, given more or less of what the
text says; for each aspect and form it then guesses by the kind of count that does best there on
training questions it has not counted. What it gets right above chance is a leak of the question
writer, and no model's knowledge.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax.errors import RecordError
from sg4v_jax.study import accuracy
from sg4v_jax.study.videos import read_questions
from sg4v_jax.text.chat import without_images
from sg4v_jax.world.aspects import captions
from sg4v_jax.world.aspects.scene import DIRECTIONS, SHAPES

Question = Mapping[str, Any]  # with aspect, form, text, options and answer
Cell = tuple[str, str]  # aspect, form
_SHAPE = re.compile(rf"\b({'|'.join(SHAPES)})\b")
_PAIR = re.compile(r'Which is true: "(.*)" or "(.*)"\?')
_WAYS, _ADVERBS = "|".join(DIRECTIONS), "|".join(captions.ADVERBS.values())
# What a question is about, from its text and first option; the first that fits.
_ASPECTS = (
    ("camera", re.compile(r"\bthe camera\b")),
    ("order", re.compile(r"\b(before it|then|later on)\b")),
    ("direction", re.compile(rf"\bmoves? ({_WAYS})\b|^Which way")),
    ("speed", re.compile(rf"\bmoves? ({_ADVERBS})\b|^How does the \w+ move")),
    ("attribute", re.compile(r"\b(turns? from|becomes?)\b|^How does the \w+ change")),
    ("action", re.compile("")),
)
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


def accuracy_of(
    trained_on: Iterable[Mapping[str, Any]], *, data: str | os.PathLike, splits: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """What a guesser that knows the training questions gets right of each split's questions.

    Args:
      trained_on: LLaVA records of questions, of any number of rounds.
      data: the folder with `questions/SPLIT.jsonl`.

    Raises:
      RecordError: a training question in no wording of `world.aspects.questions`, or no file.
    """
    known = [question_of(text, answer) for record in trained_on for text, answer in _rounds(record)]
    guesser = Guesser.fit(known)
    return {split: guesser.accuracy(read_questions(data, split=split)[0]) for split in splits}


def _rounds(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Question and answer of each round."""
    turns = [turn["value"] for turn in record["conversations"]]
    yield from zip(turns[::2], turns[1::2], strict=True)


def question_of(text: str, answer: str) -> Question:
    """A training question, of which the record keeps the text alone.

    "Which way does the cross move: up, left, right or down?" with "up" is a choice about the
    direction with four options.

    Raises:
      RecordError: no wording of `world.aspects.questions`.
    """
    text = without_images(text)
    pair = _PAIR.fullmatch(text)
    if answer in ("yes", "no"):
        form, options, told = "yesno", ["yes", "no"], text
    elif pair:
        form, options, told = "matching", [pair[1], pair[2]], pair[1]
    else:
        form, options = "choice", re.split(", | or ", text.partition(": ")[2].rstrip("?"))
        told = f"{text.partition(': ')[0]}: {options[0]}"
    if answer not in options:
        raise RecordError(f"question {text!r:.120}: no option is {answer!r}", mend="make it again")
    aspect = next(name for name, pattern in _ASPECTS if pattern.search(told))
    return dict(aspect=aspect, form=form, text=text, options=options, answer=answer)


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
