"""Whether all data of a mix is there: annotations, videos and images, part by part.

Each distinct file is looked into once, in threads: videos to their last packet, images whole,
shards of rendered pictures against their checksums.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sg4v_jax import files
from sg4v_jax.data.inputs import check_media
from sg4v_jax.data.mixture import Part, read_part
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.data.store import catalog
from sg4v_jax.errors import MissingVideoError, RecordError, Sg4vError
from sg4v_jax.video.decode import TIME_LIMIT

Media = tuple[str, str]  # kind, path
_SHARD = "shard"
_NAMED = 5  # files that the table names; the JSON has all


@dataclasses.dataclass(frozen=True)
class PartReport:
    """What was found of one part.

    Attributes:
      part: what the config says of it.
      annotations: `ok`, `missing` (no such file) or `unreadable`.
      problem: why its annotations cannot be used; empty if they can.
      found: records read.
      repeated: records whose id an earlier record of the file has.
      media: distinct videos and images that its records show.
      missing: those that are not there. `broken`: (path, reason) of those that cannot be used.
    """

    part: Part
    annotations: str = "ok"
    problem: str = ""
    found: int = 0
    repeated: int = 0
    media: int = 0
    missing: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing or broken."""
        whole = self.annotations == "ok" and not self.part.is_short(self.found)
        return whole and not self.missing and not self.broken

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        said = dataclasses.asdict(self.part)
        found = {k: v for k, v in vars(self).items() if k != "part"}
        broken = [{"path": path, "reason": reason} for path, reason in self.broken]
        return said | found | {"broken": broken, "complete": self.complete}


def check_mix(
    parts: Sequence[Part],
    *,
    quick: bool = False,
    threads: int = 8,
    seconds: float = TIME_LIMIT,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> list[PartReport]:
    """Looks for everything that `parts` need; what is wrong is reported, not raised.

    Args:
      quick: look only whether the videos and images exist, not into them.
      threads: how many files are read at a time.
      seconds: how long one video may take.
      progress: (results, how many there will be) -> the same results, shown as they come.
    """
    read = [_read(part) for part in parts]
    media = sorted({one for _, records in read for one in _media(records)})
    look = _exists if quick else _look
    with ThreadPoolExecutor(threads) as pool:
        try:
            results = pool.map(lambda one: look(one, seconds), media)
            state = dict(zip(media, progress(results, len(media)), strict=True))
        except BaseException:  # Ctrl-C: do not wait for the files not yet begun
            pool.shutdown(cancel_futures=True)
            raise
    return [_completed(report, records, state) for report, records in read]


def exit_code(reports: Sequence[PartReport]) -> int:
    """0: all is there. 1: something is missing or broken. 2: annotations cannot be used."""
    if any(r.annotations == "unreadable" for r in reports):
        return 2
    return 0 if all(r.complete for r in reports) else 1


def _read(part: Part) -> tuple[PartReport, list[Record]]:
    if not files.path(part.file).exists():
        return PartReport(part, "missing", f"{part.file}: no such file"), []
    try:
        records = read_part(part)
    except RecordError as e:
        return PartReport(part, "unreadable", e.message), []
    repeated = sum(record.occurrence > 1 for record in records)
    return PartReport(part, found=len(records), repeated=repeated), records


def _media(records: Iterable[Record]) -> set[Media]:
    return {
        (v.kind, v.path) if v.slot is None else (_SHARD, v.slot.shard)
        for record in records
        for v in record.visuals
    }


def _look(one: Media, seconds: float) -> Sg4vError | None:
    try:
        if one[0] == _SHARD:
            path = files.path(one[1])
            store = catalog.load(path.parent)
            catalog.verify(store, next(s for s in store.shards if s.file == path.name))
        else:
            check_media(Visual(*one), seconds=seconds)
    except Sg4vError as e:
        return e
    return None


def _exists(one: Media, seconds: float) -> Sg4vError | None:
    try:
        there = files.path(one[1]).exists()
    except OSError:  # such as a name longer than a name may be
        there = False
    return None if there else MissingVideoError(f"{one[1]}: no such file")


def _completed(
    report: PartReport, records: Sequence[Record], state: Mapping[Media, Sg4vError | None]
) -> PartReport:
    """The report with what is wrong with the part's media."""
    media = sorted(_media(records))
    wrong = [(path, e) for kind, path in media if (e := state[kind, path]) is not None]
    return dataclasses.replace(
        report,
        media=len(media),
        missing=tuple(path for path, e in wrong if isinstance(e, MissingVideoError)),
        broken=tuple((p, e.message) for p, e in wrong if not isinstance(e, MissingVideoError)),
    )


def as_json(reports: Sequence[PartReport]) -> dict[str, Any]:
    """All reports as plain values."""
    return {"complete": all(r.complete for r in reports), "parts": [r.as_json() for r in reports]}


def as_table(reports: Sequence[PartReport]) -> RenderableType:
    """The reports for the terminal: a row a part, then what is wrong and how to mend it."""
    columns = ("part", "records", "expected", "files", "missing", "broken")
    table = Table(*columns, title="training data")
    notes: list[Text] = []
    for r in reports:
        numbers = (r.found, r.part.expected or "?", r.media, len(r.missing), len(r.broken))
        table.add_row(*map(Text, (r.part.name, *map(str, numbers))), style=_style(r))
        notes.append(Text(f"\n{r.part.name}: {r.part.file}", style=_style(r)))
        notes += [Text(f"  {line}") for line in _remarks(r)]
    return Group(table, *notes)


def _style(r: PartReport) -> str:
    return "" if r.complete else "red"


def _remarks(r: PartReport) -> list[str]:
    lines = [f"source: {r.part.source or '?'}", f"licence: {r.part.licence or '?'}"]
    lines += [r.problem] if r.problem else []
    if r.annotations == "ok" and r.part.is_short(r.found):
        lines.append(f"{r.found} records, {r.part.expected} expected")
    if r.repeated:
        lines.append(f"{r.repeated} records repeat the id of an earlier one")
    lines += _first([f"missing {path}" for path in r.missing], "missing")
    lines += _first([f"broken {reason}" for _, reason in r.broken], "broken")
    if not r.complete and r.part.next_step:
        lines.append(f"next step: {r.part.next_step}")
    return lines


def _first(lines: list[str], what: str) -> list[str]:
    more = len(lines) - _NAMED
    return lines[:_NAMED] + ([f"and {more} more {what}"] if more > 0 else [])
