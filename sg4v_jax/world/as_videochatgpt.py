"""Scenes as the files of the Video-ChatGPT benchmark: three lists of open questions.

DIR/{generic,temporal,consistency}_qa.json   [{video_name, Q, A}], consistency with Q1 and Q2
DIR/Test_Videos/{id}.mp4
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sg4v_jax.world.captions import detailed_caption
from sg4v_jax.world.facts import NOUNS
from sg4v_jax.world.scene import Scene


def content(scenes: dict[str, Scene], *, seed: int) -> dict[str, Any]:
    """File name -> content, for scenes by video id."""
    generic, temporal, consistency = [], [], []
    for number, (name, scene) in enumerate(scenes.items()):
        rng = np.random.default_rng([seed, number, 44])
        first, second = (NOUNS[e.family] for e in scene.events)
        generic += [
            {
                "video_name": name,
                "Q": "What happens in the video?",
                "A": detailed_caption(scene, rng),
            },
            {
                "video_name": name,
                "Q": "What does the video show when it begins?",
                "A": f"A {scene.size} {scene.colour} {scene.shape}.",
            },
        ]
        temporal.append(
            {
                "video_name": name,
                "Q": "In which order do the two events happen?",
                "A": f"First the {first}, then the {second}.",
            }
        )
        consistency.append(
            {
                "video_name": name,
                "Q1": "What shape is the object in the video?",
                "Q2": "Which geometric figure can be seen?",
                "A": f"A {scene.shape}.",
            }
        )
    return {
        "generic_qa.json": generic,
        "temporal_qa.json": temporal,
        "consistency_qa.json": consistency,
    }
