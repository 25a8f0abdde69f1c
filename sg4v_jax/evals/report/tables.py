"""The tables and charts of one benchmark, from its runs and what is published."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sg4v_jax.evals import published
from sg4v_jax.evals.report import averages
from sg4v_jax.evals.report.averages import cell_estimate, shown
from sg4v_jax.evals.report.runs import TITLES, Run, short_title, task_title
from sg4v_jax.report.html import Page
from sg4v_jax.report.markdown import MarkdownPage
from sg4v_jax.report.plot import Bar, Interval, bar_chart, interval_chart
from sg4v_jax.report.radar import Profile, radar_chart

OWN = "ShareGPT4Video-8B"
_MOST_PROFILES = 4
_NO_INTERVAL = averages.Estimate(math.nan, math.nan, math.nan, 0, 0)
AnyPage = Page | MarkdownPage


def headline_table(page: AnyPage, runs: Sequence[Run], results: Sequence[published.Result]) -> None:
    """Published rows in order of their value, then the runs; below, how published ones were got."""
    known = sorted(results, key=lambda r: (r.model == OWN, r.value is not None, r.value or 0))
    rows: list[list[object]] = [[r.model, r.shown, "–", "–", r.status] for r in known]
    for run in runs:
        name, value = run.headline
        found = averages.estimate(run, name, value)
        low_high = "–"
        if found is not None and math.isfinite(found.low):
            low_high = f"{found.low:.1f} to {found.high:.1f}"
        count = f"{len(run.rows):,}"
        rows.append([run.name, shown(value), low_high, count, f"own run: {_plain(name)}"])
    unit = "average, %" if runs[0].scale == 100 else "average, of 5"
    caption = "Averages. Own runs are marked; intervals are 95 % bootstraps over videos."
    if legend := published.legend({r.status for r in known}):
        caption += f" {legend}."
    page.table(
        ["model", unit, "95 % interval", "questions", "source"],
        rows,
        caption=caption,
        align="lrrrl",
        highlight=range(len(known), len(rows)),
    )
    if known:
        page.paragraph(_origins(known))


def _plain(name: str) -> str:
    """A headline's name without the list of tasks behind it."""
    return averages.plain_name(name)


def _origins(results: Sequence[published.Result]) -> str:
    """How published values were formed and where they were read, each thing said once."""
    said: dict[str, list[str]] = {}
    for r in results:
        origin = f"{r.source}; {r.average}" if r.status != "n/a" else r.source
        said.setdefault(origin, []).append(r.model)
    lines = [f"{', '.join(models)}: {origin}." for origin, models in said.items()]
    lines += [f"{r.model}: {r.note}." for r in results if r.note]
    return "Published values. " + " ".join(lines)


def headline_bars(page: AnyPage, runs: Sequence[Run], results: Sequence[published.Result]) -> None:
    """Bars of the averages, own runs in another colour; nothing where there is no value."""
    bars = [
        Bar(r.model + published.MARKS.get(r.status, ""), r.value)
        for r in sorted(results, key=lambda r: (r.model == OWN, r.value or 0))
        if r.value is not None
    ]
    bars += [Bar(run.name, v, series=1) for run in runs if (v := run.headline[1]) is not None]
    if len(bars) < 2:
        return
    unit = "%" if runs[0].scale == 100 else "of 5"
    title = f"{TITLES.get(runs[0].benchmark, runs[0].benchmark)}: average"
    legend = published.legend({r.status for r in results if r.value is not None})
    page.figure(
        bar_chart(bars, title=title, x_label=f"average, {unit}", value_format=".1f"),
        caption="Orange: the runs of this page. Blue: published values, by other people's runs, "
        "question files and judges; see above what compares." + (f" {legend}." if legend else ""),
        alt="; ".join(f"{b.name} {b.value:.1f}" for b in bars),
    )


def averages_table(page: AnyPage, runs: Sequence[Run]) -> None:
    """Every average of every run, by its name."""
    names = list(dict.fromkeys(name for run in runs for name in run.scores["averages"]))
    rows = []
    for name in names:
        row: list[object] = [name]
        for run in runs:
            value = run.scores["averages"].get(name)
            row.append(shown(value, averages.estimate(run, name, value)))
        rows.append(row)
    heads = {averages.plain_name(run.headline[0]) for run in runs}
    page.table(
        ["average", *(run.name for run in runs)],
        rows,
        caption="Every average by its name, with 95 % intervals over videos; marked: quoted first. "
        "n/a: a part of it has no score.",
        align="l" + "r" * len(runs),
        highlight=[i for i, n in enumerate(names) if averages.plain_name(n) in heads],
    )


def cells_table(page: AnyPage, runs: Sequence[Run], results: Sequence[published.Result]) -> None:
    """A row for each task and group: questions, each run with its interval, published values."""
    shown_results = [r for r in results if r.model == OWN]
    keys = list(dict.fromkeys((c["task"], c["group"]) for run in runs for c in run.cells()))
    groups = any(group is not None for _, group in keys)
    rows, marked = [], []
    for task, group in keys:
        if group is not None and not any(task in run.scored for run in runs):
            continue  # the task's own row says n/a
        if groups and group is None:
            marked.append(len(rows))
        name = task_title(task) if group is None else f"· {group.replace('_', ' ')}"
        row: list[object] = [name, _count(runs, task, group)]
        row += [_run_cell(run, task, group) for run in runs]
        row += [r.cell(task) if group is None else "n/a" for r in shown_results]
        rows.append(row)
    columns = ["", "questions", *(run.name for run in runs), *(r.model for r in shown_results)]
    caption = "By task" + (" and aspect" if groups else "")
    caption += ": share right in %" if runs[0].scale == 100 else ": mean score of 5"
    caption += ", with 95 % intervals over videos."
    if shown_results:
        caption += f" {OWN} is published ({shown_results[0].cells_status})."
    if groups:
        caption += " A task that is not scored has no rows of aspects."
    page.table(
        columns, rows, caption=caption, align="l" + "r" * (len(columns) - 1), highlight=marked
    )


def published_table(page: AnyPage, results: Sequence[published.Result]) -> None:
    """What is published by task; nothing where no model has such values."""
    known = [r for r in results if r.cells]
    if len(known) < 2:
        return
    tasks = list(dict.fromkeys(task for r in known for task in r.cells))
    rows = [[task_title(t), *(r.cell(t) for r in known)] for t in tasks]
    rows.append(["average", *(r.shown for r in known)])
    statuses = [s for s in published.STATUSES if s in {r.cells_status for r in known}]
    page.table(
        ["", *(r.model for r in known)],
        rows,
        caption=f"Published values by task, % right ({', '.join(statuses)}).",
        align="l" + "r" * len(known),
        highlight=[len(rows) - 1],
    )


def fine_table(page: AnyPage, runs: Sequence[Run]) -> None:
    """The finer aspects of TempCompass: rows aspects, columns tasks; one table a run."""
    for run in runs:
        cells = run.cells(fine=True)
        if not cells:
            continue
        tasks = list(dict.fromkeys(c["task"] for c in cells))
        # An aspect without a question in any task (a subset was asked) has nothing to show.
        names = list(dict.fromkeys(c["group"] for c in cells if c["total"]))
        value = {(c["task"], c["group"]): c for c in cells}
        rows = [[n, *(_fine_cell(value.get((t, n))) for t in tasks)] for n in names]
        page.table(
            ["finer aspect", *(task_title(t) for t in tasks)],
            rows,
            caption=f"{run.name}: finer aspects, % right (questions). n/a: no question, or not rated.",
            align="l" + "r" * len(tasks),
        )


def _fine_cell(cell: Mapping | None) -> str:
    if cell is None or cell["score"] is None:
        return "n/a"
    return f"{cell['score']:.1f} ({cell['total']})"


def _count(runs: Sequence[Run], task: str, group: str | None) -> str:
    """How many questions the cell has, one number for each run where they differ."""
    totals = {
        c["total"] for run in runs for c in run.cells() if (c["task"], c["group"]) == (task, group)
    }
    return " / ".join(f"{n:,}" for n in sorted(totals))


def _run_cell(run: Run, task: str, group: str | None) -> str:
    cell = next((c for c in run.cells() if (c["task"], c["group"]) == (task, group)), None)
    if cell is None or cell["score"] is None:
        return "n/a"
    found = cell_estimate(run.rated(task=task, group=group), scale=run.scale)
    return shown(cell["score"], found)


def radar(page: AnyPage, runs: Sequence[Run], results: Sequence[published.Result]) -> None:
    """Profiles over tasks, or over aspects where a benchmark has few tasks; nothing without them."""
    axes, profiles = _task_profiles(runs, results)
    by = "task"
    if len(axes) < 5 and any(r.group for run in runs for r in run.rows):
        axes, profiles, by = *_group_profiles(runs), "aspect, all tasks pooled"
    profiles = [p for p in profiles if np.isfinite(p.values).any()]
    if len(axes) < 3 or not profiles:
        return
    title = TITLES.get(runs[0].benchmark, runs[0].benchmark)
    unit = "% right" if runs[0].scale == 100 else "mean score of 5"
    names = [task_title(a) if by == "task" else a.replace("_", " ") for a in axes]
    page.figure(
        radar_chart(
            names,
            profiles,
            title=f"{title} by {by}",
            unit=unit,
            value_range=(0, 100) if runs[0].scale == 100 else (0, 5),
            short=[short_title(n) for n in names] if len(names) > 8 else None,
        ),
        caption="Areas mean nothing; look at the axes. A value that is not known leaves a gap.",
        alt=f"{title} by {by}; the numbers are in the table",
    )


def _task_profiles(
    runs: Sequence[Run], results: Sequence[published.Result]
) -> tuple[list[str], list[Profile]]:
    cells = [{c["task"]: c["score"] for c in run.cells() if c["group"] is None} for run in runs]
    axes = list(dict.fromkeys(task for found in cells for task in found))
    profiles = [
        Profile(run.name, _values(found, axes)) for run, found in zip(runs, cells, strict=True)
    ][:_MOST_PROFILES]
    profiles += [Profile(r.model, _values(r.cells, axes)) for r in results if r.model == OWN]
    return axes, profiles


def _group_profiles(runs: Sequence[Run]) -> tuple[list[str], list[Profile]]:
    axes = list(dict.fromkeys(r.group for run in runs for r in run.rows if r.group))
    profiles = []
    for run in runs[:_MOST_PROFILES]:
        means = {}
        for axis in axes:
            ratings = [r.rating for r in run.rated(group=axis)]
            means[axis] = run.scale * float(np.mean(ratings)) if ratings else None
        profiles.append(Profile(run.name, _values(means, axes)))
    return axes, profiles


def _values(found: Mapping[str, float | None], axes: Sequence[str]) -> np.ndarray:
    return np.array([math.nan if found.get(a) is None else found[a] for a in axes], np.float64)


def interval_figures(
    page: AnyPage, runs: Sequence[Run], results: Sequence[published.Result]
) -> None:
    """For each run, its tasks with intervals beside what is published of ShareGPT4Video-8B."""
    own = next((r for r in results if r.model == OWN and r.cells), None)
    for run in runs[:_MOST_PROFILES]:
        rows = []
        for c in run.cells():
            if c["group"] is not None or c["score"] is None:
                continue
            e = cell_estimate(run.rated(task=c["task"]), scale=run.scale) or _NO_INTERVAL
            reference = own.cells.get(c["task"]) if own else None
            rows.append(Interval(task_title(c["task"]), c["score"], e.low, e.high, reference))
        if len(rows) < 2:
            continue
        page.figure(
            interval_chart(
                rows,
                title=f"{run.name}: tasks with 95 % intervals",
                x_label="% right" if run.scale == 100 else "mean score of 5",
                x_range=(0, 100) if run.scale == 100 else (0, 5),
                reference_name=f"{OWN}, published",
                value_format=".1f",
            ),
            caption="Intervals are bootstraps over videos; where all answers of a task are right, "
            "or all wrong, Wilson's for as many trials as videos.",
            alt=f"{run.name} by task with intervals; the numbers are in the table",
        )
