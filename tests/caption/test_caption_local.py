"""The local captioner on real clips, as plumbing: the shipped model cannot describe them."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from sg4v_jax.caption.captioners import CaptionRequest, open_captioner
from sg4v_jax.caption.local_captioner import hash_of
from sg4v_jax.caption.run import CaptionWork
from sg4v_jax.caption.videos import list_videos
from sg4v_jax.errors import BudgetError, ConfigError

CLIPS = pathlib.Path(__file__).parents[1] / "data" / "clips"


@pytest.fixture(scope="module")
def captioner():
    return open_captioner("local:asset:world", max_new_tokens=8)


def test_it_says_who_it_is_and_what_its_text_is_worth(captioner):
    assert captioner.name == "local:asset:world" and len(captioner.weights_hash) == 16
    assert captioner.decode == {"temperature": 0.0, "max_new_tokens": 8}
    assert "no meaningful text" in captioner.notice


def test_a_request_is_answered_alike_alone_and_in_a_batch(captioner):
    pictures = np.random.default_rng(0).integers(0, 256, (4, 90, 120, 3), np.uint8)
    requests = [
        CaptionRequest((pictures[0],), "What is there?", "a"),
        CaptionRequest((pictures[1], pictures[2]), "What changed?", "b"),
        CaptionRequest((), "Say <image> something <ima<image>ge>.", "c"),
    ]
    together = captioner.describe(requests)
    assert [isinstance(text, str) for text in together] == [True] * 3
    assert together == [captioner.describe([request])[0] for request in requests]


def test_the_picture_reaches_the_model(captioner):
    red, blue = (np.full((96, 96, 3), 255, np.uint8) for _ in range(2))
    red[30:70, 30:70], blue[30:70, 30:70] = (230, 30, 30), (30, 60, 230)
    ask = lambda image: captioner.describe([CaptionRequest((image,), "What colour is it?", "q")])
    assert ask(red) != ask(blue)


def test_a_prompt_that_is_too_long_is_refused(captioner):
    with pytest.raises(BudgetError, match="the model has 2048"):
        captioner.describe([CaptionRequest((), "word " * 3000, "x")])


@pytest.mark.slow
def test_sliding_over_the_clips(captioner):
    root, items = list_videos(CLIPS / "captions.json")
    work = CaptionWork("sliding", "model", "local:asset:world", root=root, opened=captioner)
    rows = {row["id"]: row for row in work(items)}
    assert sorted(rows) == ["flowers", "fox", "painter", "rovers"]
    for row in rows.values():
        assert row["error"] is None and row["weights_hash"] == captioner.weights_hash
        assert len(row["diff_captions"]) == len(row["keyframe_times"]) in (2, 3)


def test_hashes_tell_parameters_apart():
    a = {"x": np.arange(3.0), "y": np.zeros(2, np.int8)}
    assert hash_of(a) == hash_of(dict(reversed(a.items())))
    changed = [{**a, "x": np.arange(3.0) + 1e-9}, {**a, "z": a["x"]}, {"x": a["x"]}]
    assert len({hash_of(a), *map(hash_of, changed)}) == 4


def test_settings_that_cannot_be():
    with pytest.raises(ConfigError, match="no model"):
        open_captioner("local:")
    with pytest.raises(ConfigError, match="unknown kind 'remote'"):
        open_captioner("remote:x")
