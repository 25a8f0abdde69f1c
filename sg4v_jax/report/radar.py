"""A radar chart: one closed line a series over axes that stand around a centre.

Good for profiles ("strong here, weak there") of up to about six series over three to twenty axes.
Areas mean nothing: they depend on the order of the axes. For values and intervals use a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sg4v_jax.errors import RecordError
from sg4v_jax.report import axes, scale
from sg4v_jax.report.plot import NARROW, WIDTH
from sg4v_jax.report.style import color
from sg4v_jax.report.svg import Svg, document, element, points, text, text_width

_LINE = 16  # height of a label's line


@dataclass(frozen=True)
class Profile:
    """A line of `radar_chart`: a value for each axis, nan where it is not known."""

    name: str
    values: Sequence[float] | np.ndarray


def radar_chart(
    names: Sequence[str],
    profiles: Sequence[Profile],
    *,
    title: str,
    unit: str = "",
    value_range: tuple[float, float] | None = None,
    short: Sequence[str] | None = None,
    width: int = WIDTH,
) -> Svg:
    """Closed lines around a centre, one for each profile.

    The first axis points up, the others follow clockwise. A value that is not known leaves a gap
    in its line. Rings are at round numbers, written beside the first axis.

    Args:
      names: the axes, three or more.
      profiles: the lines.
      unit: what the numbers are, said under the title.
      short: the axes' names on a phone, where many long ones would lie upon each other.
      value_range: (centre, rim); by default from zero to a round number above all values.

    Raises:
      RecordError: fewer than three axes, a profile of another length, or no known value.
    """
    _check(names, profiles, title=title)
    svg = _draw(names, profiles, title=title, unit=unit, value_range=value_range, width=width)
    if width > NARROW:
        svg.narrow = _draw(
            short or names, profiles, title=title, unit=unit, value_range=value_range, width=NARROW
        )
    return svg


def _draw(names, profiles, *, title, unit, value_range, width) -> Svg:
    known = np.concatenate([np.asarray(p.values, np.float64) for p in profiles])
    low, high = value_range or (0.0, _above(float(np.nanmax(known))))
    parts, head = [axes.title_line(title, width=width)], 30.0
    if unit:
        head += 18
        parts.append(text(unit, 0, head - 14, fill=color("muted")))
    shown, head = axes.legend([p.name for p in profiles], top=head, width=width)
    parts += shown
    longest = max(text_width(line) for name in names for line in _lines(name))
    radius = max(60.0, min(width / 2 - longest - 16, 190.0))
    centre = (width / 2, head + 2 * _LINE + 8 + radius)
    place = _Place(centre, radius, len(names), (low, high))
    parts += _web(place, low=low, high=high)
    for number, name in enumerate(names):
        parts += _label(place, number, name)
    for number, profile in enumerate(profiles):
        parts += _outline(place, np.asarray(profile.values, np.float64), index=number)
    lowest = max(place.at(number, 1.0)[1] for number in range(len(names)))
    height = lowest + 2 * _LINE + 16
    return document(*parts, width=width, height=height, label=title)


@dataclass(frozen=True)
class _Place:
    """Where a value of an axis stands, in pixels."""

    centre: tuple[float, float]
    radius: float
    count: int
    limits: tuple[float, float]

    def angle(self, number: int) -> float:
        """Of axis `number`, clockwise from the top, in radians."""
        return 2 * math.pi * number / self.count

    def at(self, number: int, share: float) -> tuple[float, float]:
        """The point at `share` of the radius (0 centre, 1 rim)."""
        a = self.angle(number)
        x, y = self.centre
        return x + self.radius * share * math.sin(a), y - self.radius * share * math.cos(a)

    def share(self, value: float) -> float:
        low, high = self.limits
        return min(max((value - low) / (high - low), 0.0), 1.0)


def _above(value: float) -> float:
    """The round number at or above `value` (68 gives 80: a rim at 100 would waste space)."""
    if value <= 0:
        return 1.0
    step = scale.ticks(0, value, count=4)
    return float(step[1]) * math.ceil(value / float(step[1]) - 1e-9) if len(step) > 1 else value


def _web(place: _Place, *, low: float, high: float) -> list[str]:
    """Rings at round numbers, and a spoke for each axis."""
    rings = scale.ticks(low, high, count=4)
    rings = rings[rings > low]
    parts = []
    for ring in rings:
        corners = [place.at(i, place.share(float(ring))) for i in range(place.count)]
        shape = points(*zip(*corners, strict=True))
        parts.append(element("polygon", points=shape, fill="none", stroke=color("rule")))
    for number in range(place.count):
        parts.append(axes.rule(*place.centre, *place.at(number, 1.0)))
    for ring, name in zip(rings, scale.labels(rings), strict=True):
        x, y = place.at(0, place.share(float(ring)))
        parts.append(text(name, x + 4, y + 4, fill=color("muted"), font_size=11))
    return parts


def _lines(name: str) -> list[str]:
    """`name` in at most two lines: "Fine-grained Action" gives two."""
    words = name.split(" ")
    if len(words) < 2 or len(name) <= 12:
        return [name]
    cut = min(
        range(1, len(words)),
        key=lambda i: abs(len(" ".join(words[:i])) - len(" ".join(words[i:]))),
    )
    return [" ".join(words[:cut]), " ".join(words[cut:])]


def _label(place: _Place, number: int, name: str) -> list[str]:
    x, y = place.at(number, 1.0)
    a = place.angle(number)
    side = math.sin(a)
    anchor = "middle" if abs(side) < 0.12 else ("start" if side > 0 else "end")
    x += 12 * side
    lines = _lines(name)
    # Above the rim the last line touches it, below the first; at the sides they are centred.
    middle = y - 14 * math.cos(a) - (len(lines) - 1) * _LINE * (0.5 + 0.5 * math.cos(a))
    return [
        text(line, x, middle + 4.5 + row * _LINE, text_anchor=anchor)
        for row, line in enumerate(lines)
    ]


def _outline(place: _Place, values: np.ndarray, *, index: int) -> list[str]:
    """The line of one profile, open at gaps, with a dot at each value."""
    style = axes.stroke(index)
    known = np.isfinite(values)
    spots = {i: place.at(i, place.share(float(v))) for i, v in enumerate(values) if np.isfinite(v)}
    parts = []
    if known.all():
        shape = points(*zip(*spots.values(), strict=True))
        fill = {"fill": style["stroke"], "fill_opacity": 0.08}
        parts.append(element("polygon", points=shape, **fill, **style, stroke_width=2))
    else:
        for i in range(place.count):
            j = (i + 1) % place.count
            if known[i] and known[j]:
                parts.append(axes.rule(*spots[i], *spots[j], **style, stroke_width=2))
    for x, y in spots.values():
        parts.append(element("circle", cx=x, cy=y, r=2.5, fill=style["stroke"]))
    return parts


def _check(names, profiles, *, title) -> None:
    if len(names) < 3 or not profiles:
        raise RecordError(
            f"radar chart {title!r}: {len(names)} axes and {len(profiles)} profiles",
            mend="give three axes or more and at least one profile, or use a bar chart",
        )
    for profile in profiles:
        if len(profile.values) != len(names):
            raise RecordError(
                f"radar chart {title!r}: profile {profile.name!r} has {len(profile.values)} "
                f"values for {len(names)} axes",
                mend="give a value for each axis, nan where it is not known",
            )
    if not any(np.isfinite(np.asarray(p.values, np.float64)).any() for p in profiles):
        raise RecordError(f"radar chart {title!r}: no known value", mend="leave the chart out")
