"""Markup helpers: escaping, SVG elements, and the type of markup that a page inlines as it is."""

from __future__ import annotations

import html
import re

# C0 controls (but tab and line ends) and lone surrogates: models and damaged files emit them, and
# neither HTML nor XML may hold them.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
FONT_SIZE = 13  # user units, which are pixels at the chart's natural width
_CHARACTER = 0.56  # mean advance of a sans-serif character, in units of the font size


class Svg(str):
    """An SVG document as text, trusted: a page inlines it without escaping.

    Charts in `plot` return it. Text from elsewhere must not be wrapped in it. `narrow` is the same
    chart laid out for a phone, where there is one.
    """

    narrow: Svg | None = None


def escape(value: object) -> str:
    """`value` as text that is safe in element content and in quoted attributes.

    `<b>"a"` becomes `&lt;b&gt;&quot;a&quot;`; characters that no document may hold become U+FFFD.
    """
    return html.escape(_FORBIDDEN.sub("\ufffd", str(value)), quote=True)


def element(name: str, *children: str, **attributes: object) -> str:
    """One element; children are markup, attribute values are escaped.

    An underscore in an attribute's name stands for a hyphen, numbers get at most two decimals, and
    an attribute whose value is None is left out:
    `element("line", x1=0.0, x2=2.345, stroke_width=1)` is
    `<line x1="0" x2="2.35" stroke-width="1"/>`.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        shown = _decimal(value) if isinstance(value, float) else escape(value)
        parts.append(f'{key.replace("_", "-")}="{shown}"')
    start = " ".join(parts)
    return f"<{start}>{''.join(children)}</{name}>" if children else f"<{start}/>"


def text(value: object, x: float, y: float, **attributes: object) -> str:
    """A text element at `(x, y)` (baseline), escaped; further attributes as in `element`."""
    return element("text", escape(value), x=float(x), y=float(y), **attributes)


def document(*children: str, width: float, height: float, label: str) -> Svg:
    """A whole SVG of `width` x `height` pixels that shrinks with its container.

    Text is drawn in `currentColor`, so that a page's dark mode reaches it. `label` is what a
    screen reader says.
    """
    # the literal namespace lets the same text be saved as a file of its own
    return Svg(
        element(
            "svg",
            *children,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {_decimal(width)} {_decimal(height)}",
            width=float(width),
            height=float(height),
            role="img",
            aria_label=label,
            font_family=FONT,
            font_size=FONT_SIZE,
            fill="currentColor",
        )
    )


def points(xs, ys) -> str:
    """The `points` attribute of a polyline: `"1,2.5 3,4"` for xs `[1, 3]` and ys `[2.5, 4]`."""
    return " ".join(f"{_decimal(x, 1)},{_decimal(y, 1)}" for x, y in zip(xs, ys, strict=True))


def text_width(value: object, *, size: float = FONT_SIZE) -> float:
    """The approximate width of `value` in pixels; SVG without a browser cannot measure text."""
    return _CHARACTER * size * len(str(value))


def shorten(value: object, *, width: float, size: float = FONT_SIZE) -> str:
    """`value`, cut with an ellipsis where it would be wider than `width` pixels."""
    whole = str(value)
    if text_width(whole, size=size) <= width:
        return whole
    keep = max(1, int(width / (_CHARACTER * size)) - 1)
    return whole[:keep].rstrip() + "…"


def _decimal(value: float, places: int = 2) -> str:
    shown = f"{value:.{places}f}"
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown
