"""The parts that charts share: the plot area, its ranges, title, axes and legend."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from sg4v_jax.report import scale
from sg4v_jax.report.style import SERIES, color
from sg4v_jax.report.svg import element, escape, shorten, text, text_width

FOOT = 44  # height under the plot area for tick labels and the axis label
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "5 2", "14 3")
_TITLE_SIZE = 15
_LEGEND_LINE = 20
_STACK_BELOW = 500  # narrower charts put row names above the marks


@dataclass(frozen=True)
class Frame:
    """The plot area in pixels, and the data ranges that fill it."""

    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float] = (0.0, 1.0)
    y_log: bool = False

    def x(self, values) -> np.ndarray:
        """Pixels from the left of data values, any shape."""
        low, high = self.x_range
        share = (np.asarray(values, np.float64) - low) / (high - low)
        return self.left + share * (self.right - self.left)

    def y(self, values) -> np.ndarray:
        """Pixels from the top of data values, any shape."""
        low, high = self.y_range
        values = np.asarray(values, np.float64)
        if self.y_log:
            low, high, values = np.log10(low), np.log10(high), np.log10(values)
        return self.bottom - (values - low) / (high - low) * (self.bottom - self.top)


def data_range(values: np.ndarray, *, log: bool = False, pad: float = 0.0) -> tuple[float, float]:
    """A range with some width that holds the finite `values`, wider by `pad` of it at each end.

    Padding does not cross zero: `data_range([0, 10], pad=0.1)` is (0, 11). No values give (0, 1),
    or (0.1, 1) with `log`.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if low == high:
        if log:
            return low / 2, low * 2
        half = abs(low) / 2
        return (low - half, low + half) if half else (0.0, 1.0)
    if log:
        factor = (high / low) ** pad
        return low / factor, high * factor
    margin = pad * (high - low)
    low, high = (0.0 if 0 <= low < margin else low - margin), high + margin
    return low, (0.0 if high - margin <= 0 < high else high)


@dataclass(frozen=True)
class Rows:
    """Named rows: the name left of the plot area and the value right of it, or, on a narrow chart,
    both above the row's marks."""

    frame: Frame
    width: int
    height: float
    stacked: bool

    def middle(self, index: int) -> float:
        """Pixels from the top of the centre of row `index`'s marks."""
        row_top = self.frame.top + index * self.height
        return row_top + (self.height - 13 if self.stacked else self.height / 2)

    def text(self, index: int, *, name: str, written: str) -> list[str]:
        """The name of row `index` (cut where too long, whole in its tooltip) and its value."""
        base = self.middle(index) + (-16 if self.stacked else 4.5)
        room = self.width - text_width(written) - 12 if self.stacked else self.frame.left - 12
        shown = shorten(name, width=room)
        # above the marks, text crosses grid lines: a halo keeps it readable
        halo = {"stroke": color("paper"), "stroke_width": 5, "paint_order": "stroke"}
        style = halo if self.stacked else {}
        label = text(shown, 0, base, **style)
        if shown != name:
            label = element("g", element("title", escape(name)), label)
        return [label, text(written, self.width, base, text_anchor="end", **style)]


def named_rows(
    names: Sequence[str],
    written: Sequence[str],
    *,
    x_range: tuple[float, float],
    width: int,
    top: float,
) -> Rows:
    """The layout of a chart with one named row for each of `names`, starting at `top` pixels."""
    stacked = width < _STACK_BELOW
    height = 48.0 if stacked else 30.0
    left, right = 10.0, width - 10.0
    if not stacked:
        left = min(0.38 * width, max(text_width(n) for n in names)) + 14
        right = width - max(text_width(w) for w in written) - 18
    frame = Frame(left, right, top, top + height * len(names), x_range)
    return Rows(frame, width, height, stacked)


def title_line(title: str, *, width: int) -> str:
    """The chart's title at its top."""
    shown = shorten(title, width=width, size=_TITLE_SIZE)
    return text(shown, 0, 16, font_size=_TITLE_SIZE, font_weight=600)


def rule(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """A straight line, thin and grey unless said otherwise."""
    style = {"stroke": color("rule"), "stroke_width": 1, **attributes}
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **style)


def x_axis(
    frame: Frame, label: str, *, width: int, whole: bool = False, percent: bool = False
) -> list[str]:
    """Vertical grid lines, their numbers and the axis label."""
    count = max(2, int((frame.right - frame.left) / 90))
    ticks = scale.ticks(*frame.x_range, count=count, whole=whole)
    names = scale.labels(ticks * 100 if percent else ticks)
    names = [f"{name}%" for name in names] if percent else names
    style, parts = {"text_anchor": "middle", "fill": color("muted")}, []
    for at, name in zip(frame.x(ticks), names, strict=True):
        parts.append(rule(at, frame.top, at, frame.bottom))
        parts.append(text(name, _inside(at, name, width=width), frame.bottom + 17, **style))
    shown, middle = shorten(label, width=width), (frame.left + frame.right) / 2
    return [*parts, text(shown, _inside(middle, shown, width=width), frame.bottom + 37, **style)]


def _inside(middle: float, shown: str, *, width: int) -> float:
    """Where to centre `shown` so that it stays in the picture: at `middle` if possible."""
    half = text_width(shown) / 2
    return min(max(middle, half), width - half)


def y_axis(frame: Frame, ticks: np.ndarray) -> list[str]:
    """Horizontal grid lines and their numbers."""
    parts = []
    for at, name in zip(frame.y(ticks), scale.labels(ticks, log=frame.y_log), strict=True):
        parts.append(rule(frame.left, at, frame.right, at))
        place = {"text_anchor": "end", "fill": color("muted")}
        parts.append(text(name, frame.left - 7, at + 4.5, **place))
    return parts


def stroke(index: int) -> dict[str, object]:
    """The colour and dashes of series number `index`; they repeat together after 36 series."""
    dash = _DASHES[(index + index // SERIES) % len(_DASHES)]
    return {"stroke": color(f"series-{index % SERIES + 1}"), "stroke_dasharray": dash}


def flow(
    names: Sequence[str], *, top: float, width: int, sample: float
) -> tuple[list[tuple[float, float, str]], float]:
    """Places legend entries side by side, in as many lines as needed.

    Args:
      names: the entries, cut where longer than a line.
      sample: pixels that the mark before each name takes.

    Returns:
      The left end, the middle (pixels from the top) and the text of each entry, and the bottom of
      the last line.
    """
    places, x, y = [], 0.0, top
    for name in names:
        shown = shorten(name, width=width - sample)
        need = sample + text_width(shown)
        if x and x + need > width:
            x, y = 0.0, y + _LEGEND_LINE
        places.append((x, y + 6, shown))
        x += need + 18
    return places, y + _LEGEND_LINE


def legend(
    names: Sequence[str], *, top: float, width: int, dots: Collection[int] = ()
) -> tuple[list[str], float]:
    """The series' names with a sample of each line; the markup, and where it ends.

    Args:
      dots: numbers of the series that are a single point.
    """
    places, bottom = flow(names, top=top, width=width, sample=34)
    parts = []
    for i, (x, y, name) in enumerate(places):
        if i in dots:
            parts.append(element("circle", cx=x + 13, cy=y, r=3, fill=stroke(i)["stroke"]))
        else:
            parts.append(rule(x, y, x + 26, y, **stroke(i), stroke_width=2.5))
        parts.append(text(name, x + 33, y + 4.5))
    return parts, bottom
