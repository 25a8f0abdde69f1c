"""Scenes as MVBench files: twenty tasks in the shape of its data set's `main` branch.

    DIR/json/{task}.json     [{video, question, candidates, answer, start?, end?}], seconds
    DIR/video/{folder}/...   mp4 files; a folder of frames 00001.jpg, 00002.jpg .. for one task

Each task asks what the world has that is nearest to the original task. The same tasks have bounds
as in the original; `action_prediction` is about the first half alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sg4v_jax.world.facts import NOUNS
from sg4v_jax.world.scene import (
    COLOURS,
    DIRECTIONS,
    OPPOSITE,
    PLACES,
    SAMPLED,
    SHAPES,
    SIZES,
    Scene,
    place,
    state,
)

FIRST_EVENT, WHOLE = (0.0, 1.0), (0.0, 2.0)  # seconds: 8 frames a second
_MIDDLE = SAMPLED // 2  # the first event is over, the second has not begun
FRAME_FOLDERS = ("episodic_reasoning",)

# (question, candidates with the answer first, bounds or None); None where a scene has no such thing
_Asked = tuple[str, list[str], tuple[float, float] | None] | None


def content(scenes: dict[str, Scene], *, seed: int) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """File name -> content, and video id -> the places below `video/` where the clip must lie.

    A place that ends in a slash is a folder of frames.
    """
    out: dict[str, Any] = {}
    places: dict[str, list[str]] = {name: [] for name in scenes}
    for task_number, (task, (folder, ask)) in enumerate(TASKS.items()):
        rows = []
        for number, (name, scene) in enumerate(scenes.items()):
            rng = np.random.default_rng([seed, task_number, number, 43])
            if (asked := ask(scene, rng)) is None:
                continue
            question, candidates, bounds = asked
            folders = task in FRAME_FOLDERS
            row = {
                "video": name if folders else f"{name}.mp4",
                "question": question,
                "candidates": [candidates[int(i)] for i in rng.permutation(len(candidates))],
                "answer": candidates[0],
            }
            if bounds:
                row |= {"start": bounds[0], "end": bounds[1]}
            rows.append(row)
            where = f"{folder}/{name}/" if folders else f"{folder}/{name}.mp4"
            if where not in places[name]:
                places[name].append(where)
        out[f"json/{task}.json"] = rows
    return out, places


def _others(rng: np.random.Generator, values, answer: str, *, count: int = 3) -> list[str]:
    """`answer`, then `count` other values at random."""
    rest = [v for v in values if v != answer]
    return [answer, *(rest[int(i)] for i in rng.permutation(len(rest))[:count])]


def _doing(scene: Scene, number: int) -> str:
    event = scene.events[number]
    if event.family == "move":
        return f"it moves {event.direction}"
    if event.family == "resize":
        return "it grows" if event.target == "large" else "it shrinks"
    return f"it turns {event.target}"


def _wrong_doings(scene: Scene, number: int) -> list[str]:
    """Two things that do not happen then: the other event's, and one of the family that is absent."""
    absent = next(f for f in NOUNS if scene.event(f) is None)
    never = {"move": "it moves up", "resize": "it grows", "recolour": "it turns black"}[absent]
    return [_doing(scene, 1 - number), never]


def _sequence(scene: Scene, rng: np.random.Generator) -> _Asked:
    question = f"What does the object do after {_doing(scene, 0).replace('it ', 'it first ', 1)}?"
    never = _wrong_doings(scene, 1)[1]
    return question, [_doing(scene, 1), never, "nothing"], WHOLE


def _prediction(scene: Scene, rng: np.random.Generator) -> _Asked:
    absent = _wrong_doings(scene, 1)[1]
    ask = "This part shows the first event. It is of another kind than the next. What may be next?"
    return ask, [_doing(scene, 1), _doing(scene, 0), f"{absent} twice"], FIRST_EVENT


def _antonym(scene: Scene, rng: np.random.Generator) -> _Asked:
    if event := scene.event("resize"):
        grows = event.target == "large"
        words = ["the object grows", "the object shrinks"]
        return "What happens?", [*(words if grows else words[::-1]), "not sure"], None
    way = scene.event("move").direction
    words = [f"the object moves {way}", f"the object moves {OPPOSITE[way]}", "not sure"]
    return "What happens?", words, None


def _first_action(scene: Scene, rng: np.random.Generator) -> _Asked:
    return "What does the object do first?", [_doing(scene, 0), *_wrong_doings(scene, 0)], None


def _unexpected(scene: Scene, rng: np.random.Generator) -> _Asked:
    event = scene.event("recolour") or scene.event("resize")
    answer = {"recolour": "its color", "resize": "its size"}[event.family]
    other = "its shape" if scene.event("move") is None else "its place"
    return "What of the object jumps all at once?", [answer, other, "nothing"], None


def _existence(scene: Scene, rng: np.random.Generator) -> _Asked:
    shown = {scene.colour, state(scene, SAMPLED - 1).colour}
    there = bool(rng.integers(2))
    pool = [c for c in COLOURS if (c in shown) == there]
    colour = pool[int(rng.integers(len(pool)))]
    answer = ["yes", "no"] if there else ["no", "yes"]
    return f"Is there a {colour} object at any time?", [*answer, "not sure"], None


def _interaction(scene: Scene, rng: np.random.Generator) -> _Asked:
    return "Which object takes part in what happens?", _others(rng, SHAPES, scene.shape), WHOLE


def _end_place(scene: Scene, rng: np.random.Generator) -> _Asked:
    where = place(state(scene, SAMPLED - 1), canvas=scene.canvas)
    return "Where is the object at the end?", _others(rng, PLACES, where, count=2), None


def _direction(scene: Scene, rng: np.random.Generator) -> _Asked:
    move = scene.event("move")
    if move is None:
        return None
    return (
        "In which direction does the object move?",
        _others(rng, DIRECTIONS, move.direction),
        None,
    )


def _localization(scene: Scene, rng: np.random.Generator) -> _Asked:
    noun = NOUNS[scene.events[1].family]
    words = ["In the second half.", "In the first half.", "Throughout the whole video."]
    if swapped := bool(rng.integers(2)):
        noun = NOUNS[scene.events[0].family]
    first = words[1] if swapped else words[0]
    ask = f"In which part of the video is the {noun}?"
    return ask, [first, *(w for w in words if w != first)], WHOLE


def _transition(scene: Scene, rng: np.random.Generator) -> _Asked:
    event = scene.event("recolour")
    if event is None:
        return None
    a, b = scene.colour, event.target
    c, d = _others(rng, [v for v in COLOURS if v not in (a, b)], "", count=2)[1:]
    pairs = [f"From {x} to {y}." for x, y in ((a, b), (b, a), (c, d), (d, c))]
    return "Which tells how the scene changes?", pairs, None


def _action_count(scene: Scene, rng: np.random.Generator) -> _Asked:
    count = str(sum(e.family != "move" for e in scene.events))
    ask = "How many times does the object jump to another color or size?"
    return ask, _others(rng, ("0", "1", "2", "3"), count), None


def _moving_count(scene: Scene, rng: np.random.Generator) -> _Asked:
    count = "1" if scene.event("move") else "0"
    return "How many objects move from their place?", _others(rng, ("0", "1", "2"), count), None


def _attribute(scene: Scene, rng: np.random.Generator) -> _Asked:
    ask = "What color is the object when the video begins?"
    return ask, _others(rng, COLOURS, scene.colour, count=2), None


def _state_change(scene: Scene, rng: np.random.Generator) -> _Asked:
    size = state(scene, SAMPLED - 1).size
    answer = "about as large" if size == scene.size else "larger" if size == "large" else "smaller"
    ask = "How large is the object at the end, compared to the beginning?"
    return ask, _others(rng, ("larger", "smaller", "about as large"), answer), None


def _pose(scene: Scene, rng: np.random.Generator) -> _Asked:
    return "What outline does the object have?", _others(rng, SHAPES, scene.shape), None


def _character_order(scene: Scene, rng: np.random.Generator) -> _Asked:
    looks = [state(scene, frame) for frame in (0, SAMPLED - 1)]
    a, b = (f"{look.size} {look.colour}" for look in looks)
    others = [f"{s} {c}" for s in SIZES for c in COLOURS if f"{s} {c}" not in (a, b)]
    c = others[int(rng.integers(len(others)))]
    return (
        "In which order does the object look like this?",
        [f"{a}, {b}", f"{b}, {a}", f"{c}, {b}"],
        None,
    )


def _navigation(scene: Scene, rng: np.random.Generator) -> _Asked:
    move = scene.event("move")
    way = f"to the {move.direction}" if move and move.direction in ("left", "right") else None
    answer = way or (f"{move.direction}wards" if move else "nowhere: the object stays")
    ways = ("to the left", "to the right", "upwards", "downwards", "nowhere: the object stays")
    return (
        "Which way must a camera turn to keep the object in view?",
        _others(rng, ways, answer),
        None,
    )


def _episodic(scene: Scene, rng: np.random.Generator) -> _Asked:
    second = bool(rng.integers(2))
    colour = state(scene, SAMPLED - 1 if second else _MIDDLE).colour
    ask = "What color is the object when this part ends?"
    # Folders of frames are read at 3 frames a second: 17 frames are 5.67 s.
    bounds = (3.0, 5.3) if second else (0.0, 3.0)
    return ask, _others(rng, COLOURS, colour, count=4), bounds


def _counterfactual(scene: Scene, rng: np.random.Generator) -> _Asked:
    event = scene.event("recolour")
    if event is None:
        return None
    ask = "What color would the object have at the end if its color had not changed?"
    return ask, _others(rng, COLOURS, scene.colour), None


# Task -> folder below `video/` as in the original, and what is asked.
TASKS: dict[str, tuple[str, Callable[[Scene, np.random.Generator], _Asked]]] = {
    "action_sequence": ("star/Charades_v1_480", _sequence),
    "action_prediction": ("star/Charades_v1_480", _prediction),
    "action_antonym": ("ssv2_video", _antonym),
    "fine_grained_action": ("Moments_in_Time_Raw/videos", _first_action),
    "unexpected_action": ("FunQA_test/test", _unexpected),
    "object_existence": ("clevrer/video_validation", _existence),
    "object_interaction": ("star/Charades_v1_480", _interaction),
    "object_shuffle": ("perception/videos", _end_place),
    "moving_direction": ("clevrer/video_validation", _direction),
    "action_localization": ("sta/sta_video", _localization),
    "scene_transition": ("scene_qa/video", _transition),
    "action_count": ("perception/videos", _action_count),
    "moving_count": ("clevrer/video_validation", _moving_count),
    "moving_attribute": ("clevrer/video_validation", _attribute),
    "state_change": ("perception/videos", _state_change),
    "fine_grained_pose": ("nturgbd", _pose),
    "character_order": ("perception/videos", _character_order),
    "egocentric_navigation": ("vlnqa", _navigation),
    "episodic_reasoning": ("tvqa/frames_fps3_hq", _episodic),
    "counterfactual_inference": ("clevrer/video_validation", _counterfactual),
}
