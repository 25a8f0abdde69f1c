"""The tables behind a study's claims: gates, dose curves, probes, compute, pilots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sg4v_jax.study.analysis import Analysis
from sg4v_jax.study.design import ARMS, BASE
from sg4v_jax.study.gates import BAR
from sg4v_jax.study.measures import Mean, mean_of
from sg4v_jax.study.report_tables import PLUS_MINUS, TITLES, AnyPage, percent, shown
from sg4v_jax.study.results import Study, shown_dose
from sg4v_jax.study.verdict import interval, points

KINDS = {
    "sentences": "sentences",
    "omission": "events left out",
    "false": "false events",
    "vqa_items": "questions",
}

PROBED = {
    "colour": "colour",
    "place": "place, R²",
    "direction": "direction, all frames",
    "direction_by_places": "direction, from places",
}


def gate_table(page: AnyPage, a: Analysis) -> None:
    """By aspect: slots, the best arm's interval against what is right without the video."""
    rows = []
    for g in a.gates:
        best = f"{g.best}: {shown(g.interval)}" if g.interval else "n/a"
        said = {True: "learnt", False: "not learnt", None: "cannot be told"}[g.learnt]
        why = f" ({g.reason})" if g.reason else ""
        rows.append([g.aspect, shown(g.slot), best, percent(g.blind), said + why])
    page.table(
        ["aspect", "own slots, dev", "best arm, questions", "without video", "outcome"],
        rows,
        caption=f"An aspect is learnt if the unlocked detailed arm gets its words in development "
        f"captions right in more than {BAR:.0%}, and if some main arm's interval lies above the "
        "better of chance and the prior-only guesser. All in %. Slots: action verb, direction, "
        "speed, order, new colour, camera.",
        align="lrlrl",
    )


def dose_table(page: AnyPage, a: Analysis) -> None:
    """The points of all dose curves."""
    rows = []
    for curve in a.curves:
        for p in curve.points:
            name = f"{TITLES.get(curve.arm, curve.arm)}: {KINDS[curve.kind]}"
            change = f"{points(p.change.mean)} {interval(p.change)}" if p.change else "–"
            dose = _dose(curve.kind, p.dose)
            rows.append([name, dose, str(p.score.n), shown(p.score), change])
    page.table(
        ["curve", "dose", "seeds", "average, %", "change"],
        rows,
        caption=f"Dose curves; {PLUS_MINUS} Change: paired difference from the arm without a dose, "
        "in points, with its t interval.",
        align="lrrrr",
    )


def _dose(kind: str, dose: float | str) -> str:
    """`25 %` for shares, else the number."""
    return f"{100 * float(dose):g} %" if kind in ("omission", "false") else shown_dose(dose)


def _tower(arm: str) -> str:
    """Whose tower it is: an arm's title, or its place on a dose curve, or the base."""
    if arm == BASE:
        return "pre-trained base; frozen ViT"
    point = ARMS[arm].point if arm in ARMS else None
    if point is None:
        return TITLES.get(arm, arm)
    name = TITLES["detailed" if ARMS[arm].style else "vqa"]
    return f"{name}: {KINDS[point['kind']]}, {_dose(point['kind'], point['value'])}"


def probe_table(page: AnyPage, study: Study) -> None:
    """What a linear map reads in the features of each kind of tower."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in study.probes:
        groups.setdefault((line["arm"], line["path"]), []).append(line)
    rows = []
    for (arm, path), lines in groups.items():
        cells = [shown(_read(lines, thing, "value")) for thing in PROBED]
        rows.append([_tower(arm), path, str(len(lines)), *cells])
    chance = [shown(_read(study.probes, thing, "chance")) for thing in PROBED]
    rows.append(["knows nothing", "–", "–", *(cell.split(" ")[0] for cell in chance)])
    page.table(
        ["tower of", "path", "seeds", *PROBED.values()],
        rows,
        caption="Ridge regression on the tower's features, on held-out clips that no model of the seed "
        f"was trained on; accuracy in %, R² of the place in %; {PLUS_MINUS} Direction from all frames "
        "asks whether the tower compares frames; from places, whether a reader of single frames could.",
        align="llrrrrr",
        highlight=[len(rows) - 1],
    )


def _read(lines: Iterable[Mapping[str, Any]], thing: str, what: str) -> Mean | None:
    values = [line["read"][thing][what] for line in lines if thing in line["read"]]
    return mean_of(dict(enumerate(values))) if values else None


def compute_table(page: AnyPage, a: Analysis, study: Study) -> None:
    """CPU and wall hours by group of runs."""
    rows = [
        [name, str(n), f"{cpu:.2f}", f"{wall:.2f}"] for name, (n, cpu, wall) in a.compute.items()
    ]
    total = [sum(v[i] for v in a.compute.values()) for i in range(3)]
    rows.append(["all", str(total[0]), f"{total[1]:.2f}", f"{total[2]:.2f}"])
    page.table(
        ["group", "jobs", "CPU hours", "wall hours"],
        rows,
        caption="Compute by group; wall hours are the sum over jobs, some of which ran side by side.",
        align="lrrr",
        highlight=[len(rows) - 1],
    )
    known = ("id", "group", "cpu_seconds", "wall_seconds")
    hosts = [{k: v for k, v in line.items() if k not in known} for line in study.compute]
    told = dict.fromkeys(", ".join(f"{k} {v}" for k, v in host.items()) for host in hosts if host)
    if told:
        page.paragraph(f"Run on: {'; '.join(told)}.")


def pilot_table(page: AnyPage, study: Study) -> None:
    """Every pilot and tuning run."""
    rows = []
    lines = [("results.jsonl", run.row) for run in study.tuning] + list(study.pilots)
    for file, row in lines:
        right = ((row.get("accuracy") or {}).get("right") or {}).get("average")
        verb = (row.get("slots") or {}).get("verb")
        verbs = percent(verb[0] / verb[1]) if verb and verb[1] else "n/a"
        steps = row.get("steps")
        rows.append(
            [
                str(row.get("id", "?")),
                str(row.get("seed", "?")),
                "n/a" if steps is None else f"{steps:,}",
                str(row.get("split", "n/a")),
                percent(right),
                verbs,
                str(row.get("note") or "–"),
                file,
            ]
        )
    page.table(
        ["run", "seed", "steps", "split", "average, %", "verb slots, %", "note", "file"],
        rows,
        caption="Every pilot and every tuning run, as they were logged. Their seeds are not used again.",
        align="lrrlrrll",
    )
