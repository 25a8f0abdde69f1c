"""Batched scores are the scores of each option alone, and those of the training loss."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data.layout import Placed, place
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.readers.llava import llava_record
from sg4v_jax.errors import BudgetError, RecordError
from sg4v_jax.models.params import flatten
from sg4v_jax.study import pictures, records
from sg4v_jax.study.likelihood import Request, Scorer
from sg4v_jax.study.shared_parts import Plan
from sg4v_jax.study.videos import Videos, read_questions, user_turn
from sg4v_jax.text.chat import Turn
from sg4v_jax.train.losses import next_token_loss
from tests.study.conftest import random_model, scenes_of, study_config

IMAGE = {"grid": 96, "frames": 24}  # side of a tile, by visual path


class Asked(NamedTuple):
    path: str
    scorer: Scorer
    lines: Sequence[Mapping]
    requests: Sequence[Request]
    scores: Sequence[np.ndarray]


@pytest.fixture(scope="module", params=IMAGE)
def asked(request, data):
    """Questions about five clips, scored together."""
    scorer = Scorer(*random_model(data, config=study_config(image=IMAGE[request.param])))
    videos = Videos(scorer.show, data=data, path=request.param)
    lines, _ = read_questions(data, split="dev", scenes=5)
    requests = [request_of(line, videos) for line in lines]
    return Asked(request.param, scorer, lines, requests, scorer.option_scores(requests))


def request_of(line: Mapping, videos: Videos) -> Request:
    shown = videos.shown(line["video"])
    return Request([user_turn(line["text"], images=len(shown))], line["options"], shown)


def training_sample(asked: Asked, number: int, option: str, data):
    """The sample that training makes of this question with this answer."""
    line = asked.lines[number]
    scene = scenes_of("dev", count=line["scene"] + 1)[-1]
    item = records.record(
        "one",
        records.shown_files(pictures.clip_file(scene), path=asked.path),
        [(line["text"], option)],
    )
    item = json.loads(json.dumps(item))
    record = llava_record(item, path="made.json", root=data, number=0)
    inputs = asked.scorer.settings.inputs
    shown = [inputs.show(visual) for visual in record.visuals]
    sequence, drop = inputs.record_sequence(
        record, sizes=[s.size for s in shown], tokenizer=asked.scorer.settings.tokenizer
    )
    assert drop is None
    return Placed(sequence, np.concatenate([s.tiles for s in shown]), 1.0)


def batch_of(samples, scorer: Scorer) -> Batch:
    anyres = scorer.settings.inputs.anyres
    budget = Budget(96, max(s.sequence.tiles for s in samples), 32)
    rows = [place([s], budget=budget, side=anyres.side, patches=anyres.patches) for s in samples]
    return Batch(*(np.stack(field) for field in zip(*rows, strict=True)))


@jax.jit
def losses(model, batch: Batch) -> jax.Array:
    """The training loss of each row alone, f32[B]."""
    total = lambda row: next_token_loss(
        model, jax.tree.map(lambda x: x[None], row), dtype=jnp.float32, remat="none"
    )[0]
    return jax.lax.map(total, batch)


def test_scores_are_the_training_loss_of_the_same_record(asked, data):
    chosen = [(number, option) for number in range(0, len(asked.requests), 5) for option in (0, -1)]
    samples = [training_sample(asked, n, asked.requests[n].options[o], data) for n, o in chosen]
    expected = -losses(asked.scorer.model, batch_of(samples, asked.scorer))
    found = [asked.scores[n][o] for n, o in chosen]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(found) > 1


def test_prompts_have_the_ids_of_training(asked, data):
    for number in (0, 1, 2, len(asked.lines) - 1):
        for option in asked.requests[number].options:
            ours = asked.scorer.lay_out(asked.requests[number], option)
            theirs = training_sample(asked, number, option, data).sequence
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)


def test_neighbours_and_order_change_nothing(asked):
    order = np.random.default_rng(0).permutation(len(asked.requests))
    mixed = asked.scorer.option_scores([asked.requests[i] for i in order])
    for place_, number in enumerate(order):
        np.testing.assert_allclose(mixed[place_], asked.scores[number], atol=1e-4)
    one = asked.requests[3]
    alone = asked.scorer.option_scores([Request(one.turns, one.options[:1], one.pictures)])
    np.testing.assert_allclose(alone[0], asked.scores[3][:1], atol=1e-4)


def test_small_batches_split_a_clip(asked):
    small = Scorer(asked.scorer.settings, flatten(asked.scorer.model), options=12)
    found = small.option_scores(asked.requests[:20])
    for one, other in zip(found, asked.scores, strict=False):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_what_is_shared_is_run_once(asked):
    questions = [asked.scorer._question(request) for request in asked.requests]
    plan = Plan.of(questions, options=1000, anyres=asked.scorer.settings.inputs.anyres)
    (batch,) = plan.batches()
    assert sorted(itertools.chain(*batch)) == list(range(len(questions)))
    assert len(batch) == len({line["video"] for line in asked.lines})
    assert min(plan.stems) > 16  # all visual tokens
    clips, asked_, options = (part.segments.sum() for part in plan.place(batch)[:3])
    alone = sum(len(s.tokens) for q in questions for s in q.samples)
    assert clips + asked_ + options < alone / 3
    assert clips == sum(plan.stems[numbers[0]] for numbers in batch)


def test_a_small_batch_has_no_more_than_it_may(asked):
    questions = [asked.scorer._question(request) for request in asked.requests]
    plan = Plan.of(questions, options=16, anyres=asked.scorer.settings.inputs.anyres)
    batches = list(plan.batches())
    numbers = [n for batch in batches for clip in batch for n in clip]
    assert sorted(numbers) == list(range(len(questions)))
    for batch in batches:
        count = sum(len(questions[n].samples) for clip in batch for n in clip)
        assert len(batch) <= plan.rows[0] and count <= plan.rows[2] == 16


def test_another_picture_gives_other_scores(asked):
    videos = {
        line["video"]: r.pictures for line, r in zip(asked.lines, asked.requests, strict=True)
    }
    first, second = list(videos.values())[:2]
    request = asked.requests[0]
    other = Request(request.turns, request.options, second if request.pictures is first else first)
    found = asked.scorer.option_scores([request, other])
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_text_alone_can_be_scored(asked):
    request = Request([Turn("user", "Does it move?")], ["yes", "no"], [])
    scores = asked.scorer.option_scores([request, *asked.requests])
    for one, other in zip(scores[1:], asked.scores, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    sequence = [asked.scorer.lay_out(request, option) for option in request.options]
    side = IMAGE[asked.path]
    empty = np.zeros((0, side, side, 3), np.uint8)
    samples = [Placed(s, empty, 1.0) for s in sequence]
    expected = -losses(asked.scorer.model, batch_of(samples, asked.scorer))
    np.testing.assert_allclose(scores[0], expected, atol=1e-4)
    assert asked.scorer.option_scores([]) == []


def test_what_cannot_be_scored(asked):
    turns, shown = asked.requests[0].turns, asked.requests[0].pictures
    with pytest.raises(RecordError, match="without options"):
        asked.scorer.option_scores([Request(turns, [], shown)])
    with pytest.raises(RecordError, match="empty"):
        asked.scorer.option_scores([Request(turns, [""], shown)])
    with pytest.raises(BudgetError, match="positions"):
        asked.scorer.option_scores([Request(turns, ["yes " * 3000], shown)])
