"""Temporal questions cannot be answered from their text, from one frame, or from a set of frames."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest

from sg4v_jax.world.questions import GROUPS, make_questions
from sg4v_jax.world.scene import (
    COLOURS,
    JUMP_OFFSETS,
    OPPOSITE,
    RADII,
    SAMPLED,
    SHAPES,
    SIZES,
    SPLITS,
    WINDOWS,
    Scene,
    colour_pairs,
    colours_shown,
    in_view,
    sample_scene,
    state,
)

SCENES = 20000
MARGIN = 0.02
TEMPORAL = GROUPS["temporal"]
PIXEL_BINS = np.linspace(-RADII["large"], 96 + RADII["large"], 7)[1:-1]  # 6 bins an axis


@dataclasses.dataclass
class Sampled:
    """`attributes[name]` i64[N,16]; `xy` f64[N,16,2]; per kind: rows, codes, answers.

    `texts` holds codes of what is said, `wordings` of form, options and the whole text.
    """

    attributes: dict[str, np.ndarray]
    xy: np.ndarray
    rows: dict[str, np.ndarray]
    texts: dict[str, np.ndarray]
    wordings: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=SPLITS)
def sampled(request) -> Sampled:
    rng = np.random.default_rng(5)
    table = np.empty((SCENES, SAMPLED, 6))
    asked = {kind: [] for kind in TEMPORAL}
    for row in range(SCENES):
        scene = sample_scene(row, split=request.param)
        for frame in range(SAMPLED):
            now = state(scene, frame)
            table[row, frame] = (
                *(SHAPES.index(now.shape), COLOURS.index(now.colour), SIZES.index(now.size)),
                *(in_view(now), now.x, now.y),
            )
        for question in make_questions(scene, rng, kinds=TEMPORAL):
            asked[question.kind].append((row, question))
    names = ("shape", "colour", "size", "in_view")
    attributes = {name: table[..., i].astype(int) for i, name in enumerate(names)}
    xy = table[..., 4:]
    attributes |= {
        "x": np.digitize(xy[..., 0], PIXEL_BINS),
        "y": np.digitize(xy[..., 1], PIXEL_BINS),
    }
    return Sampled(
        attributes,
        xy,
        rows={kind: np.array([row for row, _ in pairs]) for kind, pairs in asked.items()},
        texts={kind: _codes([_text_key(q) for _, q in pairs]) for kind, pairs in asked.items()},
        wordings={
            kind: _codes([(q.form, q.text, q.options) for _, q in pairs])
            for kind, pairs in asked.items()
        },
        answers={
            kind: np.array([q.answer == q.options[0] for _, q in pairs])
            for kind, pairs in asked.items()
        },
    )


def _text_key(question) -> tuple:
    """What the text says, without the wording: the claimed direction, or the events in order."""
    nouns = ("movement", "size change", "color change")
    said = sorted((question.text.find(n), n) for n in nouns if n in question.text)
    said = said or [w for w in question.text.strip("?").replace(",", "").split() if w in OPPOSITE]
    return (question.form, str(said), question.options)


def _codes(keys: list) -> np.ndarray:
    index = {key: code for code, key in enumerate(sorted(set(keys)))}
    return np.array([index[key] for key in keys])


def _count_and_guess(cells: np.ndarray, answers: np.ndarray) -> float:
    """Accuracy of the more frequent answer of a cell, counted on one half, used on the other."""
    right = 0
    half = np.arange(len(cells)) % 2 == 0
    for train, test in ((half, ~half), (~half, half)):
        votes = np.bincount(cells[train], answers[train] - 0.5, minlength=cells.max() + 1)
        right += ((votes[cells[test]] > 0) == answers[test]).sum()
    return right / len(cells)


def _fit_and_guess(features: np.ndarray, texts: np.ndarray, answers: np.ndarray) -> float:
    """Accuracy of ridge regressions on +-1 targets (= LDA), one a text, fitted on one half."""
    right = 0
    half = np.arange(len(features)) % 2 == 0
    for text, (train, test) in itertools.product(np.unique(texts), ((half, ~half), (~half, half))):
        fit, use = train & (texts == text), test & (texts == text)
        x, y = features[fit], answers[fit] * 2.0 - 1
        weights = np.linalg.solve(x.T @ x + 3 * np.eye(x.shape[1]), x.T @ y)
        right += ((features[use] @ weights > 0) == answers[use]).sum()
    return right / len(features)


def _crossed(*codes: np.ndarray) -> np.ndarray:
    """One cell number for each combination of codes."""
    cells = np.zeros_like(codes[0])
    for code in codes:
        cells = cells * (code.max() + 1) + code
    return cells


def _one_hot(code: np.ndarray) -> np.ndarray:
    return np.eye(code.max() + 1)[code]


def _frame_features(data: Sampled, rows: np.ndarray, frame: int) -> np.ndarray:
    parts = [_one_hot(values[rows, frame]) for values in data.attributes.values()]
    xy = (data.xy[rows, frame] - 48) / 48
    return np.hstack([*parts, xy, xy**2, xy[:, :1] * xy[:, 1:]])


@pytest.mark.parametrize("kind", TEMPORAL)
def test_one_frame_oracle_is_at_chance_by_counting(sampled, kind):
    rows, texts, answers = sampled.rows[kind], sampled.texts[kind], sampled.answers[kind]
    pairs = list(itertools.combinations_with_replacement(sampled.attributes, 2))
    for frame, (a, b) in itertools.product(range(SAMPLED), pairs):
        left, right = (sampled.attributes[name][rows, frame] for name in (a, b))
        accuracy = _count_and_guess(_crossed(texts, left, right), answers)
        assert abs(accuracy - 0.5) < MARGIN, (frame, a, b)


@pytest.mark.parametrize("kind", TEMPORAL)
def test_one_frame_oracle_is_at_chance_by_regression(sampled, kind):
    rows, texts, answers = sampled.rows[kind], sampled.texts[kind], sampled.answers[kind]
    for frame in range(SAMPLED):
        features = _frame_features(sampled, rows, frame)
        accuracy = _fit_and_guess(features, texts, answers)
        assert abs(accuracy - 0.5) < MARGIN, frame


@pytest.mark.parametrize("kind", TEMPORAL)
def test_the_oracle_would_notice_a_leak(sampled, kind):
    """With two frames in order the same counting oracle is far above chance."""
    rows, texts, answers = sampled.rows[kind], sampled.texts[kind], sampled.answers[kind]
    best = 0.0
    for name in ("x", "y", "colour", "size"):
        early, late = (sampled.attributes[name][rows, frame] for frame in (0, 8))
        best = max(best, _count_and_guess(_crossed(texts, early, late), answers))
    assert best > 0.6


@pytest.mark.parametrize("kind", TEMPORAL)
def test_prior_only_guesser_is_at_chance_on_temporal_questions(sampled, kind):
    """Sees kind, form, whole text and options, but no video."""
    answers = sampled.answers[kind]
    assert abs(_count_and_guess(sampled.wordings[kind], answers) - 0.5) < MARGIN
    assert abs(answers.mean() - 0.5) < MARGIN  # the first option, or "yes"


@pytest.mark.parametrize("kind", GROUPS["static"])
def test_prior_only_guesser_is_near_chance_on_static_questions(kind):
    """Counts right answers of every set of options; 4 points for 1400 to 2000 questions."""
    votes = collections.defaultdict(Counter)
    right, chances = [], []
    for seed in range(4000):
        rng = np.random.default_rng([seed, 9])
        for question in make_questions(sample_scene(seed), rng, kinds=[kind]):
            key = tuple(sorted(question.options))
            if seed < 2000:
                votes[key][question.answer] += 1
            else:
                right.append(votes[key].most_common(1)[0][0] == question.answer)
                chances.append(question.chance)
    assert len(right) > 1400
    assert abs(np.mean(right) - np.mean(chances)) < 0.04


def _reverse(scene: Scene) -> Scene:
    """The scene whose frames 0..15 are those of `scene` in reverse."""
    last = state(scene, SAMPLED - 1)
    before = {"resize": scene.size, "recolour": scene.colour}
    events = []
    for event, (start, end) in zip(reversed(scene.events), WINDOWS, strict=True):
        if event.family == "move":
            change = {"direction": OPPOSITE[event.direction]}
        else:
            change = {"target": before[event.family], "at": SAMPLED - event.at}
        events.append(dataclasses.replace(event, start=start, end=end, **change))
    return dataclasses.replace(
        scene, x=last.x, y=last.y, size=last.size, colour=last.colour, events=tuple(events)
    )


def _discrete(scene: Scene) -> tuple:
    """All drawn values but x and y."""
    events = tuple((e.family, e.direction, e.speed, e.target, e.at) for e in scene.events)
    return (scene.shape, scene.colour, scene.size, events)


def _in_support(scene: Scene) -> bool:
    """Whether `sample_scene` could have drawn this; all drawn values are drawn uniformly."""
    moving = {"left": "x", "right": "x", "up": "y", "down": "y"}
    move = scene.event("move")
    for axis in ("x", "y"):
        value = getattr(scene, axis)
        on_torus = move is not None and moving[move.direction] == axis
        large = RADII["large"]
        low, high = (-large, 96 + large) if on_torus else (large, 96 - large)
        if not low <= value <= high:
            return False
    recolour, resize = scene.event("recolour"), scene.event("resize")
    if recolour:
        pair = (scene.colour, recolour.target)
        colours_fit = pair in colour_pairs(scene.shape, split=scene.split)
    else:
        colours_fit = scene.colour in colours_shown(scene.shape, split=scene.split)
    windows_fit = tuple((e.start, e.end) for e in scene.events) == WINDOWS
    jumps_fit = all(e.at is None or e.at - e.start in JUMP_OFFSETS for e in scene.events)
    sizes_fit = resize is None or resize.target != scene.size
    return colours_fit and windows_fit and jumps_fit and sizes_fit


@pytest.mark.parametrize("split", SPLITS)
def test_reversed_frames_are_a_possible_scene_with_the_opposite_answers(split):
    """The map scene -> reversed scene is one to one on the support, and draws are uniform there.

    So a set of frames comes from a scene and from its reverse with equal probability.
    """
    for seed in range(600):
        scene = sample_scene(seed, split=split)
        back = _reverse(scene)
        assert _in_support(scene)
        assert _in_support(back)
        for frame in range(SAMPLED):
            there, here = state(scene, SAMPLED - 1 - frame), state(back, frame)
            assert dataclasses.asdict(here) == pytest.approx(dataclasses.asdict(there), abs=0.02)
        assert _discrete(_reverse(back)) == _discrete(scene)
        answers = [
            {q.kind: q.answer for q in make_questions(s, np.random.default_rng(0), kinds=TEMPORAL)}
            for s in (scene, back)
        ]
        for kind in ("direction", "order"):
            assert kind not in answers[0] or answers[0][kind] != answers[1][kind]


@pytest.mark.parametrize("split", SPLITS)
def test_reversed_scenes_are_as_frequent(split):
    """Counts of what is drawn agree with those of the reverse, within 5 standard deviations."""
    counts = Counter(), Counter()
    for seed in range(8000):
        scene = sample_scene(seed, split=split)
        for counter, version in zip(counts, (scene, _reverse(scene)), strict=True):
            events = tuple((e.family, e.direction, e.speed, e.at) for e in version.events)
            counter[events] += 1
            counter[version.shape, version.colour, version.size] += 1
    assert len(counts[0]) > 100
    for key in counts[0] | counts[1]:
        there, back = counts[0][key], counts[1][key]
        assert abs(there - back) < 5 * np.sqrt(there + back), key


def test_colour_pairs_are_closed_under_swapping():
    for split, shape in itertools.product(SPLITS, SHAPES):
        pairs = colour_pairs(shape, split=split)
        assert len(set(pairs)) == len(pairs) >= 10
        assert {(b, a) for a, b in pairs} == set(pairs)
