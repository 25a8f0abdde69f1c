from __future__ import annotations

import json
from collections import Counter

import pytest

from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.world import scene as scenes
from sg4v_jax.world.scene import Event, ObjectState, Scene, from_json, sample_scene, state, to_json


def _moving(direction: str, speed: str, *, x: float = 40.0, y: float = 40.0) -> Scene:
    move = Event("move", 1, 7, direction=direction, speed=speed)
    grow = Event("resize", 9, 15, target="large", at=12)
    return Scene(0, "train", "circle", "blue", "small", x, y, (move, grow))


def test_same_seed_and_split_give_the_same_scene():
    assert sample_scene(7) == sample_scene(7)
    assert sample_scene(7) != sample_scene(8)
    assert sample_scene(7, split="heldout") != sample_scene(7, split="train")


def test_move_goes_at_constant_speed_within_its_window_only():
    track = [state(_moving("right", "fast"), frame).x for frame in range(17)]
    assert track == [40 + 6 * min(frame, 7) for frame in range(17)]
    up = [state(_moving("up", "slow"), frame).y for frame in range(17)]
    assert up == [40 - 3 * min(frame, 7) for frame in range(17)]


def test_an_object_leaves_fully_before_it_comes_back():
    track = [state(_moving("left", "fast", x=-2.0), frame).x for frame in range(6)]
    assert track == [-2, -8, -14, 112, 106, 100]


def test_jumps_are_instantaneous():
    scene = _moving("right", "fast")
    assert [state(scene, frame).size for frame in (8, 11, 12, 16)] == ["small"] * 2 + ["large"] * 2
    assert [state(scene, frame).radius for frame in (11, 12)] == [11.0, 18.0]


def test_state_of_a_missing_frame_is_refused():
    for frame in (-1, 17):
        with pytest.raises(ConfigError, match="0 to 16"):
            state(sample_scene(0), frame)


def test_held_out_combinations_cover_each_shape_and_colour():
    assert len(scenes.HELD_OUT) == 6
    assert {shape for shape, _ in scenes.HELD_OUT} == set(scenes.SHAPES)
    assert {colour for _, colour in scenes.HELD_OUT} == set(scenes.COLOURS)


def test_held_out_combinations_never_show_in_train_and_always_in_heldout():
    def shown(seed: int, split: str) -> set:
        scene = sample_scene(seed, split=split)
        return {(scene.shape, state(scene, frame).colour) for frame in (0, 8, 16)}

    held = set(scenes.HELD_OUT)
    train = set.union(*(shown(seed, "train") for seed in range(2000)))
    assert train == {(s, c) for s in scenes.SHAPES for c in scenes.COLOURS} - held
    assert all(shown(seed, "heldout") & held for seed in range(2000))


def test_draws_are_uniform():
    counts: dict[str, Counter] = {name: Counter() for name in ("shape", "size", "pair", "speed")}
    for seed in range(6000):
        scene = sample_scene(seed)
        counts["shape"][scene.shape] += 1
        counts["size"][scene.size] += 1
        counts["pair"][tuple(event.family for event in scene.events)] += 1
        if move := scene.event("move"):
            counts["speed"][move.direction, move.speed] += 1
    for name, kinds in (("shape", 4), ("size", 2), ("pair", 6), ("speed", 8)):
        assert len(counts[name]) == kinds
        expected = counts[name].total() / kinds
        assert all(abs(n - expected) < 4.5 * expected**0.5 for n in counts[name].values()), name


def test_place_names():
    def at(x: float, y: float) -> str:
        return scenes.place(ObjectState(x, y, 8.0, "small", "red", "circle"))

    corners = [at(x, y) for y in (0, 48, 96) for x in (0, 48, 96)]
    assert corners == list(scenes.PLACES[:9])
    assert at(31.9, 32.1) == "left"
    assert at(-0.1, 48) == at(48, 96.1) == "out of view"


def test_json_round_trip():
    for split in scenes.SPLITS:
        for seed in range(50):
            scene = sample_scene(seed, split=split)
            assert from_json(json.loads(json.dumps(to_json(scene)))) == scene


def _damaged(**changes) -> dict:
    value = to_json(_moving("left", "slow"))
    return {k: v for k, v in (value | changes).items() if v is not None}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (_damaged(shape="star"), "field 'shape': unknown value 'star'"),
        (_damaged(colour=None), r"missing fields \['colour'\]"),
        (_damaged(wind=3), r"unknown fields \['wind'\]"),
        (_damaged(events=[{"family": "fall", "start": 1, "end": 7}]), r"events\[0\]'.family"),
        (_damaged(events=[{"family": "move", "start": 1, "end": 7}]), r"events\[0\]'.direction"),
        (_damaged(events=[{"family": "move"}]), "field 'events'"),
        (
            _damaged(events=[{"family": "resize", "start": 1, "end": 7, "target": "red", "at": 3}]),
            r"events\[0\]'.target: unknown value 'red'",
        ),
        (
            _damaged(
                events=[{"family": "resize", "start": 1, "end": 7, "target": "large", "at": 9}]
            ),
            r"events\[0\]'.at: unknown value 9",
        ),
    ],
)
def test_damaged_json_is_refused(value, message):
    with pytest.raises(RecordError, match=message) as e:
        from_json(value, where="truth.jsonl: record 3")
    assert "truth.jsonl: record 3" in str(e.value)


def test_unknown_split_and_negative_seed_are_refused():
    with pytest.raises(ConfigError, match="'test'"):
        sample_scene(0, split="test")
    with pytest.raises(ConfigError, match="-1"):
        sample_scene(-1)
