"""Charts as inline SVG, and pictures as PNG; no plotting library.

Colours are CSS variables and text is `currentColor`, so charts follow a page's dark mode. Series
differ by dashes as well as by colour, for readers and printers that see none.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sg4v_jax.errors import RecordError
from sg4v_jax.report import axes, scale
from sg4v_jax.report.axes import Frame
from sg4v_jax.report.style import color
from sg4v_jax.report.svg import Svg, document, element, points, shorten, text, text_width

WIDTH = 680  # pixels; a page scales charts to its column
NARROW = 380  # of the layout for phones
_FEW = 8  # values of a line up to which each is marked
_LEAST_PLOT = 140  # height that a long legend leaves to the lines


@dataclass(frozen=True)
class Series:
    """A line: `x` and `y` of length n, and perhaps a band `(low, high)` of two such arrays."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    band: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray] | None = None


@dataclass(frozen=True)
class Interval:
    """A row of `interval_chart`: a value, its interval, and perhaps a reference such as chance.

    `low` and `high` may be nan where no interval is known.
    """

    name: str
    value: float
    low: float
    high: float
    reference: float | None = None


@dataclass(frozen=True)
class Bar:
    """A row of `bar_chart`; `series` (from 0) sets its colour, to tell kinds of rows apart."""

    name: str
    value: float
    series: int = 0


def _responsive(chart: Callable[..., Svg]) -> Callable[..., Svg]:
    """Lets `chart` also draw itself for a phone: text would be too small in a shrunken chart."""

    @functools.wraps(chart)
    def draw(*data, width: int = WIDTH, **options) -> Svg:
        svg = chart(*data, width=width, **options)
        if width > NARROW:
            svg.narrow = chart(*data, width=NARROW, **options)
        return svg

    return draw


@_responsive
def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_log: bool = False,
    smooth: float | None = None,
    height: int = 300,
    width: int = WIDTH,
) -> Svg:
    """Lines over a common x axis, at most 400 points drawn of each, with its extremes.

    Points are joined in the order of `x`, and marked in a line of few. Values that cannot be drawn
    (nan, infinite, or not above zero with `y_log`) are left out and counted in the legend.

    Args:
      series: the lines; none, or none that can be drawn, gives axes that say so.
      y_log: a logarithmic y axis.
      smooth: decay in [0, 1) of a moving average over the points (`scale.ema`), drawn over the
        faint raw line; None draws the raw line alone.
      height, width: pixels; a long legend makes the chart higher.

    Raises:
      RecordError: x, y or band of a series differ in length.
      ConfigError: `smooth` out of range.
    """
    lines, names = [], []
    for given in series:
        line = _drawable(given, y_log=y_log)
        lost = len(given.y) - len(line.y)
        lines.append(line)
        names.append(f"{given.name} ({lost} not drawable)" if lost else given.name)
    parts, head = [axes.title_line(title, width=width)], 30.0
    if len(names) > 1 or names != [s.name for s in series]:
        dots = [i for i, line in enumerate(lines) if len(line.y) == 1]
        shown, head = axes.legend(names, top=head, width=width, dots=dots)
        parts += shown
    notes = [f"strong: moving average {smooth:g}, faint: raw"] if smooth else []
    for note in [*notes, y_label]:
        head += 18
        parts.append(text(shorten(note, width=width), 0, head - 4, fill=color("muted")))
    xs = np.concatenate([np.empty(0), *(s.x for s in lines)])
    ys = np.concatenate([np.empty(0), *(a for s in lines for a in (s.y, *(s.band or ())))])
    y_range = axes.data_range(ys, log=y_log, pad=0.04)
    ticks = scale.log_ticks(*y_range) if y_log else scale.ticks(*y_range)
    left = 12 + max(text_width(v) for v in scale.labels(ticks, log=y_log))
    top, x_range = head + 10, axes.data_range(xs)
    bottom = max(height - axes.FOOT, top + _LEAST_PLOT)
    frame = Frame(left, width - 14, top, bottom, x_range, y_range, y_log)
    parts += axes.y_axis(frame, ticks)
    whole = len(xs) > 0 and bool(np.all(xs == np.round(xs)))
    parts += axes.x_axis(frame, x_label, width=width, whole=whole)
    for i, line in enumerate(lines):
        parts += _line(line, frame, index=i, smooth=smooth)
    if not len(xs):
        place = {"x": (left + width) / 2, "y": (frame.top + frame.bottom) / 2}
        parts.append(text("no values to draw", **place, text_anchor="middle"))
    return document(*parts, width=width, height=bottom + axes.FOOT, label=title)


@_responsive
def interval_chart(
    rows: Sequence[Interval],
    *,
    title: str,
    x_label: str,
    x_range: tuple[float, float] | None = None,
    reference_name: str = "chance",
    value_format: str = ".2f",
    width: int = WIDTH,
) -> Svg:
    """A dot with a whisker for each row, its reference as a dashed mark, and the values in words.

    The dot is filled where the interval excludes the reference, and hollow where it does not;
    without an interval it is hollow and grey.

    Args:
      rows: top to bottom.
      x_range: data range of the axis; by default what the rows need. Marks beyond it are cut.
      reference_name: what the dashed mark is, for the legend.
      value_format: a format specification of the written values; `.0%` makes percentages.

    Raises:
      RecordError: no rows, or a row whose value is not finite.
    """
    _check_rows(rows, title=title)
    if x_range is None:
        bounds = [(r.value, r.low, r.high, r.reference) for r in rows]
        x_range = axes.data_range(np.array(bounds, np.float64).ravel(), pad=0.04)
    written = [_interval_text(row, value_format) for row in rows]
    parts, head = [axes.title_line(title, width=width)], 30.0
    if any(row.reference is not None for row in rows):
        shown, head = _reference_legend(reference_name, top=head, width=width)
        parts += shown
    names = [row.name for row in rows]
    layout = axes.named_rows(names, written, x_range=x_range, width=width, top=head + 4)
    frame = layout.frame
    parts += axes.x_axis(frame, x_label, width=width, percent=value_format.endswith("%"))
    for i, row in enumerate(rows):
        parts += layout.text(i, name=row.name, written=written[i])
        parts += _whisker(row, frame, middle=layout.middle(i))
    return document(*parts, width=width, height=frame.bottom + axes.FOOT, label=title)


@_responsive
def bar_chart(
    rows: Sequence[Bar],
    *,
    title: str,
    x_label: str,
    value_format: str | None = None,
    width: int = WIDTH,
) -> Svg:
    """Horizontal bars from zero, the values written at their right.

    `value_format` is a format specification such as `.1f`; by default four digits.

    Raises:
      RecordError: no rows, or a row whose value is not finite.
    """
    _check_rows(rows, title=title)
    if value_format is None:
        written = scale.numbers([row.value for row in rows])
    else:
        written = [_value_text(row.value, value_format) for row in rows]
    names, x_range = [row.name for row in rows], axes.data_range([0.0, *(r.value for r in rows)])
    layout = axes.named_rows(names, written, x_range=x_range, width=width, top=32)
    frame = layout.frame
    percent = (value_format or "").endswith("%")
    parts = [axes.title_line(title, width=width)]
    parts += axes.x_axis(frame, x_label, width=width, percent=percent)
    zero = float(frame.x(0.0))
    for i, row in enumerate(rows):
        middle, end = layout.middle(i), float(frame.x(row.value))
        parts += layout.text(i, name=row.name, written=written[i])
        box = {"x": min(zero, end), "y": middle - 8, "width": abs(end - zero), "height": 16}
        parts.append(element("rect", **box, fill=axes.stroke(row.series)["stroke"]))
    parts.append(axes.rule(zero, frame.top, zero, frame.bottom, stroke=color("muted")))
    return document(*parts, width=width, height=frame.bottom + axes.FOOT, label=title)


def sparkline(
    values: Sequence[float] | np.ndarray, *, title: str, width: int = 120, height: int = 24
) -> Svg:
    """A small line without axes for a table cell, with a dot at its last value.

    `title` is what screen readers say. Values that are not finite are left out.
    """
    y = np.asarray(values, np.float64).reshape(-1)
    x = np.arange(len(y), dtype=np.float64)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    frame = Frame(3, width - 4, 4, height - 4, axes.data_range(x), axes.data_range(y))
    parts = []
    if len(y):
        style = {**axes.stroke(0), "stroke_width": 1.5}
        parts.append(_polyline(frame, x, y, **style))
        end = {"cx": float(frame.x(x[-1])), "cy": float(frame.y(y[-1])), "r": 2.5}
        parts.append(element("circle", **end, fill=color("series-1")))
    return document(*parts, width=width, height=height, label=title)


def png_bytes(image: np.ndarray) -> bytes:
    """A PNG file of `image` u8[H,W,3] (RGB).

    Raises:
      RecordError: another shape or type.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise RecordError(
            f"png_bytes: picture of shape {image.shape} and type {image.dtype}",
            mend="give uint8 of shape [height, width, 3]",
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def data_uri(content: bytes, *, mime: str = "image/png") -> str:
    """`content` as a `data:` address, so that a page needs no second file."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _drawable(series: Series, *, y_log: bool) -> Series:
    """`series` as f64 arrays in the order of x, without what cannot be drawn."""
    x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
    band = [np.asarray(edge, np.float64) for edge in series.band or ()]
    lengths = [a.shape for a in (x, y, *band)]
    if x.ndim != 1 or len(set(lengths)) != 1:
        raise RecordError(
            f"series {series.name!r}: x, y and band have shapes {lengths}",
            mend="give one-dimensional arrays of one length",
        )
    order = np.argsort(x, kind="stable")
    good = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not y_log))
    order = order[good[order]]
    x, y = x[order], y[order]
    for i, edge in enumerate(band):
        edge = np.where(np.isfinite(edge[order]), edge[order], y)
        band[i] = np.maximum(edge, y.min(initial=np.inf)) if y_log else edge
    return Series(series.name, x, y, tuple(band) or None)


def _line(series: Series, frame: Frame, *, index: int, smooth: float | None) -> list[str]:
    """The band, the raw line and the smoothed line of one drawable series."""
    if not len(series.y):
        return []
    parts, style = [], axes.stroke(index)
    if series.band:
        (low_x, low), (high_x, high) = (_thinned(series.x, edge) for edge in series.band)
        outline = points(
            frame.x(np.concatenate([low_x, high_x[::-1]])),
            frame.y(np.concatenate([low, high[::-1]])),
        )
        parts.append(element("polygon", points=outline, fill=style["stroke"], fill_opacity=0.16))
    if smooth:
        faint = {"stroke": style["stroke"], "stroke_width": 1, "stroke_opacity": 0.45}
        parts.append(_polyline(frame, series.x, series.y, **faint))
    y = scale.ema(series.y, decay=smooth) if smooth is not None else series.y
    parts.append(_polyline(frame, series.x, y, **style, stroke_width=2))
    if len(series.y) <= _FEW:  # what was measured, apart from what is drawn between
        for at_x, at_y in zip(frame.x(series.x), frame.y(y), strict=True):
            place = {"cx": float(at_x), "cy": float(at_y)}
            parts.append(element("circle", **place, r=3, fill=style["stroke"]))
    return parts


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep = scale.thin(y)
    return x[keep], y[keep]


def _polyline(frame: Frame, x: np.ndarray, y: np.ndarray, **style: object) -> str:
    x, y = _thinned(x, y)
    shape = points(frame.x(x), frame.y(y))
    return element("polyline", points=shape, fill="none", stroke_linejoin="round", **style)


def _whisker(row: Interval, frame: Frame, *, middle: float) -> list[str]:
    """The reference mark, the whisker and the dot of one row."""
    parts, blue = [], color("series-1")
    known = np.isfinite(row.low) and np.isfinite(row.high)
    inside = np.clip([row.value, row.low, row.high], *frame.x_range)
    at, start, end = (float(v) for v in frame.x(inside))
    excluded = known
    if row.reference is not None:
        excluded = known and not row.low <= row.reference <= row.high
        if frame.x_range[0] <= row.reference <= frame.x_range[1]:
            parts.append(_reference_mark(float(frame.x(row.reference)), middle - 9, middle + 9))
    if known:
        parts.append(axes.rule(start, middle, end, middle, stroke=blue, stroke_width=2.5))
        for edge in (start, end):
            parts.append(axes.rule(edge, middle - 5, edge, middle + 5, stroke=blue, stroke_width=2))
    edge_color = "series-1" if known else "muted"
    parts.append(_dot(at, middle, filled=bool(excluded), edge=edge_color))
    return parts


def _dot(x: float, y: float, *, filled: bool, edge: str = "series-1") -> str:
    fill = color(edge if filled else "paper")
    return element("circle", cx=x, cy=y, r=5, fill=fill, stroke=color(edge), stroke_width=2)


def _reference_mark(x: float, top: float, bottom: float) -> str:
    style = {"stroke": color("ink"), "stroke_width": 2, "stroke_dasharray": "4 3"}
    return axes.rule(x, top, x, bottom, **style)


def _reference_legend(name: str, *, top: float, width: int) -> tuple[list[str], float]:
    """The meaning of the dashed mark and of the two dots; the markup, and where it ends."""
    labels = (name, f"interval excludes {name}", f"interval includes {name}")
    places, bottom = axes.flow(labels, top=top, width=width, sample=18)
    parts = []
    for i, (x, y, label) in enumerate(places):
        mark = _reference_mark(x + 6, y - 8, y + 8)
        parts.append(mark if i == 0 else _dot(x + 6, y, filled=i == 1))
        parts.append(text(label, x + 17, y + 4.5, fill=color("muted")))
    return parts, bottom


def _value_text(value: float, value_format: str) -> str:
    return format(value, value_format).replace("-", "−")


def _interval_text(row: Interval, value_format: str) -> str:
    value = _value_text(row.value, value_format)
    if not (np.isfinite(row.low) and np.isfinite(row.high)):
        return f"{value} [no interval]"
    low, high = _value_text(row.low, value_format), _value_text(row.high, value_format)
    return f"{value} [{low}, {high}]"


def _check_rows(rows: Sequence[Interval] | Sequence[Bar], *, title: str) -> None:
    if not rows:
        raise RecordError(f"chart {title!r} has no rows", mend="leave the chart out")
    for row in rows:
        if not np.isfinite(row.value):
            raise RecordError(
                f"chart {title!r}: row {row.name!r} has value {row.value!r}",
                mend="leave out rows that were not measured",
            )
