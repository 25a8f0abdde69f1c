"""A page builder: one HTML file with everything in it, for any subject.

The page fetches nothing and runs nothing, and says so in a content security policy. Everything
handed in is escaped, but for `Svg`, the type of this kit's own charts.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sg4v_jax.errors import RecordError
from sg4v_jax.files import write_atomic
from sg4v_jax.report.plot import data_uri
from sg4v_jax.report.scale import numbers
from sg4v_jax.report.style import CSS
from sg4v_jax.report.svg import Svg, escape

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_ALIGN = {"l": "", "c": ' class="middle"', "r": ' class="end"'}


@dataclass(frozen=True, kw_only=True)
class Card:
    """One example: a picture, labelled values (question, answer, ...) and perhaps a verdict.

    `right` None gives no verdict; `words` are what the verdict says for True and for False.
    """

    picture: Svg | bytes
    alt: str
    facts: Mapping[str, object]
    right: bool | None = None
    words: tuple[str, str] = ("right", "wrong")
    title: str = ""


class Page:
    """A report, built from top to bottom; `save` writes it as one file.

    >>> page = Page("Training run", subtitle="quickstart, 400 steps")
    >>> page.section("Accuracy")
    >>> page.table(["half", "accuracy"], [["static", 0.91], ["temporal", 0.62]], caption="By half")
    >>> page.save("report.html")
    """

    def __init__(self, title: str, *, subtitle: str = ""):
        self._title, self._subtitle = title, subtitle
        self._parts: list[str] = []
        self._sections: list[tuple[str, str]] = []  # (anchor, title)

    def section(self, title: str, *, intro: str = "") -> None:
        """Starts a section; pages of three or more list them at the top."""
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        anchor = f"s{len(self._sections) + 1}-{slug}".rstrip("-")
        self._sections.append((anchor, title))
        self._parts.append(f'<h2 id="{anchor}">{escape(title)}</h2>')
        if intro:
            self.paragraph(intro)

    def subsection(self, title: str) -> None:
        """Starts a part of a section; the list at the top leaves it out."""
        self._parts.append(f'<h3 class="part">{escape(title)}</h3>')

    def paragraph(self, text: str) -> None:
        """Adds text; blank lines part paragraphs."""
        self._parts.append(_paragraphs(text))

    def note(self, text: str) -> None:
        """Adds a boxed remark that a reader should not miss."""
        self._parts.append(f'<div class="note" role="note">{_paragraphs(text)}</div>')

    def facts(self, mapping: Mapping[str, object]) -> None:
        """Adds a table of names and values; cells as in `table`."""
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{_cell(value)}</td></tr>'
            for name, value in mapping.items()
        )
        self._parts.append(f'<table class="facts"><tbody>{rows}</tbody></table>')

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        caption: str,
        align: str | None = None,
        highlight: Collection[int] | None = None,
    ) -> None:
        """Adds a table whose first column names the rows.

        Numbers are shown with four digits (format them for more), None as a dash, True and False
        as yes and no, an `Svg` (a sparkline) as itself.

        Args:
          columns: the headers.
          rows: cells, one for each column.
          caption: one sentence on what the table shows.
          align: a letter a column, `l`, `c` or `r`, as `"lrr"`; by default columns of numbers are
            aligned right.
          highlight: indices of rows to emphasise.

        Raises:
          RecordError: a row of another length, an `align` that does not fit, no such row.
        """
        check_table(columns, rows, align=align, highlight=highlight, caption=caption)
        align = align or aligned(rows, count=len(columns))
        kinds = [_ALIGN[letter] for letter in align]
        head = "".join(
            f'<th scope="col"{kind}>{escape(column)}</th>'
            for column, kind in zip(columns, kinds, strict=True)
        )
        shown = zip(*(_column([row[c] for row in rows]) for c in range(len(columns))), strict=True)
        body = []
        for i, row in enumerate(shown):
            cells = [f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)]
            cells[0] = f'<th scope="row"{kinds[0]}>{row[0]}</th>'
            mark = ' class="highlight"' if i in (highlight or ()) else ""
            body.append(f"<tr{mark}>{''.join(cells)}</tr>")
        table = (
            f"<table><caption>{escape(caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        )
        self._parts.append(_scroll(table, label=caption))

    def figure(self, picture: Svg | bytes, *, caption: str, alt: str) -> None:
        """Adds a chart of `plot`, or a picture as the bytes of a PNG, JPEG, GIF or WebP file.

        `alt` says in words what the picture shows, for readers who cannot see it.

        Raises:
          RecordError: no alt text, a string that is no `Svg`, or bytes that are no picture.
        """
        shown = _picture(picture, alt=alt)
        self._parts.append(f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>")

    def code(self, text: str) -> None:
        """Adds text in a fixed-width font, with its line breaks (a command, a config)."""
        self._parts.append(f'<pre tabindex="0"><code>{escape(text)}</code></pre>')

    def cards(self, items: Sequence[Card]) -> None:
        """Adds examples side by side, as many a row as the screen holds.

        Raises:
          RecordError: a card's picture or alt text as in `figure`.
        """
        self._parts.append(f'<div class="cards">{"".join(_card(item) for item in items)}</div>')

    def render(self) -> str:
        """The whole page as HTML."""
        subtitle = f'<p class="subtitle">{escape(self._subtitle)}</p>' if self._subtitle else ""
        return "\n".join(
            [
                '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                '<meta name="color-scheme" content="light dark">',
                f"<title>{escape(self._title)}</title>\n<style>{CSS}</style>\n</head>\n<body>",
                f"<main>\n<header><h1>{escape(self._title)}</h1>{subtitle}</header>",
                *([self._contents()] if len(self._sections) >= 3 else []),
                *self._parts,
                "</main>\n</body>\n</html>\n",
            ]
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the page to `path`, whole or not at all.

        Raises:
          StorageError: the file cannot be written; an earlier file is unchanged.
        """
        write_atomic(path, self.render())

    def _contents(self) -> str:
        items = "".join(
            f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, title in self._sections
        )
        return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in re.split(r"\n\s*\n", str(text).strip()))


def _scroll(content: str, *, label: str) -> str:
    """A box that scrolls sideways on a narrow screen, also by keyboard."""
    attributes = f'role="group" tabindex="0" aria-label="{escape(label)}"'
    return f'<div class="scroll" {attributes}>{content}</div>'


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def text_cells(values: Sequence[object], *, markup: Callable[[Svg], str]) -> list[str]:
    """A column as plain text, numbers with the same decimals; `markup` says what an `Svg` becomes.

    `[0.5, None, True]` gives `["0.5", "–", "yes"]`.
    """
    found = iter(numbers([v for v in values if _is_number(v)]))
    shown = []
    for value in values:
        if isinstance(value, Svg):
            shown.append(markup(value))
        elif value is None:
            shown.append("–")
        elif isinstance(value, (bool, np.bool_)):
            shown.append("yes" if value else "no")
        else:
            shown.append(next(found) if _is_number(value) else str(value))
    return shown


def _cell(value: object) -> str:
    [shown] = _column([value])
    return shown


def _column(values: Sequence[object]) -> list[str]:
    """The cells of a table's column as markup."""
    shown = text_cells(values, markup=str)
    return [s if isinstance(v, Svg) else escape(s) for s, v in zip(shown, values, strict=True)]


def aligned(rows: Sequence[Sequence[object]], *, count: int) -> str:
    """`r` for columns of numbers (gaps allowed), `l` for others: `[["a", 1]]` gives `"lr"`."""
    letters = []
    for column in range(count):
        cells = [row[column] for row in rows if row[column] is not None]
        letters.append("r" if cells and all(map(_is_number, cells)) else "l")
    return "".join(letters)


def check_table(columns, rows, *, align, highlight, caption) -> None:
    """Raises RecordError where the arguments of `Page.table` do not fit each other."""
    if not columns:
        raise RecordError(f"table {caption!r} has no columns", mend="name at least one")
    for i, row in enumerate(rows):
        if len(row) != len(columns):
            raise RecordError(
                f"table {caption!r}: row {i} has {len(row)} cells for {len(columns)} columns",
                mend="give one cell a column, None where there is no value",
            )
    if align is not None and (len(align) != len(columns) or set(align) - set(_ALIGN)):
        raise RecordError(
            f"table {caption!r}: align={align!r} for {len(columns)} columns",
            mend="give one of the letters l, c, r for each column",
        )
    missing = [i for i in highlight or () if not 0 <= i < len(rows)]
    if missing:
        raise RecordError(
            f"table {caption!r}: highlight names row {missing[0]} of {len(rows)}",
            mend="count rows from 0",
        )


def picture_mime(picture: Svg | bytes, *, alt: str) -> str:
    """The type of a picture, "image/svg+xml" for a chart.

    Raises:
      RecordError: no alt text, a string that is no `Svg`, or bytes that are no picture.
    """
    if not alt.strip():
        raise RecordError("a picture has no alt text", mend="say in words what it shows")
    if isinstance(picture, Svg):
        return "image/svg+xml"
    return _opened(picture, alt=alt)[0]


def _opened(picture: bytes, *, alt: str) -> tuple[str, tuple[int, int]]:
    """(mime type, (width, height)) of an image file's bytes."""
    if not isinstance(picture, bytes):
        raise RecordError(
            f"picture {alt!r:.60} is of type {type(picture).__name__}",
            mend="give a chart of report.plot, or bytes as of plot.png_bytes",
        )
    try:
        with Image.open(io.BytesIO(picture), formats=["PNG", "JPEG", "GIF", "WEBP"]) as image:
            return image.get_format_mimetype(), image.size
    except OSError as e:
        raise RecordError(
            f"picture {alt!r:.60}: {len(picture)} bytes are no PNG, JPEG, GIF or WebP",
            mend="use plot.png_bytes",
        ) from e


def _picture(picture: Svg | bytes, *, alt: str) -> str:
    mime = picture_mime(picture, alt=alt)
    if isinstance(picture, Svg):
        shown = picture
        if picture.narrow is not None:
            shown = f'<div class="wide">{picture}</div><div class="narrow">{picture.narrow}</div>'
        return f'<div class="chart" role="img" aria-label="{escape(alt)}">{shown}</div>'
    _, (width, height) = _opened(picture, alt=alt)
    source = data_uri(picture, mime=mime)
    return f'<img src="{source}" alt="{escape(alt)}" width="{width}" height="{height}">'


def _card(card: Card) -> str:
    parts = [f"<h3>{escape(card.title)}</h3>"] if card.title else []
    pairs = "".join(
        f"<dt>{escape(name)}</dt><dd>{_cell(value)}</dd>" for name, value in card.facts.items()
    )
    parts.append(f"<dl>{pairs}</dl>")
    if card.right is not None:
        kind, sign = ("right", "✓") if card.right else ("wrong", "✗")
        word = card.words[0 if card.right else 1]
        parts.append(
            f'<p class="verdict {kind}"><span aria-hidden="true">{sign}</span> {escape(word)}</p>'
        )
    picture = _picture(card.picture, alt=card.alt)
    return f'<article class="card">{picture}<div>{"".join(parts)}</div></article>'
