from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.world.questions import GROUPS, KINDS, TOPICS, applicable, make_questions
from sg4v_jax.world.scene import COLOURS, OPPOSITE, SAMPLED, in_view, place, sample_scene, state

_NOUNS = {"move": "movement", "resize": "size change", "recolour": "color change"}


def _ask(kind: str):
    """(scene, question) pairs of one kind."""
    for seed in range(200):
        scene = sample_scene(seed)
        for question in make_questions(scene, np.random.default_rng([seed, 2]), kinds=[kind]):
            yield scene, question


@pytest.mark.parametrize("kind", KINDS)
def test_questions_are_well_formed(kind):
    texts = Counter()
    for scene, question in _ask(kind):
        assert question.id == f"{scene.seed}-{kind}-0"
        assert kind in GROUPS[question.group]
        assert question.options.count(question.answer) == 1
        assert len(set(question.options)) == len(question.options) >= 2
        assert question.chance == 1 / len(question.options)
        assert question.text.endswith("?")
        assert "{" not in question.text
        assert scene.shape in question.text or "object" in question.text or "order" in kind
        if question.form == "choice":
            places = [question.text.index(option) for option in question.options]
            assert places == sorted(places)
        texts[re.sub(r"\d+", "N", question.text)] += 1
    assert len(texts) >= 2


def test_direction_offers_the_truth_and_its_opposite():
    for scene, question in _ask("direction"):
        truth = scene.event("move").direction
        assert question.answer == truth
        assert set(question.options) == {truth, OPPOSITE[truth]}
    for scene, question in _ask("direction_yesno"):
        truth = scene.event("move").direction
        claim = re.search(r"\b(left|right|up|down)\b", question.text).group()
        assert claim in (truth, OPPOSITE[truth])
        assert question.answer == ("yes" if claim == truth else "no")


def test_order_names_the_first_event():
    for scene, question in _ask("order"):
        nouns = [_NOUNS[event.family] for event in scene.events]
        assert question.answer == nouns[0]
        assert set(question.options) == set(nouns)
    for scene, question in _ask("order_yesno"):
        nouns = [_NOUNS[event.family] for event in scene.events]
        said = sorted(nouns, key=question.text.index)
        assert question.answer == ("yes" if said == nouns else "no")


@pytest.mark.parametrize("kind", GROUPS["temporal"])
def test_temporal_texts_name_no_colour_and_no_kind_of_size_change(kind):
    for _, question in _ask(kind):
        words = set(re.findall(r"\w+", question.text.lower()))
        assert not words & {*COLOURS, "small", "large", "grow", "grows", "shrink", "shrinks"}


def test_static_answers():
    for kind, read in (
        ("shape", lambda scene: scene.shape),
        ("start_color", lambda scene: scene.colour),
        ("end_color", lambda scene: state(scene, 16).colour),
        ("start_size", lambda scene: scene.size),
        ("end_size", lambda scene: state(scene, 16).size),
    ):
        sizes = set()
        for scene, question in _ask(kind):
            assert question.answer == read(scene)
            sizes.add(len(question.options))
        assert sizes == ({2} if "size" in kind else {2, 3, 4})


def test_frame_answers_count_frames_from_one():
    for kind in GROUPS["frame"]:
        for scene, question in _ask(kind):
            number = int(re.search(r"frame (\d+)", question.text).group(1))
            assert 1 <= number <= SAMPLED
            now = state(scene, number - 1)
            truth = {"frame_color": now.colour, "frame_size": now.size, "frame_place": place(now)}
            assert question.answer == truth[kind]
            assert kind == "frame_place" or in_view(now)


def test_only_applicable_kinds_are_asked():
    skipped = Counter()
    for seed in range(400):
        scene = sample_scene(seed)
        asked = {q.kind for q in make_questions(scene, np.random.default_rng(0))}
        assert asked == {kind for kind in KINDS if applicable(scene, kind)}
        assert ("direction" in asked) == (scene.event("move") is not None)
        assert ("start_color" in asked) == in_view(state(scene, 0))
        skipped.update(set(KINDS) - asked)
    assert set(skipped) >= {"direction", "direction_yesno", "start_color", "end_size"}
    assert not skipped.keys() & {"order", "order_yesno", "shape", "frame_place"}


def test_repeated_frame_kinds_ask_about_different_frames():
    for seed in range(50):
        kinds = ["frame_place"] * 10 + ["frame_place"] * 6
        asked = make_questions(sample_scene(seed), np.random.default_rng(seed), kinds=kinds)
        numbers = [re.search(r"frame (\d+)", q.text).group(1) for q in asked]
        assert len(set(numbers)) == SAMPLED
        assert len({q.id for q in asked}) == SAMPLED


def test_no_other_text_gives_the_shape_away():
    for seed in range(200):
        scene = sample_scene(seed)
        asked = make_questions(scene, np.random.default_rng(seed))
        assert all(scene.shape not in q.text for q in asked if q.kind != "shape")


def test_topics_and_unknown_kinds():
    assert set(TOPICS) == set(KINDS)
    assert set(TOPICS.values()) == {"direction", "order", "shape", "color", "size", "place"}
    with pytest.raises(ConfigError, match="'speed'"):
        make_questions(sample_scene(0), np.random.default_rng(0), kinds=["speed"])
