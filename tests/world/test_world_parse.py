from __future__ import annotations

import pytest

from sg4v_jax.world.parse import caption_events, match_answer
from sg4v_jax.world.scene import PLACES


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("left", ("left", "right"), 0),
        (" Right.\n", ("left", "right"), 1),
        ("RIGHT, it moves right", ("left", "right"), 1),
        ("left, not right", ("left", "right"), 0),
        ("It moves to the left!", ("left", "right"), 0),
        ("No, it does not.", ("yes", "no"), 1),
        ("nothing", ("yes", "no"), None),
        ("", ("yes", "no"), None),
        ("  ...", ("yes", "no"), None),
        ("left or right", ("up", "down"), None),
        ("either yes or no", ("yes", "no"), None),
        ("Color  Change", ("size change", "color change"), 1),
        ("the color-change", ("size change", "color change"), 1),
        ("change", ("size change", "color change"), None),
        ("top left", PLACES, 0),
        ("top", PLACES, 1),
        ("top left corner", PLACES, 0),
        ("it is at the bottom right", PLACES, 8),
        ("Out of view", PLACES, 9),
        ("at the top and at the left", PLACES, None),
        ("red", ("red", "Red"), None),
        ("redder", ("red", "green"), None),
    ],
)
def test_match_answer(text, options, expected):
    assert match_answer(text, options) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("First it MOVES left. Then it grows.", ["move", "resize"]),
        ("it changes color to red and then changes size", ["recolour", "resize"]),
        ("a circle moving: it moves, turns blue and moves again", ["move", "recolour"]),
        ("a red circle on a soft background", []),
        ("it removes things; its color is red", []),
    ],
)
def test_caption_events(text, expected):
    assert caption_events(text) == expected
