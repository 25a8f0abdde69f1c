"""The probe reads what features hold, at chance what they do not, and only on clips left out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.study import probe
from sg4v_jax.study.likelihood import Scorer
from sg4v_jax.study.videos import Videos
from sg4v_jax.world.aspects.scene import COLOURS, SAMPLED, sample_scene, state
from tests.study.conftest import WORLD, random_model, scenes_of, study_config

IMAGE = {"grid": 96, "frames": 24}
SCENES = [sample_scene(n, split="train", settings=WORLD) for n in range(280)]


def made(*tell: str) -> np.ndarray:
    """Features f32[N,F,4,8] of noise that tell the things named, mixed over all four patches."""
    rng = np.random.default_rng(0)
    found = rng.normal(size=(len(SCENES), SAMPLED, 32))
    mix = rng.normal(size=(12, 32))
    for number, scene in enumerate(SCENES):
        if "colour" in tell:
            found[number] += 4 * mix[COLOURS.index(scene.thing.colour)]
        if "place" in tell:
            found[number] += (
                8 * np.stack([probe.place_in(scene, f) for f in range(SAMPLED)]) @ mix[6:10]
            )
        if "direction" in tell and scene.event("move"):
            found[number, 3] += 5 * mix[probe.way_of(scene)]
    return found.reshape(len(SCENES), SAMPLED, 4, 8).astype(np.float32)


def test_what_is_there_is_read():
    found = probe.readings(made("colour", "place", "direction"), SCENES)
    assert found["colour"].value > 0.9 and found["place"].value > 0.9
    assert found["direction"].value > 0.7 and found["direction_by_places"].value > 0.95
    assert found["colour"].clips == 70 and 10 < found["direction"].clips < 30


def test_places_tell_the_direction_to_who_compares_frames():
    found = probe.readings(made("place"), SCENES)
    assert found["direction_by_places"].value > 0.95
    assert found["direction"].value < 0.5 and found["colour"].value < 0.3


def test_noise_is_at_chance():
    found = probe.readings(made(), SCENES)
    assert abs(found["colour"].value - 1 / 6) < 0.12 and found["place"].value < 0.05
    assert found["direction"].value < 0.5 and found["direction_by_places"].value < 0.5
    for one in found.values():
        assert one.chance < 0.5


def test_the_place_is_where_the_thing_is_seen():
    scene = next(s for s in SCENES if s.camera == "still")
    now = state(scene, 5)
    x = np.arctan2(*probe.place_in(scene, 5)[[1, 0]]) / (2 * np.pi) % 1
    assert x == pytest.approx(now.x, abs=1e-6)
    panned = next(s for s in SCENES if s.camera == "pans left")
    x = np.arctan2(*probe.place_in(panned, 8)[[1, 0]]) / (2 * np.pi) % 1
    assert x == pytest.approx((state(panned, 8).x + 8 * 0.015) % 1, abs=1e-6)


@pytest.mark.parametrize("path", IMAGE)
def test_features_are_those_of_each_frames_own_patches(data, path):
    scorer = Scorer(*random_model(data, config=study_config(image=IMAGE[path], patch=12)))
    clips = Videos(scorer.show, data=data, path=path)
    names = [f"pictures/dev-{n}.png" for n in range(3)]
    found = probe.features(scorer, names, videos=clips)
    inside = scorer.settings.config.tower.patches // (4 if path == "grid" else 1)
    assert found.shape == (3, SAMPLED, inside * inside, 16)
    tiles = np.concatenate([p.tiles for p in clips.shown(names[1])])
    whole = np.asarray(scorer.model.tower(tiles, dtype="float32"))
    if path == "grid":  # frame 6 is in the second row, third column
        square = whole[0].reshape(4 * inside, 4 * inside, -1)
        expected = square[inside : 2 * inside, 2 * inside : 3 * inside].reshape(inside**2, -1)
    else:
        expected = whole[6]
    np.testing.assert_allclose(found[1, 6], expected, atol=1e-4)


def test_a_probe_of_a_model(data):
    scorer = Scorer(*random_model(data, config=study_config()))
    with pytest.raises(ConfigError, match="10 clips"):
        probe.probe(scorer, scenes=scenes_of("dev", count=10), data=data)
    found = probe.probe(scorer, scenes=scenes_of("train", count=44), data=data)
    assert list(found) == ["colour", "place", "direction", "direction_by_places"]
    assert found["colour"]["clips"] == 11
    json.dumps(found)


def test_a_tile_that_is_no_grid_is_refused():
    with pytest.raises(ConfigError, match="9 patches"):
        probe.by_frame(np.zeros((2, 1, 9, 4)))
