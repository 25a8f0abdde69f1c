"""A study's report: `report.html`, `report.md` and `report.json`, from what its runs have left."""

from __future__ import annotations

import os
from collections.abc import Sequence

import sg4v_jax
from sg4v_jax import files
from sg4v_jax.report.html import Card
from sg4v_jax.report.markdown import open_page
from sg4v_jax.study import analysis, report_appendix, report_examples, report_figures, report_tables
from sg4v_jax.study.analysis import Analysis
from sg4v_jax.study.report_tables import AnyPage
from sg4v_jax.study.results import Study, read
from sg4v_jax.study.verdict import verdict

NAMES = ("report.html", "report.md")
LIMITS = """
This is a toy world: small shapes on plain or textured ground, two events a clip, sentences from
templates, models trained from scratch or nearly so. It tests the direction of one claim, that
detailed and ordered captions teach more than short ones or none. It does not reproduce the paper's
numbers, and no number here says anything about the size of the effect in real videos.

Intervals are over seeds, each with its own pre-training, data draw and order; they say nothing of
other worlds, sizes or budgets. Only the two primary tests are corrected for their number; every
other p value is one of many. With two seeds a t test has one degree of freedom: do not trust its p.

The captioning form reads generated captions by rules and suits the arm that learnt such captions;
that is why it is no part of the average.
"""


def write(out: str | os.PathLike, *, pilots: Sequence[str | os.PathLike] = ()) -> Analysis:
    """Writes the report of the study in folder `out` into it, as far as the study has come.

    Args:
      pilots: further files of pilot runs.

    Raises:
      RecordError: a damaged file, named with its line.
      StorageError: a file cannot be written.
    """
    study = read(out, pilots=pilots)
    found = analysis.analyse(study)
    said, cards = verdict(found), report_examples.cards(study, found)
    place = files.path(out)
    for name in NAMES:
        page = open_page(place / name, "The caption-quality study", subtitle=_subtitle(found))
        _fill(page, study, found, said=said, cards=cards)
        page.save(place / name)
    known = {"verdict": said, **analysis.as_json(found), "probes": list(study.probes)}
    files.write_json(place / "report.json", known)
    return found


def _subtitle(a: Analysis) -> str:
    parts = [a.name, f"{a.split} split", a.incomplete or f"{a.done} runs"]
    return "; ".join(part for part in parts if part)


def _fill(
    page: AnyPage, study: Study, a: Analysis, *, said: Sequence[str], cards: Sequence[Card]
) -> None:
    page.section("Verdict")
    page.note("\n\n".join(said))
    page.facts(_facts(study, a))
    page.section(
        "The five rows",
        intro="Does it help to train on captions, on detailed ones, and to unlock the vision encoder?",
    )
    report_tables.five_rows(page, a)
    report_figures.scores(page, a)
    page.section("What was planned, and what came out")
    report_tables.planned_table(page, a)
    page.section("Paired differences")
    _contrasts(page, a, ("primary", "secondary"), name="Paired differences of the average")
    page.section("By aspect and form")
    report_tables.part_tables(page, a)
    report_tables.cell_table(page, a)
    for contrast in a.primary:
        report_figures.parts(page, contrast)
    page.section("Was it learnt?")
    report_appendix.gate_table(page, a)
    page.section("Controls, and what is right without the video")
    report_tables.control_table(page, a)
    _contrasts(
        page, a, report_tables.CONTROLS, name="Controls and the second visual path, unlocked ViT"
    )
    page.section("Do the answers come from the video?")
    report_tables.reliance_table(page, a)
    if a.curves:
        page.section("Dose curves")
        report_figures.dose_curves(page, a)
        _contrasts(
            page, a, ("dose",), name="Detailed captions against none, by the number of questions"
        )
        report_appendix.dose_table(page, a)
    if a.losses:
        page.section("Learning curves")
        report_figures.losses(page, a)
    if study.probes:
        page.section("What the vision tower's features hold")
        report_appendix.probe_table(page, study)
    _examples(page, cards)
    _rest(page, study, a)


def _contrasts(page: AnyPage, a: Analysis, kinds: Sequence[str], *, name: str) -> None:
    own = [c for c in a.contrasts if c.kind in kinds]
    if own:
        report_figures.differences(page, own, name=name)
        report_tables.contrast_table(page, own)


def _examples(page: AnyPage, cards: Sequence[Card]) -> None:
    if not cards:
        return
    page.section(
        "Examples",
        intro="Questions on which the detailed arm and the others disagree (unlocked ViT, the answer "
        "of most seeds), won and lost by turns: chosen for the disagreement, not typical. Each "
        "picture holds 16 frames, row by row.",
    )
    page.cards(cards)


def _rest(page: AnyPage, study: Study, a: Analysis) -> None:
    if a.compute:
        page.section("Compute")
        report_appendix.compute_table(page, a, study)
    page.section("Pilot and tuning runs")
    if study.pilots or study.tuning:
        report_appendix.pilot_table(page, study)
    else:
        page.paragraph("None was logged with this study.")
    if a.missing:
        page.section("Missing runs")
        page.paragraph(f"{len(a.missing)} of {a.planned}: {', '.join(a.missing)}.")
    page.section("Limits")
    page.paragraph(LIMITS)


def _facts(study: Study, a: Analysis) -> dict[str, object]:
    runs = f"{a.done:,} of {a.planned:,} planned" if a.planned else f"{a.done:,}; no plan is there"
    facts: dict[str, object] = {
        "study": a.name or "n/a",
        "runs": runs,
        "seeds": "; ".join(f"{t}: {', '.join(map(str, s))}" for t, s in a.seeds.items()) or "none",
        "split": f"{a.split}, {len({q['scene'] for q in study.questions}):,} videos, "
        f"{len(study.questions):,} questions",
    }
    for name in ("commit", "command", "versions"):
        value = study.settings.get(name)
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        if value:
            facts[name] = str(value)
    facts["report by"] = f"sg4v_jax {sg4v_jax.__version__}"
    return facts
