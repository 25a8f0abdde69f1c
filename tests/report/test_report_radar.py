from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sg4v_jax.errors import RecordError
from sg4v_jax.report.radar import Profile, radar_chart

NAMES = ["Action Sequence", "up", "Fine-grained Pose", "left"]


def _all(svg, name):
    return list(ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}" + name))


def _corners(polygon):
    return np.array([[float(v) for v in p.split(",")] for p in polygon.get("points").split()])


def _lines(svg):
    """The polygons of profiles: those that are filled."""
    return [_corners(p) for p in _all(svg, "polygon") if p.get("fill") != "none"]


def test_values_stand_at_their_share_of_the_radius_clockwise_from_the_top():
    svg = radar_chart(NAMES, [Profile("a", [100, 50, 25, 0])], title="T", value_range=(0, 100))
    [line] = _lines(svg)
    spokes = [e for e in _all(svg, "line") if e.get("stroke-width") == "1"]
    centre = np.array([float(spokes[0].get(k)) for k in ("x1", "y1")])
    rim = float(spokes[0].get("y2"))
    radius = centre[1] - rim
    expected = [(0, -1), (0.5, 0), (0, 0.25), (0, 0)]
    assert (line - centre) / radius == pytest.approx(np.array(expected), abs=0.01)


def test_labels_are_whole_and_inside_the_picture_wide_and_narrow():
    svg = radar_chart(NAMES, [Profile("a", [1, 2, 3, 4]), Profile("b", [4, 3, 2, 1])], title="T")
    for shown in (svg, svg.narrow):
        texts = [e.text for e in _all(shown, "text")]
        joined = " ".join(texts)
        assert all(name in joined for name in (*NAMES, "a", "b", "T"))
        width = float(ET.fromstring(shown).get("width"))
        for e in _all(shown, "text"):
            assert 0 <= float(e.get("x")) <= width
    assert len(_lines(svg)) == 2


def test_an_unknown_value_opens_the_line():
    svg = radar_chart(NAMES, [Profile("a", [1, math.nan, 3, 4])], title="T")
    assert not _lines(svg)
    assert len(_all(svg, "circle")) == 3
    strong = [e for e in _all(svg, "line") if e.get("stroke-width") == "2"]
    assert len(strong) == 2  # between the last three axes, and back to the first


def test_rings_are_round_numbers_up_to_the_rim():
    svg = radar_chart(NAMES, [Profile("a", [61.5, 3, 5, 7])], title="T")
    numbers = [e.text for e in _all(svg, "text") if re.fullmatch(r"[\d.]+", e.text)]
    assert numbers == ["20", "40", "60", "80"]


@pytest.mark.parametrize(
    ("names", "profiles", "message"),
    [
        (["a", "b"], [Profile("x", [1, 2])], "2 axes"),
        (["a", "b", "c"], [], "0 profiles"),
        (["a", "b", "c"], [Profile("x", [1, 2])], "'x' has 2 values for 3 axes"),
        (["a", "b", "c"], [Profile("x", [math.nan] * 3)], "no known value"),
    ],
)
def test_what_cannot_be_drawn_is_refused(names, profiles, message):
    with pytest.raises(RecordError, match=message):
        radar_chart(names, profiles, title="T")
