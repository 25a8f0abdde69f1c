"""Scene -> captions in plain english with a small vocabulary, all lower case.

    short     7 to 9 words: what is there; one third add one bare action word
    detailed  25 to 35 words: look and place at the start, both events in order, the end
    static    as long as `detailed`, but only what the first frame shows (a control for length)

Short captions never say order, direction, speed or a target.
"""

from __future__ import annotations

import numpy as np

from sg4v_jax.world.scene import SAMPLED, Event, ObjectState, Scene, place, state

_ACTION_WORDS = {"move": "moving", "resize": "resizing", "recolour": "recoloring"}
_ADVERBS = {"slow": "slowly", "fast": "quickly"}


def short_caption(scene: Scene, rng: np.random.Generator) -> str:
    """For example "a red circle moving on a soft background."; 7 to 9 words."""
    look = _pick(
        rng,
        f"a {scene.size} {scene.colour} {scene.shape}",
        f"one {scene.colour} {scene.shape}",
        f"a {scene.colour} {scene.shape}",
    )
    ground = _pick(rng, "on a soft background", "on a gray background")
    if rng.integers(3):
        return f"{look} {ground}."
    event = scene.events[int(rng.integers(len(scene.events)))]
    return f"{look} {_ACTION_WORDS[event.family]} {ground}."


def detailed_caption(scene: Scene, rng: np.random.Generator) -> str:
    """All that happens, in order.

    For example: "a small red circle starts at the top left. first it moves right slowly. then it
    turns from red to blue. it ends as a small blue circle at the top."
    """
    start, end = state(scene, 0), state(scene, SAMPLED - 1)
    first, second = (_event_words(scene, e, rng) for e in scene.events)
    opening = _pick(
        rng,
        f"a {_look(start)} starts {_at(start, scene)}.",
        f"there is a {_look(start)} {_at(start, scene)}.",
    )
    middle = _pick(
        rng,
        f"first it {first}. then it {second}.",
        f"the {scene.shape} {first}, then it {second}.",
        f"it {first} and then it {second}.",
    )
    closing = _pick(
        rng,
        f"it ends as a {_look(end)} {_at(end, scene)}.",
        f"the {_look(end)} ends {_at(end, scene)}.",
    )
    return f"{opening} {middle} {closing}"


def static_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Only what the first frame shows, in 25 to 35 words."""
    start = state(scene, 0)
    opening = _pick(
        rng,
        f"this video shows a {_look(start)} {_at(start, scene)}.",
        f"a {_look(start)} can be seen {_at(start, scene)}.",
    )
    rest = _pick(
        rng,
        f"the {scene.shape} is {scene.size}, it has a clean edge, and all of it is plain "
        f"{scene.colour}. nothing else is in the picture.",
        f"its shape is a {scene.shape}, its size is {scene.size}, and its fill is one even "
        f"{scene.colour}. the picture has no other object.",
    )
    return f"{opening} {rest}"


def _pick(rng: np.random.Generator, *templates: str) -> str:
    return templates[int(rng.integers(len(templates)))]


def _look(obj: ObjectState) -> str:
    return f"{obj.size} {obj.colour} {obj.shape}"


def _at(obj: ObjectState, scene: Scene) -> str:
    where = place(obj, canvas=scene.canvas)
    return where if where == "out of view" else f"at the {where}"


def _event_words(scene: Scene, event: Event, rng: np.random.Generator) -> str:
    if event.family == "move":
        adverb = _ADVERBS[event.speed]
        return _pick(rng, f"moves {event.direction} {adverb}", f"{adverb} moves {event.direction}")
    if event.family == "resize":
        verb = "grows" if event.target == "large" else "shrinks"
        return f"{verb} from {scene.size} to {event.target}"
    return _pick(
        rng,
        f"turns from {scene.colour} to {event.target}",
        f"changes color to {event.target}",
    )
