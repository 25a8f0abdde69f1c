"""The page of `html` as Markdown: one text file, its pictures in a folder beside it.

`MarkdownPage` has the methods of `html.Page`, so that what writes one can write the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence

from sg4v_jax import files
from sg4v_jax.report.html import Card, Page, aligned, check_table, picture_mime, text_cells
from sg4v_jax.report.svg import Svg

_RULES = {"l": ":--", "c": ":-:", "r": "--:"}
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}


class MarkdownPage:
    """A report as Markdown; methods, arguments and errors as those of `html.Page`.

    >>> page = MarkdownPage("Training run")
    >>> page.table(["half", "accuracy"], [["static", 0.91]], caption="By half")
    >>> page.save("report.md")  # and report_files/ where there are pictures
    """

    def __init__(self, title: str, *, subtitle: str = ""):
        self._parts = [f"# {_line(title)}"]
        if subtitle:
            self._parts.append(_line(subtitle))
        self._pictures: list[tuple[str, bytes]] = []

    def section(self, title: str, *, intro: str = "") -> None:
        self._parts.append(f"## {_line(title)}")
        if intro:
            self.paragraph(intro)

    def subsection(self, title: str) -> None:
        self._parts.append(f"### {_line(title)}")

    def paragraph(self, text: str) -> None:
        self._parts += [_line(part) for part in re.split(r"\n\s*\n", str(text).strip())]

    def note(self, text: str) -> None:
        parts = [_line(part) for part in re.split(r"\n\s*\n", str(text).strip())]
        self._parts.append("\n>\n".join(f"> {part}" for part in parts))

    def facts(self, mapping: Mapping[str, object]) -> None:
        rows = [[name, _cell(value)] for name, value in mapping.items()]
        self._parts.append(_table(["", ""], rows, align="ll"))

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        caption: str,
        align: str | None = None,
        highlight: Collection[int] | None = None,
    ) -> None:
        check_table(columns, rows, align=align, highlight=highlight, caption=caption)
        align = align or aligned(rows, count=len(columns))
        shown = [
            text_cells([row[c] for row in rows], markup=lambda svg: "") for c in range(len(columns))
        ]
        body = [list(row) for row in zip(*shown, strict=True)]
        for i in highlight or ():
            body[i] = [f"**{cell.strip()}**" if cell.strip() else "" for cell in body[i]]
        self._parts.append(f"*{_line(caption)}*")
        self._parts.append(_table(columns, body, align=align))

    def figure(self, picture: Svg | bytes, *, caption: str, alt: str) -> None:
        self._parts.append(self._image(picture, alt=alt))
        self._parts.append(f"*{_line(caption)}*")

    def code(self, text: str) -> None:
        fence = "`" * max(3, 1 + max((len(m) for m in re.findall(r"`+", text)), default=0))
        self._parts.append(f"{fence}\n{text}\n{fence}")

    def cards(self, items: Sequence[Card]) -> None:
        for item in items:
            if item.title:
                self._parts.append(f"#### {_line(item.title)}")
            self._parts.append(self._image(item.picture, alt=item.alt))
            facts = [f"- {_line(name)}: {_line(_cell(v))}" for name, v in item.facts.items()]
            if item.right is not None:
                word = item.words[0 if item.right else 1]
                facts.append(f"- **{'✓' if item.right else '✗'} {_line(word)}**")
            self._parts.append("\n".join(facts))

    def render(self, *, folder: str = "") -> str:
        """The whole text; pictures are looked for in `folder`, relative to the text's place."""
        return "\n\n".join(part.replace("\0", folder) for part in self._parts) + "\n"

    def save(self, path: str | os.PathLike) -> None:
        """Writes the pictures to `{stem}_files/` beside `path`, then the text.

        Raises:
          StorageError: a file cannot be written.
        """
        target = files.path(path)
        folder = f"{target.stem}_files"
        for name, content in self._pictures:
            files.write_atomic(target.parent / folder / name, content)
        files.write_atomic(target, self.render(folder=folder))

    def _image(self, picture: Svg | bytes, *, alt: str) -> str:
        mime = picture_mime(picture, alt=alt)
        suffix = "svg" if isinstance(picture, Svg) else _SUFFIXES[mime]
        content = picture.encode() if isinstance(picture, Svg) else picture
        name = f"{len(self._pictures) + 1:02d}.{suffix}"
        self._pictures.append((name, content))
        # "\0" stands for the folder, whose name `save` knows; no text may hold it.
        return f"![{_line(alt)}](\0/{name})"


def open_page(path: str | os.PathLike, title: str, *, subtitle: str = "") -> Page | MarkdownPage:
    """The page that fits the name of a file: Markdown for `.md`, else HTML."""
    kind = MarkdownPage if os.fspath(path).endswith(".md") else Page
    return kind(title, subtitle=subtitle)


def _line(text: object) -> str:
    """Text on one line in which nothing is markup: `a*b` is `a\\*b`."""
    flat = re.sub(r"[\x00-\x1f\x7f\s]+", " ", str(text)).strip()
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", flat)


def _cell(value: object) -> str:
    [shown] = text_cells([value], markup=lambda svg: "")
    return shown


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, align: str) -> str:
    lines = [[_line(c) for c in columns], [_RULES[a] for a in align]]
    for row in rows:
        lines.append([_bold(cell) for cell in row])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bold(cell: str) -> str:
    """A cell, escaped; the stars that `table` put around a highlighted one stay."""
    if cell.startswith("**") and cell.endswith("**") and len(cell) > 4:
        return f"**{_line(cell[2:-2])}**"
    return _line(cell)
