"""The page: a part for each benchmark, then the paper's tables over three benchmarks."""

from __future__ import annotations

import os
from collections.abc import Sequence

import sg4v_jax
from sg4v_jax.evals import published
from sg4v_jax.evals.report import compare, examples, notes, tables
from sg4v_jax.evals.report.averages import shown
from sg4v_jax.evals.report.runs import TITLES, Row, Run, by_benchmark, task_title
from sg4v_jax.evals.report.tables import AnyPage
from sg4v_jax.report.markdown import open_page

_THREE = ("videobench", "mvbench", "tempcompass")
_MOST_MISSING = 10


def write(out: str | os.PathLike, runs: Sequence[Run], *, data: Sequence[str] = ()) -> list[str]:
    """Writes the report of `runs` to `out`, HTML or Markdown by its ending.

    Args:
      data: folders in which the examples' videos are looked for, before the runs' own.

    Returns:
      What went wrong with examples' videos, a line each.

    Raises:
      StorageError: the file cannot be written.
    """
    groups = by_benchmark(runs)
    titles = [TITLES.get(b, b) for b in groups]
    page = open_page(
        out,
        "Benchmark report",
        subtitle=f"{', '.join(titles)}; {len(runs)} {'run' if len(runs) == 1 else 'runs'}; "
        f"sg4v_jax {sg4v_jax.__version__}",
    )
    known = published.load()
    own = [f for run in runs if isinstance(f := run.settings.get("data"), str)]
    pictures = examples.Pictures(list(dict.fromkeys([*data, *own])))
    for benchmark, members in groups.items():
        _benchmark(page, benchmark, members, known=known, pictures=pictures)
    _over_three(page, groups, known)
    page.save(out)
    return list(dict.fromkeys(pictures.problems))


def _benchmark(
    page: AnyPage,
    benchmark: str,
    runs: Sequence[Run],
    *,
    known: published.Published,
    pictures: examples.Pictures,
) -> None:
    title = TITLES.get(benchmark, benchmark)
    results = known.of(benchmark)
    page.section(title)
    _what_compares(page, runs, known.notes.get(benchmark, ""))
    tables.headline_table(page, runs, results)
    tables.headline_bars(page, runs, results)
    tables.averages_table(page, runs)
    page.subsection("By task")
    tables.cells_table(page, runs, results)
    tables.published_table(page, results)
    tables.radar(page, runs, results)
    tables.interval_figures(page, runs, results)
    tables.fine_table(page, runs)
    if pairs := compare.pairs(runs):
        page.subsection("Runs against each other")
        _pairs(page, pairs)
    if any(run.scores.get("missing") for run in runs):
        page.subsection("What is missing")
        _missing(page, runs)
    page.subsection("Examples")
    _examples(page, runs, pictures)


def _what_compares(page: AnyPage, runs: Sequence[Run], note: str) -> None:
    if found := notes.of_runs(runs):
        page.note("\n\n".join(found))
    if len(runs) == 1:
        page.facts(notes.facts_of(runs[0]))
    else:
        facts = [notes.facts_of(run) for run in runs]
        names = list(dict.fromkeys(name for f in facts for name in f))
        rows = [[name, *(f.get(name) for f in facts)] for name in names]
        page.table(["", *(run.name for run in runs)], rows, caption="The runs")
    if note:
        page.paragraph(f"About the published values: {note}")


def _pairs(page: AnyPage, pairs: Sequence[tuple[Run, Run]]) -> None:
    found = [compare.compare(a, b) for a, b in pairs]
    adjusted = compare.adjusted(found)
    rows = [_pair_row(p, holm=adjusted[i] if len(found) > 1 else None) for i, p in enumerate(found)]
    columns = ["A − B", "n", "A", "B", "difference", "only A", "only B", "p exact", "p mid"]
    holm = ["p mid, Holm"] if len(found) > 1 else []
    page.table(
        [*columns, *holm],
        [row[: len(columns) + len(holm)] for row in rows],
        caption="All shared questions pooled. Difference: with its 95 % interval from a paired "
        "bootstrap over videos. Only A, only B: questions that one alone got right, and McNemar's "
        "p values for them, which take questions for independent; questions about one video are "
        "not, so where the two disagree believe the interval.",
        align="l" + "r" * (len(columns) + len(holm) - 1),
    )
    for a, b in pairs:
        if difference := compare.headline_difference(a, b):
            name, e = difference
            page.paragraph(
                f"{a.name} − {b.name}, {name}: {_signed(e.value)} points, 95 % interval "
                f"{_signed(e.low)} to {_signed(e.high)} (paired bootstrap over {e.clusters} "
                f"videos)."
            )
        if a.protocol != b.protocol:
            page.note(
                f"{a.name} and {b.name} were asked by different protocols, {a.protocol} and "
                f"{b.protocol}: the difference is of model and protocol together."
            )
    _pair_by_task(page, *pairs[0])


def _pair_by_task(page: AnyPage, a: Run, b: Run) -> None:
    found = compare.by_task(a, b)
    if len(found) < 2:
        return
    adjusted = compare.adjusted(found)
    rows = []
    for p, h in zip(found, adjusted, strict=True):
        _, *cells, _, midp, holm = _pair_row(p, holm=h)
        rows.append([task_title(p.name), *cells, midp, holm])
    columns = ["task", "n", "A", "B", "difference", "only A", "only B", "p mid", "Holm"]
    page.table(
        columns,
        rows,
        caption=f"{a.name} (A) against {b.name} (B) by task: as above, with p values (mid-p) as "
        f"they are and adjusted for {len(found)} tasks (Holm).",
        align="l" + "r" * 8,
    )


def _pair_row(p: compare.Paired, *, holm: float | None) -> list[object]:
    e = p.difference
    gap = _signed(e.value)
    if e.low == e.low:
        gap += f" [{_signed(e.low)}, {_signed(e.high)}]"
    return [
        p.name,
        f"{p.n:,}",
        shown(p.a),
        shown(p.b),
        gap,
        f"{p.only_a:,}",
        f"{p.only_b:,}",
        compare.p_shown(p.exact),
        compare.p_shown(p.midp),
        compare.p_shown(holm),
    ]


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _missing(page: AnyPage, runs: Sequence[Run]) -> None:
    for run in runs:
        gone = run.scores.get("missing") or []
        if not gone:
            continue
        by_video: dict[tuple[str, str], list[str]] = {}
        for m in gone:
            by_video.setdefault((m["video"], m["reason"]), []).append(task_title(m["task"]))
        rows = [
            [video, why, len(tasks), ", ".join(dict.fromkeys(tasks))]
            for (video, why), tasks in by_video.items()
        ]
        more = len(rows) - _MOST_MISSING
        page.table(
            ["video", "why", "questions", "of task"],
            rows[:_MOST_MISSING],
            caption=f"{run.name}: questions without an answer, "
            + ("left out" if run.scores.get("skip_missing") else "counted as wrong")
            + (f"; {more} more rows in scores.json" if more > 0 else ""),
        )


def _examples(page: AnyPage, runs: Sequence[Run], pictures: examples.Pictures) -> None:
    first, *others = runs
    cards, bare = examples.cards(first, others, pictures=pictures)
    if cards:
        page.paragraph(
            f"Up to {examples.EACH} answers of {first.name} that are right and as many that are "
            "not, from different tasks and videos. Each picture holds 16 frames, row by row."
        )
        page.cards(cards)
    if bare:
        rows = [
            [task_title(r.task), r.question, r.gold, r.prediction, _verdict(r, first)] for r in bare
        ]
        page.table(
            ["task", "question", "right answer", "given", "right"],
            rows,
            caption=f"{first.name}: answers whose videos are not at hand (give --data).",
        )
    if not cards and not bare:
        page.paragraph("No answers.")


def _verdict(row: Row, run: Run) -> bool | None:
    return None if row.rating is None else examples.is_right(row, run)


def _over_three(page: AnyPage, groups: dict[str, list[Run]], known: published.Published) -> None:
    """The paper's tables over three benchmarks, with the models of this page below."""
    models: dict[str, dict[str, float | None]] = {}
    for benchmark in _THREE:
        for run in groups.get(benchmark, ()):
            models.setdefault(run.name, {})[benchmark] = run.headline[1]
    if not models:
        return
    page.section(
        "Over three benchmarks",
        intro="The paper's two tables on what captions buy. A mean of own runs needs all three "
        "benchmarks; see above whether they compare.",
    )
    columns = [*(TITLES[b] for b in _THREE), "mean"]
    own = [[name, *_own_cells(found)] for name, found in models.items()]
    gains = [[r.name, *_published_cells(r)] for r in known.caption_gains]
    page.table(
        ["model", *columns],
        [*gains, *own],
        caption=_caption(known.titles["gains"], known.caption_gains),
        align="lrrrr",
        highlight=range(len(gains), len(gains) + len(own)),
    )
    told = ", ".join(f"{model} {gain:+.1f}" for model, gain in known.average_gains.items())
    page.paragraph(f"Mean gains that a reading note of the paper confirms: {told}.")
    rows = [
        [r.name, "unlocked" if r.facts["vit_unlocked"] else "frozen", *_published_cells(r)]
        for r in known.caption_ablation
    ]
    own = [[name, "–", *_own_cells(found)] for name, found in models.items()]
    page.table(
        ["training data", "ViT", *columns],
        [*rows, *own],
        caption=_caption(known.titles["ablation"], known.caption_ablation),
        align="llrrrr",
        highlight=range(len(rows), len(rows) + len(own)),
    )
    page.paragraph(known.confirmed)


def _published_cells(row: published.TableRow) -> list[str]:
    return [row.cell(c) for c in (*_THREE, "average")]


def _own_cells(found: dict[str, float | None]) -> list[str]:
    values = [found.get(b) for b in _THREE]
    known = [v for v in values if v is not None]
    mean = sum(known) / len(known) if len(known) == len(_THREE) else None
    return [shown(v) for v in (*values, mean)]


def _caption(title: str, rows: Sequence[published.TableRow]) -> str:
    legend = published.legend({r.status for r in rows})
    return f"{title}. {legend}." if legend else f"{title}."
