"""Training rows made readable, from the very arrays that the model reads.

A sample is shown as words, trained ones in [[ ]], and its visual positions as runs, read back
from `visual_index`; tiles are counted over the row, so that its second sample begins after those
of its first:

    ...<tile 5: 4 patches><tiles 6..9 plane: 4 rows x (4 + newline)>\\nWhat moves?...[[A ball.]]
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from sg4v_jax import files
from sg4v_jax.batch import Batch
from sg4v_jax.data.record import Note
from sg4v_jax.data.rows import Rows

BUDGETS = ("positions", "tiles", "scored")
_GAP = 4  # pixels between tiles that stand side by side
_GREY = 128
_MARKS = {"text": ("", ""), "trained": ("[[", "]]"), "visual": ("<", ">")}
_STYLES = {"text": "", "trained": "bold green", "visual": "cyan"}


@dataclasses.dataclass(frozen=True)
class Span:
    """A piece of a sample: `kind` is text, trained (text that a model learns to say) or visual."""

    kind: str
    text: str

    @property
    def marked(self) -> str:
        """The text, trained in [[ ]] and visual in < >."""
        before, after = _MARKS[self.kind]
        return f"{before}{self.text}{after}"


@dataclasses.dataclass(frozen=True)
class Target:
    """A scored position of the row, what its output should say, and its loss weight."""

    position: int
    word: str
    weight: float


@dataclasses.dataclass(frozen=True)
class SampleView:
    """One packed sample; the ranges count over the row. One that could not be read has no spans."""

    where: str
    sources: tuple[str, ...]
    positions: range
    tiles: range
    spans: tuple[Span, ...]
    targets: tuple[Target, ...]


@dataclasses.dataclass(frozen=True)
class RowView:
    """A global row: its place in the run, its samples, and `used` of each budget."""

    row: int
    epoch: int
    step: int
    samples: tuple[SampleView, ...]
    used: dict[str, tuple[int, int]]  # budget -> (used, in all)
    notes: tuple[Note, ...] = ()  # what went wrong when it was read


def view_row(rows: Rows, row: int, batch: Batch, *, notes: Sequence[Note] = ()) -> RowView:
    """What `batch`, the arrays of global row `row`, holds.

    Args:
      rows: the run's rows, which know the records and their lengths.
      batch: `rows[row]`.
      notes: those of `rows.read(row)`.
    """
    samples = tuple(
        _sample(rows, int(number), spans, batch) for number, spans in _places(rows, row)
    )
    used = (
        int((batch.segments > 0).sum()),
        sum(len(s.tiles) for s in samples if s.spans),
        int((batch.loss_index >= 0).sum()),
    )
    return RowView(
        row=row,
        epoch=rows.locate(row)[0],
        step=row // rows.batch_rows,
        samples=samples,
        used=dict(zip(BUDGETS, zip(used, rows.budget.as_array().tolist(), strict=True))),
        notes=tuple(notes),
    )


def _places(rows: Rows, row: int) -> Iterator[tuple[int, tuple[range, range, range]]]:
    """Each record of a row with its positions, tiles and slots of scored positions."""
    numbers = rows.records_of(row)
    ends = rows.index.lengths[numbers].cumsum(0)
    for number, end in zip(numbers, ends, strict=True):
        start = end - rows.index.lengths[number]
        yield number, tuple(range(a, b) for a, b in zip(start.tolist(), end.tolist(), strict=True))


def _sample(rows: Rows, number: int, places: Sequence[range], batch: Batch) -> SampleView:
    record, (positions, tiles, slots) = rows.index.records[number], places
    empty = not batch.segments[positions.start]
    targets = [
        Target(
            position=int(batch.loss_index[slot]),
            word=_words(rows, batch.targets[slot : slot + 1]),
            weight=float(batch.loss_weights[slot]),
        )
        for slot in ([] if empty else slots)
    ]
    return SampleView(
        where=record.where,
        sources=tuple(v.path for v in record.visuals),
        positions=positions,
        tiles=tiles,
        spans=() if empty else tuple(_spans(rows, positions, targets, batch)),
        targets=tuple(targets),
    )


def _spans(rows: Rows, positions: range, targets: Sequence[Target], batch: Batch) -> Iterator[Span]:
    kinds = np.where(batch.visual_index >= 0, "visual", "text").astype(object)
    kinds[[t.position + 1 for t in targets]] = "trained"
    patches = rows.spec.anyres.patches
    borders = [i for i in positions[1:] if kinds[i] != kinds[i - 1]]
    for start, end in zip([positions.start, *borders], [*borders, positions.stop], strict=True):
        if kinds[start] == "visual":
            runs = visual_runs(
                batch.visual_index[start:end], tiles=len(batch.tiles), patches=patches
            )
            yield from (Span("visual", run) for run in runs)
        else:
            yield Span(kinds[start], _words(rows, batch.tokens[start:end]))


def _words(rows: Rows, tokens: np.ndarray) -> str:
    text = rows.tokenizer.decode(tokens.tolist(), skip_special=False)
    return text.replace("\n", "\\n")


def visual_runs(index: np.ndarray, *, tiles: int, patches: int) -> list[str]:
    """Consecutive visual positions in words: whole tiles, planes of rows, single patches.

    Args:
      index: i32[n], entries of `visual_index` that are not text.
      tiles: `T`, the row's tiles, filled or not; separator k is `T*P + k`.
      patches: `p`, patches along a tile's side; `P = p * p`.

    Worked example, p = 2, a row of 3 tiles (newline is 12), an image of 1 x 2 tiles:

        0 1 2 3  4 5 8 9 12  6 7 10 11 12
        ->  ["tile 0: 4 patches", "tiles 1..2 plane: 2 rows x (4 + newline)"]
    """
    per_tile = patches * patches
    table = tiles * per_tile
    pieces: list[list[np.ndarray]] = []  # a whole tile, or the rows of a plane
    for line in np.split(index, np.flatnonzero(index >= table) + 1):
        while _begins_with_a_tile(line, per_tile):
            pieces.append([line[:per_tile]])
            line = line[per_tile:]
        if pieces and _same_plane(pieces[-1][-1], line, table):
            pieces[-1].append(line)
        elif len(line):
            pieces.append([line])
    return [_name(lines, per_tile, table) for lines in pieces]


def _begins_with_a_tile(line: np.ndarray, per_tile: int) -> bool:
    head = line[:per_tile]
    return len(head) == per_tile and head[0] % per_tile == 0 and bool((np.diff(head) == 1).all())


def _same_plane(line: np.ndarray, following: np.ndarray, table: int) -> bool:
    return len(line) == len(following) and table <= line[-1] == following[-1]


def _name(lines: Sequence[np.ndarray], per_tile: int, table: int) -> str:
    first = lines[0]
    if first[-1] < table:
        whole = _begins_with_a_tile(first, per_tile)
        at = f"tile {first[0] // per_tile}" if whole else f"from patch {first[0]} on"
        return f"{at}: {len(first)} patches"
    end = _separator(first[-1] - table)
    if len(first) == 1:
        return end
    seen = np.unique(np.concatenate([line[:-1] for line in lines]) // per_tile)
    name = f"tiles {seen[0]}..{seen[-1]}" if len(seen) > 1 else f"tile {seen[0]}"
    return f"{name} plane: {len(lines)} rows x ({len(first) - 1} + {end})"


def _separator(number: int) -> str:
    return f"separator {number}" if number else "newline"


def as_text(view: RowView) -> str:
    """A row as plain text: budgets, then each sample with its words and its scored positions."""
    lines = [_title(view), f"used: {_used(view)}", *_noted(view)]
    for number, sample in enumerate(view.samples):
        lines += ["", f"sample {number}: {_summary(sample)}"]
        lines += [f"  shows {source}" for source in sample.sources]
        if not sample.spans:
            lines.append("  could not be read; its place is empty")
            continue
        words = "".join(s.marked for s in sample.spans)
        lines += ["", f"  {words}", "", "  position  weight    should say next"]
        lines += [f"  {t.position:8}  {t.weight:<8g}  {t.word!r}" for t in sample.targets]
    return "\n".join(lines) + "\n"


def as_panel(view: RowView) -> RenderableType:
    """A row for the terminal: the same words, trained ones green, visual runs cyan."""
    parts: list[RenderableType] = [Text(f"used: {_used(view)}", style="bold")]
    parts += [Text(line, style="red") for line in _noted(view)]
    for number, sample in enumerate(view.samples):
        parts.append(Text(f"\nsample {number}: {_summary(sample)}", style="bold"))
        if sample.spans:
            parts.append(Text.assemble(*((s.marked, _STYLES[s.kind]) for s in sample.spans)))
        else:
            parts.append(Text("could not be read; its place is empty", style="red"))
    return Panel(Group(*parts), title=Text(_title(view)), title_align="left")


def _title(view: RowView) -> str:
    title = f"row {view.row} (epoch {view.epoch}, step {view.step})"
    return title if view.samples else f"{title}: empty, fills the epoch up to a whole batch"


def _used(view: RowView) -> str:
    return ", ".join(
        f"{used} of {whole} {name} ({used / max(whole, 1):.0%})"
        for name, (used, whole) in view.used.items()
    )


def _noted(view: RowView) -> list[str]:
    return [f"{n.kind} ({n.count}): {n.record}: {n.reason}" for n in view.notes]


def _summary(sample: SampleView) -> str:
    at, tiles = sample.positions, sample.tiles
    tiled = f"tiles {tiles.start}..{tiles.stop - 1} ({len(tiles)})" if tiles else "no tiles"
    place = f"positions {at.start}..{at.stop - 1} ({len(at)}), {tiled}"
    return f"{sample.where}; {place}, {len(sample.targets)} scored"


def pictures(rows: Rows, view: RowView, batch: Batch) -> Iterator[tuple[str, np.ndarray]]:
    """The pictures of a row: (end of the file name, u8[H,W,3]).

    Each image place of a sample gives `sample_0_grid` (further ones `sample_0_grid_1` and so on):
    the picture before it is cut. Each sample that has tiles gives `sample_0_tiles`: these side by
    side, as the model gets them, grey between them.
    """
    records, repeats = rows.records_of(view.row), rows.repeats_of(view.row)
    for number, (sample, record, repeat) in enumerate(
        zip(view.samples, records.tolist(), repeats.tolist(), strict=True)
    ):
        if not sample.spans or not sample.tiles:
            continue
        for place, picture in enumerate(rows.pictures(record, epoch=view.epoch, repeat=repeat)):
            suffix = f"_{place}" if place else ""
            yield f"sample_{number}_grid{suffix}", picture.pixels
        tiles = batch.tiles[sample.tiles.start : sample.tiles.stop]
        gap = np.full((len(tiles), tiles.shape[1], _GAP, 3), _GREY, np.uint8)
        strip = np.concatenate([tiles, gap], axis=2).swapaxes(0, 1)
        yield f"sample_{number}_tiles", strip.reshape(tiles.shape[1], -1, 3)[:, :-_GAP]


def write_rows(rows: Rows, *, start: int, count: int, out: str | os.PathLike) -> Iterator[RowView]:
    """Writes global rows `start` .. `start + count - 1` into the folder `out`.

    Files: `row_0000.txt` (`as_text`) and `row_0000_{...}.png` (`pictures`).

    Yields:
      each row's view, once its files are there.

    Raises:
      StorageError: a file cannot be written.
    """
    folder = files.path(out)
    for row in range(start, start + count):
        batch, notes = rows.read(row)
        view = view_row(rows, row, batch, notes=notes)
        files.write_atomic(folder / f"row_{row:04d}.txt", as_text(view))
        for name, picture in pictures(rows, view, batch):
            png = io.BytesIO()
            Image.fromarray(picture).save(png, "PNG")
            files.write_atomic(folder / f"row_{row:04d}_{name}.png", png.getvalue())
        yield view
