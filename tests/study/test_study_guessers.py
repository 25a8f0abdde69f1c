"""The guesser finds leaks that are there, and none in the study's questions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sg4v_jax.errors import RecordError
from sg4v_jax.study import guessers, records
from sg4v_jax.study.videos import read_questions
from tests.study.conftest import WORLD, scenes_of


@pytest.fixture(scope="module")
def known():
    return records.asked(scenes_of("train", count=700), settings=WORLD)


@pytest.fixture(scope="module")
def asked():
    return records.asked(scenes_of("dev", count=500), settings=WORLD)


def test_the_questions_give_nothing_away(known, asked):
    found = guessers.Guesser.fit(known).accuracy(asked)
    blind = guessers.chance(asked)
    for aspect, forms in found["cells"].items():
        for form, (right, count) in forms.items():
            share = blind["cells"][aspect][form][0] / count
            error = np.sqrt(share * (1 - share) / count)
            assert right / count < share + max(0.02, 3.5 * error), (aspect, form)
    assert abs(found["average"] - blind["average"]) < 0.03
    json.dumps(found)


def leaky(question: dict, leak: str) -> dict:
    """The same question with its answer where it can be guessed."""
    options = list(question["options"])
    if leak == "place":
        options.remove(question["answer"])
        return question | {"options": [question["answer"], *options]}
    if leak == "option":
        return question | {"answer": min(options)}
    if leak == "shape":
        number = len(guessers.shape_of(question)) % len(options)
        return question | {"answer": sorted(options)[number]}
    claim = guessers.claim_of(question)
    return question | {"answer": sorted(options)[len(claim) % len(options)]}


@pytest.mark.parametrize("leak", ["place", "option", "shape", "claim"])
def test_a_leak_is_found(known, asked, leak):
    cell = lambda q: (
        (q["aspect"], q["form"]) == ("direction", "yesno" if leak == "claim" else "choice")
    )
    ours = [leaky(q, leak) for q in known if cell(q)]
    theirs = [leaky(q, leak) for q in asked if cell(q)]
    guesser = guessers.Guesser.fit(ours)
    assert guesser.accuracy(theirs)["average"] > 0.9
    assert guessers.two_fold(ours, feature=leak) > 0.9


def test_weak_hints_are_joined():
    """The option, its place and the shape are each right in seven of ten; joined in more."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(4000):
        usual, first, tells = rng.random(3) < 0.7
        answer, other = ("left", "right") if usual else ("right", "left")
        options = [answer, other] if first else [other, answer]
        shape = "cross" if (answer == "left") == tells else "circle"
        text = f"Which way does the {shape} move, clip {number}?"
        found.append(
            dict(aspect="direction", form="choice", text=text, options=options, answer=answer)
        )
    guesser = guessers.Guesser.fit(found[:3000])
    assert guesser.chosen["direction", "choice"] == "shape and order"
    assert guessers.two_fold(found, feature="place") < 0.73
    assert guesser.accuracy(found[3000:])["average"] > 0.75


def test_what_is_asked_whatever_the_wording():
    ask = lambda text: guessers.claim_of(dict(form="yesno", text=text, options=("yes", "no")))
    assert ask("Is this so? Does the cross move left?") == ask("Does the circle move left?")
    choice = dict(form="choice", text="What does the square do: a or b?", options=["b", "a"])
    assert guessers.claim_of(choice) == "a | b" and guessers.shape_of(choice) == "square"
    assert guessers.shape_of(choice | {"text": "What does the camera do?"}) == ""


def test_a_cell_without_training_questions_is_guessed_all_the_same(asked):
    guesser = guessers.Guesser.fit([])
    assert guesser.guess(asked[0]) == asked[0]["options"][0]


def test_training_questions_are_told_from_their_texts(asked):
    for question in asked:
        found = guessers.question_of(f"<image>\n{question['text']}", question["answer"])
        assert found == {name: question[name] for name in found}
    with pytest.raises(RecordError, match="perhaps"):
        guessers.question_of("Does it move?", "perhaps")


def test_accuracy_from_the_records_of_training(data, asked):
    scenes = scenes_of("train", count=400)
    known = records.questions_of(scenes, seed=1, settings=WORLD, path="grid")
    found = guessers.accuracy_of(known, data=data, splits=("dev",))
    assert list(found) == ["dev"]
    lines, _ = read_questions(data, split="dev")
    counted = sum(n for forms in found["dev"]["cells"].values() for _, n in forms.values())
    assert counted == len(lines) and 0.3 < found["dev"]["average"] < 0.6
