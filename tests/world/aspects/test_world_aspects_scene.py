"""Scenes of the study's world: what they show, how often, and what a split never shows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.world.aspects import scene as scenes
from sg4v_jax.world.aspects.facts import truth
from sg4v_jax.world.aspects.render import render
from sg4v_jax.world.aspects.scene import (
    CAMERAS,
    COLOURS,
    KINDS,
    SAMPLED,
    SHAPES,
    SPLITS,
    WorldSettings,
    held_out,
    sample_scene,
    state,
    view,
)
from sg4v_jax.world.render import RGB

SETTINGS = WorldSettings()
MANY = 6000


@pytest.fixture(scope="module", params=SPLITS)
def sampled(request):
    return [sample_scene(n, split=request.param, settings=SETTINGS) for n in range(MANY)]


def evenly(counts: Counter, *, over: int) -> bool:
    expected = sum(counts.values()) / over
    return len(counts) == over and max(abs(n - expected) for n in counts.values()) < 4.5 * np.sqrt(
        expected
    )


def test_everything_is_drawn_evenly(sampled):
    assert evenly(Counter(s.thing.shape for s in sampled), over=len(SHAPES))
    if sampled[0].split == "train":  # the others' held-out half has but four colours a kind
        assert evenly(Counter(s.thing.colour for s in sampled), over=len(COLOURS))
    assert evenly(Counter(tuple(e.kind for e in s.events) for s in sampled), over=20)
    moves = [s.event("move") for s in sampled if s.event("move")]
    assert evenly(Counter((e.direction, e.speed) for e in moves), over=8)
    if sampled[0].split == "train":
        turns = [(s.thing.colour, e.target) for s in sampled if (e := s.event("recolour"))]
        assert evenly(Counter(turns), over=len(COLOURS) * (len(COLOURS) - 1))
    filmed = Counter(s.camera for s in sampled if s.camera != "still")
    assert evenly(filmed, over=len(CAMERAS) - 1)
    assert abs(sum(filmed.values()) / MANY - SETTINGS.camera) < 0.03
    assert abs(sum(s.bystander is not None for s in sampled) / MANY - SETTINGS.bystander) < 0.03


def test_training_never_shows_what_is_held_out(sampled):
    def shows(scene):
        return any(held_out(scene.thing.shape, scene.thing.colour, e.kind) for e in scene.events)

    share = sum(map(shows, sampled)) / MANY
    assert share == 0 if sampled[0].split == "train" else abs(share - 0.5) < 0.03


def test_held_out_is_fair():
    held = [(s, c, k) for s in SHAPES for c in COLOURS for k in KINDS if held_out(s, c, k)]
    assert len(held) == 20
    for values, place in ((SHAPES, 0), (KINDS, 2)):
        assert set(Counter(h[place] for h in held).values()) == {len(held) // len(values)}


def test_splits_share_no_scene():
    first = {split: sample_scene(3, split=split, settings=SETTINGS) for split in SPLITS}
    assert len({(s.thing, s.events) for s in first.values()}) == len(SPLITS)
    assert first["dev"] == sample_scene(3, split="dev", settings=SETTINGS)


def test_a_clip_played_backwards_is_a_possible_clip(sampled):
    """Windows and moments swap places, so that a set of frames says nothing about their order."""
    first, second = Counter(), Counter()
    for scene in sampled:
        for event in scene.events:
            if event.at is not None and event.kind == "recolour":
                (first if event.number == 0 else second)[
                    16 - event.at if event.number else event.at
                ] += 1
            elif event.at is not None:
                at = 15 - (event.at + scenes.BLINK - 1) if event.number else event.at
                (first if event.number == 0 else second)["blink", at] += 1
    assert set(first) == set(second)
    for key, count in first.items():
        assert abs(count - second[key]) < 5 * np.sqrt(count + second[key])


@pytest.mark.parametrize("axis", ["x", "y"])
def test_no_single_frame_tells_the_direction(sampled, axis):
    """The place at any frame is uniform for each direction: 4 bins, all alike."""
    for frame in (0, 4, 8, 15):
        for direction in scenes.DIRECTIONS:
            moving = [s for s in sampled if (e := s.event("move")) and e.direction == direction]
            bins = Counter(int(4 * getattr(state(s, frame), axis)) for s in moving)
            assert evenly(bins, over=4), (frame, direction, bins)


def pixels_of(frame: np.ndarray, colour: str) -> int:
    return int((np.abs(frame.astype(int) - RGB[colour]).max(-1) < 40).sum())


@pytest.mark.parametrize("seed", range(60))
def test_captions_name_only_what_the_frames_show(seed):
    """Each colour that a caption may name has pixels; where it blinks there are none."""
    scene = sample_scene(seed, split="test", settings=WorldSettings(bystander=0.5, camera=0.6))
    frames, facts = render(scene, canvas=72, frames=SAMPLED), truth(scene)
    assert pixels_of(frames[0], facts.first.colour) >= 8
    assert pixels_of(frames[-1], facts.last.colour) >= 8
    if facts.bystander is not None:
        assert max(pixels_of(frame, facts.bystander.colour) for frame in frames) >= 8
    blink = scene.event("blink")
    if blink is not None:
        gone = frames[blink.at]
        assert pixels_of(gone, state(scene, blink.at).colour) == 0
    areas = [pixels_of(f, state(scene, n).colour) for n, f in enumerate(frames)]
    if scene.camera == "still" and [
        e.kind for e in scene.events if e.kind in ("grow", "shrink")
    ] == ["grow"]:
        hidden = scene.bystander is not None
        assert hidden or areas[-1] > 1.3 * areas[0]


def test_the_picture_moves_as_the_camera_says():
    for camera, way in (("pans left", 1), ("pans right", -1)):
        scene = next(
            s
            for n in range(400)
            if (s := sample_scene(n, split="train", settings=SETTINGS)).camera == camera
            and not s.event("move")
        )
        frames = render(scene, canvas=64, frames=9).astype(float)
        shift = round(64 * (view(scene, 8)[0] - view(scene, 0)[0]))
        assert np.sign(shift) == way
        same = np.roll(frames[0], shift, axis=1)
        assert np.median(np.abs(same - frames[8])) < np.median(np.abs(frames[0] - frames[8])) / 2
    assert view(scene, 0) == (0.0, 1.0)


def test_rendering_is_the_same_every_time_and_at_any_size():
    scene = sample_scene(5, split="dev", settings=SETTINGS)
    assert (
        render(scene, canvas=48, frames=3).tobytes() == render(scene, canvas=48, frames=3).tobytes()
    )
    small, large = render(scene, canvas=24, frames=1)[0], render(scene, canvas=96, frames=1)[0]
    shrunk = large.reshape(24, 4, 24, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 4


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda: WorldSettings(camera=1.2), "camera=1.2"),
        (lambda: sample_scene(1, split="val", settings=SETTINGS), "val"),
        (lambda: sample_scene(-1, split="dev", settings=SETTINGS), "-1"),
        (lambda: state(sample_scene(1, split="dev", settings=SETTINGS), 17), "17"),
    ],
)
def test_what_cannot_be(make, named):
    with pytest.raises(ConfigError, match=named):
        make()
