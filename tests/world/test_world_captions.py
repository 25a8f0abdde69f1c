from __future__ import annotations

import re

import numpy as np

from sg4v_jax.world.captions import detailed_caption, short_caption, static_caption
from sg4v_jax.world.parse import caption_events
from sg4v_jax.world.scene import SAMPLED, SPLITS, place, sample_scene, state

_SCENES = [sample_scene(seed, split=split) for seed in range(600) for split in SPLITS]


def _all(caption) -> list[tuple]:
    return [(scene, caption(scene, np.random.default_rng([scene.seed, 4]))) for scene in _SCENES]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_lengths_in_words():
    for caption, low, high in (
        (short_caption, 7, 9),
        (detailed_caption, 25, 35),
        (static_caption, 25, 35),
    ):
        lengths = [len(_words(text)) for _, text in _all(caption)]
        assert low <= min(lengths) <= max(lengths) <= high, caption.__name__


def test_detailed_captions_tell_the_truth_in_order():
    for scene, text in _all(detailed_caption):
        first, middle, last = text.partition(". ")[0], text, text.rpartition(". ")[2]
        start, end = state(scene, 0), state(scene, SAMPLED - 1)
        assert f"{start.size} {start.colour} {start.shape}" in first
        assert place(start) in first
        assert f"{end.size} {end.colour} {end.shape}" in last
        assert last.endswith(f"{place(end)}.")
        assert caption_events(text) == [event.family for event in scene.events]
        for event in scene.events:
            if event.family == "move":
                adverb = "slowly" if event.speed == "slow" else "quickly"
                assert re.search(
                    rf"(moves {event.direction} {adverb}|{adverb} moves {event.direction})\b",
                    middle,
                )
            else:
                assert f"to {event.target}" in middle


def test_short_captions_hold_at_most_one_bare_action_word():
    actions = 0
    secret = r"\b(left|right|up|down|top|bottom|slowly|quickly|first|then|to|grows|shrinks|turns)\b"
    for scene, text in _all(short_caption):
        told = caption_events(text)
        assert set(told) <= {event.family for event in scene.events}
        assert len(told) <= 1
        actions += bool(told)
        assert not re.search(secret, text)
        assert scene.shape in text
        recolour = scene.event("recolour")
        assert recolour is None or recolour.target not in _words(text)
    assert 0.28 < actions / len(_SCENES) < 0.39


def test_static_captions_know_the_first_frame_only():
    for scene, text in _all(static_caption):
        words = _words(text)
        assert caption_events(text) == []
        assert {scene.shape, scene.size, scene.colour} <= set(words)
        assert place(state(scene, 0)) in text
        for event in scene.events:
            assert event.target is None or event.target not in words


def test_vocabulary_is_small_and_plain():
    words, counts = set(), []
    for caption in (short_caption, detailed_caption, static_caption):
        texts = [text for _, text in _all(caption)]
        counts.append(len(set(texts)))
        assert all(re.fullmatch(r"[a-z ,.]+", text) for text in texts)
        words |= {word for text in texts for word in _words(text)}
    assert len(words) < 90
    assert min(counts) > 100


def test_same_rng_gives_the_same_caption():
    for caption in (short_caption, detailed_caption, static_caption):
        assert _all(caption)[:20] == _all(caption)[:20]
