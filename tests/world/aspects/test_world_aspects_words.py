"""Captions and questions: what each style tells, and that no question gives its answer away."""

from __future__ import annotations

import collections
import re
from collections import Counter

import numpy as np
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.study import guessers
from sg4v_jax.world.aspects import captions, facts, reader
from sg4v_jax.world.aspects.questions import ASPECTS, FORMS, ask
from sg4v_jax.world.aspects.scene import COLOURS, SIZES, WorldSettings, sample_scene

SETTINGS = WorldSettings()
SCENES = 4000
ASKED = [(aspect, form) for aspect in ASPECTS for form in FORMS if form != "captioning"]


def scene(number: int, split: str = "train"):
    return sample_scene(number, split=split, settings=SETTINGS)


@pytest.fixture(scope="module")
def asked():
    return ask_all(SCENES)


def ask_all(scenes: int):
    """All questions about many scenes, by aspect and form."""
    found, rng = collections.defaultdict(list), np.random.default_rng(8)
    for number in range(scenes):
        one = scene(number)
        for aspect in ASPECTS:
            for form in FORMS:
                question = ask(one, rng, aspect=aspect, form=form, settings=SETTINGS)
                if question is not None:
                    found[aspect, form].append((one, question))
    return found


def guess_from_text(questions) -> float:
    """Accuracy of the most frequent answer to what a text says, counted on the other half."""
    return guessers.two_fold([vars(q) for q in questions], feature="claim")


@pytest.mark.parametrize("aspect, form", ASKED)
def test_the_text_alone_tells_nothing(asked, aspect, form):
    questions = [q for _, q in asked[aspect, form]]
    chance = np.mean([q.chance for q in questions])
    error = np.sqrt(chance * (1 - chance) / len(questions))
    assert guess_from_text(questions) < chance + max(0.02, 3.5 * error), chance
    places = Counter(q.options.index(q.answer) for q in questions if len(q.options) > 2)
    if form != "yesno" and places:
        assert max(places.values()) < 1.35 * min(places.values())


@pytest.mark.slow
def test_the_text_alone_tells_nothing_within_two_points():
    for (aspect, form), pairs in ask_all(16000).items():
        if form != "captioning":
            questions = [q for _, q in pairs]
            chance = np.mean([q.chance for q in questions])
            assert guess_from_text(questions) < chance + 0.02, (aspect, form)


@pytest.mark.parametrize("aspect, form", [(a, f) for a in ASPECTS for f in FORMS])
@pytest.mark.parametrize("use", captions.WORDINGS)
def test_a_true_caption_answers(asked, aspect, form, use):
    rng = np.random.default_rng(2)
    pairs = asked[aspect, form][:150]
    right = [
        reader.answer(reader.read(captions.detailed(facts.truth(s), rng, use=use)), q) == q.answer
        for s, q in pairs
    ]
    assert len(pairs) == 150 and np.mean(right) > 0.95


@pytest.mark.parametrize("aspect", ["direction", "speed", "order"])
@pytest.mark.parametrize("form", FORMS)
def test_a_short_or_static_caption_does_not(asked, aspect, form):
    rng = np.random.default_rng(2)
    for one, question in asked[aspect, form][:200]:
        for text in (captions.short(facts.truth(one), rng), captions.static(facts.truth(one), rng)):
            assert reader.answer(reader.read(text), question) is None, text


def test_an_unordered_caption_tells_all_but_the_order(asked):
    rng = np.random.default_rng(4)
    for one, question in asked["order", "choice"][:200]:
        assert (
            reader.answer(reader.read(captions.unordered(facts.truth(one), rng)), question) is None
        )
    for aspect in ("action", "direction", "speed", "attribute"):
        for one, question in asked[aspect, "choice"][:60]:
            told = reader.read(captions.unordered(facts.truth(one), rng))
            assert reader.answer(told, question) == question.answer
    orders = [
        reader.read(captions.unordered(facts.truth(scene(n)), rng)).events
        == reader.read(captions.detailed(facts.truth(scene(n)), rng)).events
        for n in range(400)
    ]
    assert 0.4 < np.mean(orders) < 0.6


def test_wordings_share_their_words_but_no_sentence():
    rng, words, sentences = np.random.default_rng(0), {}, {}
    for use in captions.WORDINGS:
        texts = [captions.detailed(facts.truth(scene(n)), rng, use=use) for n in range(600)]
        words[use] = {w for text in texts for w in re.findall(r"\w+", text)}
        looks = "|".join((*COLOURS, *SIZES, "circle", "square", "triangle", "cross"))
        sentences[use] = {
            re.sub(rf"\b({looks})\b", "_", line).strip() for t in texts for line in t.split(".")
        } - {""}
    for a in captions.WORDINGS:
        for b in captions.WORDINGS:
            assert a == b or not sentences[a] & sentences[b]
    assert words["test"] - words["train"] - words["pretrain"] <= {"clip", "has", "seen", "that"}


def test_lengths():
    rng = np.random.default_rng(0)
    truths = [facts.truth(scene(n)) for n in range(300)]
    count = lambda make: [len(make(t).split()) for t in truths]
    detailed, static = (
        count(lambda t: captions.detailed(t, rng)),
        count(lambda t: captions.static(t, rng)),
    )
    assert abs(np.mean(detailed) - np.mean(static)) < 4
    assert (
        6 <= min(count(lambda t: captions.short(t, rng)))
        and max(count(lambda t: captions.short(t, rng))) <= 10
    )
    for kept in (1, 2, 4):
        texts = [captions.detailed(t, rng, sentences=kept) for t in truths]
        assert {text.count(".") for text in texts} == {kept}


def told_events(number: int, change, rate: float):
    rng = np.random.default_rng(number)
    return facts.truth(scene(number)), change(facts.truth(scene(number)), rng, rate=rate)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 1.0])
def test_events_are_left_out_at_their_rate(rate):
    pairs = [told_events(n, facts.without_events, rate) for n in range(600)]
    left = sum(len(told.events) for _, told in pairs) / sum(len(t.events) for t, _ in pairs)
    assert abs(left - (1 - rate)) < 0.05
    for true, told in pairs:
        assert set(told.events) <= set(true.events)
        assert told.last in (true.last, None)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_events_are_false_at_their_rate(rate):
    pairs = [told_events(n, facts.made_false, rate) for n in range(600)]
    wrong = [a != b for true, told in pairs for a, b in zip(true.events, told.events, strict=True)]
    assert abs(np.mean(wrong) - rate) < 0.05
    for true, told in pairs:
        assert told.last == facts.after(true.first, told.events)
        for before, now in zip(true.events, told.events, strict=True):
            if before != now and before.kind == now.kind:
                changed = [
                    f
                    for f in ("direction", "speed", "new")
                    if getattr(before, f) != getattr(now, f)
                ]
                assert len(changed) == 1


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda: captions.wording("exam"), "exam"),
        (lambda: told_events(1, facts.made_false, 1.5), "1.5"),
        (
            lambda: ask(
                scene(1), np.random.default_rng(0), aspect="mood", form="choice", settings=SETTINGS
            ),
            "mood",
        ),
    ],
)
def test_what_cannot_be(make, named):
    with pytest.raises(ConfigError, match=named):
        make()
