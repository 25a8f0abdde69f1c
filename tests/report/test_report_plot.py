"""Charts read back as XML: what is drawn, where, and in which colours."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.report import axes, plot
from sg4v_jax.report.svg import Svg, document, element, escape, shorten, text, text_width

LABELS = {"title": "Loss", "x_label": "step", "y_label": "nats"}


def _root(svg: Svg) -> ET.Element:
    return ET.fromstring(svg)


def _all(svg: Svg, name: str) -> list[ET.Element]:
    return list(_root(svg).iter("{http://www.w3.org/2000/svg}" + name))


def _texts(svg: Svg) -> list[str]:
    return [e.text for e in _all(svg, "text")]


def _shape(line: ET.Element) -> np.ndarray:
    return np.array([[float(v) for v in p.split(",")] for p in line.get("points").split()])


def _lines(svg: Svg) -> list[np.ndarray]:
    return [_shape(line) for line in _all(svg, "polyline")]


def test_line_chart_places_points_in_proportion():
    svg = plot.line_chart([plot.Series("a", [0, 1, 2, 4], [0, 1, 2, 4])], **LABELS)
    (line,) = _lines(svg)
    x, y = line[:, 0], line[:, 1]
    assert np.diff(x) / (x[1] - x[0]) == pytest.approx([1, 1, 2], abs=0.01)
    assert np.diff(y) / (y[1] - y[0]) == pytest.approx([1, 1, 2], abs=0.01)
    assert y[0] > y[-1] and x[-1] == plot.WIDTH - 14  # upwards is more, and the width is used
    assert {"Loss", "step", "nats", "0", "4"} <= set(_texts(svg))
    assert "a" not in _texts(svg)  # a single line needs no legend


def test_line_chart_y_position_agrees_with_its_ticks():
    svg = plot.line_chart([plot.Series("a", [0, 1, 2], [0, 2, 5])], **LABELS)
    tick = next(e for e in _all(svg, "text") if e.text == "2" and e.get("text-anchor") == "end")
    assert _lines(svg)[0][1, 1] == pytest.approx(float(tick.get("y")) - 4.5, abs=0.1)


def test_log_axis_spaces_powers_evenly_and_drops_what_has_no_logarithm():
    series = plot.Series("norm", [0, 1, 2, 3, 4], [1, 10, 0, 100, np.nan])
    svg = plot.line_chart([series], **LABELS, y_log=True)
    (line,) = _lines(svg)
    assert len(line) == 3
    steps = np.diff(line[:, 1])
    assert steps[0] == pytest.approx(steps[1], abs=0.11) and steps[0] < 0
    assert "norm (2 not drawable)" in _texts(svg)


def test_long_series_are_thinned_but_keep_a_spike():
    y = np.sin(np.arange(50_000) / 900)
    y[31_234] = 9
    svg = plot.line_chart([plot.Series("a", np.arange(50_000), y)], **LABELS)
    (line,) = _lines(svg)
    assert 300 < len(line) <= 400
    peak = line[line[:, 1].argmin()]
    share = (peak[0] - line[0, 0]) / (line[-1, 0] - line[0, 0])
    assert share == pytest.approx(31_234 / 49_999, abs=1e-3)


def test_smoothing_draws_a_calmer_line_over_a_faint_one():
    y = np.random.default_rng(0).normal(size=300)
    svg = plot.line_chart([plot.Series("a", np.arange(300), y)], **LABELS, smooth=0.9)
    faint, strong = _all(svg, "polyline")
    assert float(faint.get("stroke-opacity")) < 0.5 and strong.get("stroke-opacity") is None
    assert np.ptp(_shape(strong)[:, 1]) < 0.5 * np.ptp(_shape(faint)[:, 1])
    assert "strong: moving average 0.9, faint: raw" in _texts(svg)
    with pytest.raises(ConfigError, match=r"smooth=1\.5"):
        plot.line_chart([plot.Series("a", [1], [1])], **LABELS, smooth=1.5)


def test_several_series_differ_by_colour_and_dashes_and_have_a_legend():
    series = [plot.Series(f"run {i}", [0, 1], [i, i + 1]) for i in range(14)]
    svg = plot.line_chart(series, **LABELS)
    looks = [(e.get("stroke"), e.get("stroke-dasharray")) for e in _all(svg, "polyline")]
    assert len(set(looks)) == 14
    assert {s.name for s in series} <= set(_texts(svg))
    for chart in (svg, svg.narrow):
        height = float(_root(chart).get("height"))
        drawn = np.concatenate(_lines(chart))
        assert drawn[:, 1].max() < height and np.ptp(drawn[:, 1]) > 100  # room left for lines


def test_band_surrounds_its_line():
    y = np.linspace(1, 2, 5)
    svg = plot.line_chart([plot.Series("a", range(5), y, (y - 0.5, y + 0.5))], **LABELS)
    (band,) = _all(svg, "polygon")
    outline, (line,) = _shape(band), _lines(svg)
    assert len(outline) == 10
    lower, upper = outline[:5, 1], outline[5:, 1][::-1]
    assert np.all(upper < line[:, 1]) and np.all(line[:, 1] < lower)


def test_unsorted_points_are_joined_in_the_order_of_x():
    svg = plot.line_chart([plot.Series("a", [3, 1, 2], [30, 10, 20])], **LABELS)
    (line,) = _lines(svg)
    assert np.all(np.diff(line[:, 0]) > 0) and np.all(np.diff(line[:, 1]) < 0)


@pytest.mark.parametrize("series", [[], [plot.Series("a", [1, 2], [np.nan, np.inf])]])
@pytest.mark.parametrize("log", ["linear", "log"])
def test_nothing_to_draw_says_so(series, log):
    svg = plot.line_chart(series, **LABELS, y_log=log == "log")
    assert "no values to draw" in _texts(svg) and not _lines(svg)


def test_a_single_point_and_a_constant_line_are_visible():
    svg = plot.line_chart([plot.Series("a", [7], [3])], **LABELS)
    assert len(_all(svg, "circle")) == 1
    beside = [plot.Series("a", [7], [3]), plot.Series("b", range(9), range(9))]
    svg = plot.line_chart(beside, **LABELS)
    assert len(_all(svg, "circle")) == 2, "the point, and its sample in the legend"
    few = plot.line_chart([plot.Series("b", range(4), range(4))], **LABELS)
    assert len(_all(few, "circle")) == 4, "each of few values is marked"
    (flat,) = _lines(plot.line_chart([plot.Series("a", [0, 1], [0, 0])], **LABELS))
    assert flat[0, 1] == flat[1, 1] and flat[0, 0] < flat[1, 0]


def test_lengths_that_differ_are_named():
    with pytest.raises(RecordError, match=r"series 'loss': .*\(2,\).*\(3,\)"):
        plot.line_chart([plot.Series("loss", [1, 2], [1, 2, 3])], **LABELS)
    with pytest.raises(RecordError, match="series 'loss'"):
        plot.line_chart([plot.Series("loss", [1, 2], [1, 2], ([1], [2]))], **LABELS)


ROWS = [
    plot.Interval("static", 0.9, 0.85, 0.95, 0.5),
    plot.Interval("temporal", 0.52, 0.45, 0.6, 0.5),
    plot.Interval("one video", 0.5, np.nan, np.nan, 0.25),
]


def test_interval_chart_writes_values_and_fills_only_what_excludes_chance():
    svg = plot.interval_chart(ROWS, title="Accuracy", x_label="share", x_range=(0, 1))
    shown = _texts(svg)
    assert {"0.90 [0.85, 0.95]", "0.52 [0.45, 0.60]", "0.50 [no interval]"} <= set(shown)
    dots = [e.get("fill") for e in _all(svg, "circle")][2:]  # after the two of the legend
    assert ["series-1" in fill for fill in dots] == [True, False, False]
    assert len([e for e in _all(svg, "line") if e.get("stroke-dasharray")]) == 1 + len(ROWS)


@pytest.mark.parametrize("width", [plot.WIDTH, plot.NARROW])
def test_interval_chart_positions(width):
    svg = plot.interval_chart(ROWS, title="A", x_label="", x_range=(0, 1), width=width)
    ticks = {e.text: float(e.get("x")) for e in _all(svg, "text") if e.text in ("0.0", "1.0")}
    grid = sorted({float(e.get("x1")) for e in _all(svg, "line") if "rule" in e.get("stroke")})
    left, right = grid[0], grid[-1]
    assert left == pytest.approx(ticks["0.0"]) or width == plot.NARROW
    whisker = next(e for e in _all(svg, "line") if e.get("stroke-width") == "2.5")
    shares = [(float(whisker.get(k)) - left) / (right - left) for k in ("x1", "x2")]
    assert shares == pytest.approx([0.85, 0.95], abs=1e-3)


def test_interval_chart_percentages_range_and_missing_reference():
    rows = [plot.Interval("gain", -0.05, -0.2, 0.1)]
    svg = plot.interval_chart(rows, title="Gain", x_label="points", value_format=".0%")
    assert "−5% [−20%, 10%]" in _texts(svg) and "chance" not in _texts(svg)
    assert any(t.endswith("%") and t.startswith("−") for t in _texts(svg))
    cut = plot.interval_chart(rows, title="Gain", x_label="points", x_range=(-0.1, 0))
    ends = [float(e.get(k)) for e in _all(cut, "line") for k in ("x1", "x2")]
    assert min(ends) >= 0 and max(ends) <= plot.WIDTH


@pytest.mark.parametrize("width", [plot.WIDTH, plot.NARROW])
def test_axis_labels_stay_inside_the_picture(width):
    rows = [plot.Bar("a longer name", -1), plot.Bar("b", 1)]
    svg = plot.bar_chart(rows, title="T", x_label="much " * 30, value_format=".0%", width=width)
    ticks = [e for e in _all(svg, "text") if e.get("text-anchor") == "middle"]
    assert len(ticks) >= 4 and any(e.text == "−100%" for e in ticks)
    for e in ticks:
        half = text_width(e.text) / 2
        assert -0.01 <= float(e.get("x")) - half and float(e.get("x")) + half <= width + 0.01


def test_bar_chart_lengths_are_in_proportion_and_start_at_zero():
    rows = [plot.Bar("a", 2), plot.Bar("b", -1), plot.Bar("c", 0)]
    svg = plot.bar_chart(rows, title="Time", x_label="ms")
    first, second, third = _all(svg, "rect")
    wide = float(first.get("width"))
    assert float(second.get("width")) == pytest.approx(wide / 2, abs=0.02)
    assert float(third.get("width")) == 0
    zero = float(first.get("x"))
    assert float(second.get("x")) + float(second.get("width")) == pytest.approx(zero, abs=0.02)
    assert {"2", "−1", "0"} <= set(_texts(svg))


@pytest.mark.parametrize("chart", [plot.bar_chart, plot.interval_chart])
def test_row_charts_refuse_nothing_and_nan(chart):
    with pytest.raises(RecordError, match="chart 'T' has no rows"):
        chart([], title="T", x_label="")
    with pytest.raises(RecordError, match="row 'r' has value nan"):
        chart([plot.Interval("r", float("nan"), 0, 1)], title="T", x_label="")


def test_sparkline_is_small_and_survives_gaps():
    svg = plot.sparkline([1, np.nan, 3, 2], title="trend")
    assert (_root(svg).get("width"), _root(svg).get("height")) == ("120", "24")
    assert len(_lines(svg)[0]) == 3 and len(_all(svg, "circle")) == 1
    assert not _lines(plot.sparkline([], title="none"))


def test_text_inside_charts_is_escaped_and_long_names_are_cut():
    bad = '<script>alert(1)</script> & "quotes" \x00 and a very long name indeed'
    charts = [
        plot.line_chart([plot.Series(bad, [0], [0])] * 2, title=bad, x_label=bad, y_label=bad),
        plot.interval_chart([plot.Interval(bad, 0, 0, 1, 0)], title=bad, x_label=bad),
        plot.bar_chart([plot.Bar(bad, 1)], title=bad, x_label=bad),
        plot.sparkline([1], title=bad),
    ]
    for svg in [*charts, *(c.narrow for c in charts if c.narrow)]:
        _root(svg)  # well-formed
        assert "<script" not in svg and "\x00" not in svg
    tooltips = [e.text for e in _all(charts[1], "title")]
    assert tooltips == [bad.replace("\x00", "\ufffd")]


def test_colours_follow_the_page():
    series = plot.Series("a", [0, 1], [0, 1], ([0, 1], [1, 2]))
    for svg in (
        plot.line_chart([series], **LABELS, smooth=0.5),
        plot.interval_chart(ROWS, title="A", x_label=""),
        plot.bar_chart([plot.Bar("a", 1)], title="A", x_label=""),
    ):
        assert _root(svg).get("fill") == "currentColor"
        for e in _root(svg).iter():
            for paint in (e.get("stroke"), e.get("fill")):
                assert paint in (None, "none", "currentColor") or paint.startswith("var(--")


def test_charts_bring_a_narrow_layout_with_the_same_words():
    wide = plot.interval_chart(ROWS, title="Accuracy", x_label="share")
    assert _root(wide).get("width") == "680" and _root(wide.narrow).get("width") == "380"
    assert wide.narrow.narrow is None
    names = {row.name for row in ROWS}
    assert names <= set(_texts(wide)) and names <= set(_texts(wide.narrow))


def test_data_range():
    assert axes.data_range(np.array([0, 10, np.nan]), pad=0.1) == (0, 11)
    assert axes.data_range(np.array([-10, 0]), pad=0.1) == (-11, 0)
    assert axes.data_range(np.array([4, 5]), pad=0.5) == (3.5, 5.5)
    assert axes.data_range(np.array([1, 100]), log=True, pad=0.5) == pytest.approx((0.1, 1000))
    assert axes.data_range(np.array([])) == (0, 1)
    assert axes.data_range(np.array([4.0])) == (2, 6)


def test_png_and_data_uri_round_trip():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    content = plot.png_bytes(image)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), image)
    uri = plot.data_uri(content)
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64" and base64.b64decode(body) == content


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_png_refuses_other_arrays(image):
    with pytest.raises(RecordError, match=re.escape(str(image.shape))):
        plot.png_bytes(image)


def test_svg_helpers():
    assert element("line", x1=0.0, x2=2.345, stroke_width=1, fill=None) == (
        '<line x1="0" x2="2.35" stroke-width="1"/>'
    )
    assert text("a<b", -0.001, 1) == '<text x="0" y="1">a&lt;b</text>'
    assert escape('"\x1b\ud800') == "&quot;\ufffd\ufffd"
    assert escape("a\r\n\tb") == "a\r\n\tb"
    assert shorten("short", width=200) == "short"
    assert shorten("a longer name", width=50).endswith("…")
    assert 'viewBox="0 0 10 20.5"' in document(width=10, height=20.5, label="x")
