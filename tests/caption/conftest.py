"""World videos whose object is wholly in view all the time, as key frames at uneven times."""

from __future__ import annotations

import itertools

import pytest

from sg4v_jax.caption.sliding import KeyFrames
from sg4v_jax.world.render import render
from sg4v_jax.world.scene import FPS, RADII, Scene, sample_scene, state

# Frames 0 and 8 lie between the windows of change, so no two events share a pair of key frames.
CHOSEN = (0, 2, 3, 7, 8, 10, 13, 16)


def always_in_view(scene: Scene) -> bool:
    margin = RADII["large"]
    low, high = margin, scene.canvas - margin
    seen = [state(scene, frame) for frame in range(scene.frames)]
    return all(low <= s.x <= high and low <= s.y <= high for s in seen)


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    """Five scenes each with a fast, a slow and no movement."""
    found = {"fast": [], "slow": [], None: []}
    for seed in itertools.count():
        scene = sample_scene(seed)
        group = found[move.speed if (move := scene.event("move")) else None]
        if len(group) < 5 and always_in_view(scene):
            group.append(scene)
        elif all(len(group) == 5 for group in found.values()):
            return [scene for group in found.values() for scene in group]


def key_frames(scene: Scene, *, chosen=CHOSEN) -> KeyFrames:
    frames = render(scene)
    return KeyFrames(f"scene-{scene.seed}", [frames[i] for i in chosen], [i / FPS for i in chosen])


@pytest.fixture(scope="session")
def videos(scenes) -> list[KeyFrames]:
    return [key_frames(scene) for scene in scenes]


def truth(scene: Scene) -> list[str]:
    """The scene's events in the world's words."""
    adverbs = {"slow": "slowly", "fast": "quickly"}
    told = []
    for event in scene.events:
        if event.family == "move":
            told.append(f"moves {event.direction} {adverbs[event.speed]}")
        elif event.family == "resize":
            verb = "grows" if event.target == "large" else "shrinks"
            told.append(f"{verb} from {scene.size} to {event.target}")
        else:
            told.append(f"turns from {scene.colour} to {event.target}")
    return told


@pytest.fixture(scope="session")
def truths(scenes) -> list[list[str]]:
    return [truth(scene) for scene in scenes]
