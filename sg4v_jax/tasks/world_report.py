"""The report of a model on world videos: scores with controls, curves, and what the model saw."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from PIL import Image

import sg4v_jax
from sg4v_jax import files
from sg4v_jax.evals import world_qa
from sg4v_jax.evals.runner import picture
from sg4v_jax.evals.world_qa import Item, Score
from sg4v_jax.infer.engine import Engine
from sg4v_jax.report.html import Card, Page
from sg4v_jax.report.plot import Interval, Series, interval_chart, line_chart, png_bytes
from sg4v_jax.train import metrics
from sg4v_jax.video.anyres import geometry

NAMES = {
    "as_filmed": "the video as filmed",
    "other_video": "control: another question's video",
    "shuffled_frames": "control: the video's frames shuffled in the grid",
}
SHORT = {
    "as_filmed": "as filmed",
    "other_video": "other video (control)",
    "shuffled_frames": "shuffled (control)",
}
GROUPS = {
    "temporal": "temporal: no single frame and no unordered set of frames tells",
    "static": "static: one frame may suffice",
}


@dataclasses.dataclass(frozen=True)
class Results:
    """Answers of one model to the same items under each condition."""

    items: Sequence[Item]
    answers: Mapping[str, Sequence[str]]  # by condition

    def scores(self, condition: str, *, field: str = "group") -> list[Score]:
        """Scores by an item field under one condition."""
        right = world_qa.hits(self.items, self.answers[condition])
        return world_qa.scores_by(self.items, right, field=field)


@dataclasses.dataclass(frozen=True)
class PathCheck:
    """One real clip through the whole path, with what the model said."""

    clip: str
    query: str
    answer: str
    picture: np.ndarray


def write(
    path: str | os.PathLike,
    *,
    engine: Engine,
    results: Results,
    log: str | os.PathLike | None,
    facts: Mapping[str, object],
    check: PathCheck | None,
) -> None:
    """Writes the report, one self-contained HTML file.

    Args:
      results: what `evals.runner` gave under every condition of `world_qa.CONDITIONS`.
      log: the training log (`metrics.jsonl`), None where there is none.
      facts: what to list first: data, sizes, times.
      check: a real clip's answer, or None.
    """
    page = Page(
        "sg4v_jax quickstart", subtitle="a small video-language model on a procedural world"
    )
    page.section("What came out")
    page.paragraph(verdict(results))
    page.facts({**facts, **_machine()})
    _accuracy(page, results)
    rows = [row for row in metrics.read(log) if "loss" in row] if log else []
    if rows:
        _curves(page, rows)
    _examples(page, engine, results)
    if check:
        _path_check(page, check)
    page.save(path)


def verdict(results: Results) -> str:
    """What the intervals say, in words that follow from the numbers alone."""
    by = {
        (condition, s.name): s for condition in results.answers for s in results.scores(condition)
    }
    lines = []
    for group in GROUPS:
        if ("as_filmed", group) not in by:
            continue
        s = by["as_filmed", group]
        lines.append(
            f"On {group} questions the model is right in {_percent(s)}, {s.verdict} "
            f"({s.chance:.1%})."
        )
    for condition in ("other_video", "shuffled_frames"):
        s = by.get((condition, "temporal"))
        if s:
            shown = NAMES[condition].removeprefix("control: ")
            lines.append(f"With {shown}, temporal questions: {_percent(s)}, {s.verdict}.")
    return " ".join(lines)


def _percent(score: Score) -> str:
    e = score.estimate
    return f"{e.value:.1%} (95 % interval {e.low:.1%} to {e.high:.1%})"


def _machine() -> dict[str, object]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {jax.default_backend()}",
        "versions": f"sg4v_jax {sg4v_jax.__version__}, jax {jax.__version__}, "
        f"Python {platform.python_version()}",
    }


def _accuracy(page: Page, results: Results) -> None:
    page.section(
        "Accuracy",
        intro="Held-out videos, in pairs of shape and color that training never showed. "
        "Intervals are 95 % bootstraps over videos, because questions about one video depend on "
        "each other. Chance is a blind guess among the options.",
    )
    intervals, rows = [], []
    for group in GROUPS:
        for condition, name in NAMES.items():
            scores = results.scores(condition) if condition in results.answers else []
            for s in [s for s in scores if s.name == group]:
                e = s.estimate
                label = f"{group}, {SHORT[condition]}"
                intervals.append(Interval(label, e.value, e.low, e.high, s.chance))
                rows.append(_score_row([group, name], s))
    page.figure(
        interval_chart(intervals, title="Accuracy by group and control", x_label="accuracy"),
        caption="; ".join(GROUPS.values()) + ". A filled dot: the interval excludes chance.",
        alt="accuracy with intervals beside chance, for each group and control",
    )
    columns = ["group", "shown", "accuracy %", "low", "high", "chance %", "n", "videos", "verdict"]
    page.table(columns, rows, caption="Accuracy by group and control")
    kinds = [_score_row([s.name], s) for s in results.scores("as_filmed", field="kind")]
    page.table(["kind", *columns[2:]], kinds, caption="By kind of question, as filmed")


def _score_row(first: list, s: Score) -> list:
    e = s.estimate
    values = [round(100 * v, 1) for v in (e.value, e.low, e.high, s.chance)]
    return [*first, *values, e.n, e.clusters, s.verdict]


def _curves(page: Page, rows: Sequence[Mapping[str, float]]) -> None:
    steps = [r["step"] for r in rows]
    seconds = sum(r["seconds"] for r in rows[1:]) or 1.0  # the first window compiles
    samples, tokens = (sum(r[k] for r in rows[1:]) for k in ("samples", "tokens"))
    waiting = sum(r["input_seconds"] for r in rows[1:]) / seconds
    page.section("Training")
    page.facts(
        {
            "steps": steps[-1],
            "throughput": f"{samples / seconds:.1f} samples/s, {tokens / seconds:,.0f} tokens/s",
            "waiting for input": f"{waiting:.1%} of the time",
        }
    )
    page.figure(
        line_chart(
            [Series("loss", steps, [r["loss"] for r in rows])],
            title="Training loss",
            x_label="step",
            y_label="nats a token",
            smooth=0.9,
        ),
        caption="Mean negative log-likelihood of the trained tokens.",
        alt="training loss by step",
    )
    names = [k for k in rows[0] if k.startswith("rate/")]
    page.figure(
        line_chart(
            [Series(n.removeprefix("rate/"), steps, [r[n] for r in rows]) for n in names],
            title="Learning rate by group of parameters",
            x_label="step",
            y_label="rate",
        ),
        caption="Warm-up, then cosine.",
        alt="learning rates by step",
    )


def _examples(page: Page, engine: Engine, results: Results) -> None:
    page.section(
        "What the model saw",
        intro="Eight questions: four temporal, four static, the first of different videos. Each "
        "picture holds exactly the pixels that the model got: the tiles put together, and beside "
        "them the overview (enlarged without smoothing).",
    )
    right = world_qa.hits(results.items, results.answers["as_filmed"])
    cards = []
    for number in _chosen(results.items, each=4):
        item = results.items[number]
        seen = as_seen(engine, picture(engine, item.video, condition="as_filmed", seed=0))
        cards.append(
            Card(
                picture=png_bytes(seen),
                alt=f"grid of 16 frames and overview of {os.path.basename(item.video)}",
                facts={
                    "question": item.text,
                    "right answer": item.answer,
                    "given": results.answers["as_filmed"][number],
                },
                right=bool(right[number]),
                title=f"{item.group}: {item.kind}",
            )
        )
    page.cards(cards)


def _chosen(items: Sequence[Item], *, each: int) -> list[int]:
    """The first `each` items of each group, no video twice, kinds in turn."""
    chosen: list[int] = []
    videos: set[str] = set()
    for group in GROUPS:
        kinds = sorted({i.kind for i in items if i.group == group})
        for number in range(each if kinds else 0):
            kind = kinds[number % len(kinds)]
            fits = (
                n
                for n, i in enumerate(items)
                if i.group == group and i.kind == kind and i.video not in videos
            )
            found = next(fits, None)
            if found is not None:
                chosen.append(found)
                videos.add(items[found].video)
    return chosen


def as_seen(engine: Engine, grid: np.ndarray, *, scale: int = 2) -> np.ndarray:
    """The model's own pixels of a grid, u8[H,W,3]: its tiles put together, overview at the right.

    The tiles are in rows as long as the any-resolution choice made them; enlarged `scale` times.
    """
    inputs = engine.settings.inputs
    tiles = inputs.tiles(grid)
    base, rest, side = tiles[0], tiles[1:], tiles.shape[1]
    parts = []
    if len(rest):
        shape = geometry((grid.shape[1], grid.shape[0]), inputs.anyres)
        rows = rest.reshape(shape.tile_rows, shape.tile_cols, side, side, 3)
        parts.append(rows.transpose(0, 2, 1, 3, 4).reshape(shape.tile_rows * side, -1, 3))
    height = max([side, *(p.shape[0] for p in parts)])
    padded = np.full((height, side, 3), 127, np.uint8)
    padded[:side] = base
    gap = np.full((height, side // 12, 3), 127, np.uint8)
    whole = np.concatenate([*(x for p in parts for x in (p, gap)), padded], axis=1)
    size = (whole.shape[1] * scale, whole.shape[0] * scale)
    return np.asarray(Image.fromarray(whole).resize(size, Image.Resampling.NEAREST))


def _path_check(page: Page, check: PathCheck) -> None:
    page.section("A real clip")
    page.note(
        "Path check: this model has only seen shapes. A real clip goes through the same decoding, "
        "grid, tiles and generation as any video; the words mean nothing."
    )
    page.cards(
        [
            Card(
                picture=png_bytes(check.picture),
                alt=f"grid of 16 frames and overview of {os.path.basename(check.clip)}",
                facts={
                    "clip": os.path.basename(check.clip),
                    "question": check.query,
                    "given": check.answer,
                },
                title="path check",
            )
        ]
    )


def summary_json(results: Results) -> dict[str, object]:
    """The scores as plain numbers, for `scores.json`."""
    out = {}
    for condition in results.answers:
        for field in ("group", "kind"):
            for s in results.scores(condition, field=field):
                e = s.estimate
                out[f"{condition}/{field}/{s.name}"] = {
                    "accuracy": e.value,
                    "low": e.low,
                    "high": e.high,
                    "chance": s.chance,
                    "n": e.n,
                    "videos": e.clusters,
                }
    return out


def save_answers(path: str | os.PathLike, results: Results) -> None:
    """Writes every answer beside its question, as JSON."""
    rows = [
        {
            "id": item.id,
            "group": item.group,
            "kind": item.kind,
            "question": item.text,
            "right": item.answer,
            **{condition: given[n] for condition, given in results.answers.items()},
        }
        for n, item in enumerate(results.items)
    ]
    files.write_json(path, rows)
