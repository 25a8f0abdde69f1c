"""The tables of a study's report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sg4v_jax.evals import published
from sg4v_jax.report.html import Page
from sg4v_jax.report.markdown import MarkdownPage
from sg4v_jax.study import verdict
from sg4v_jax.study.accuracy import ASKED, FIVE, form_name
from sg4v_jax.study.analysis import Analysis
from sg4v_jax.study.contrasts import INTERACTION, Contrast
from sg4v_jax.study.gates import BAR
from sg4v_jax.study.measures import Mean, Row
from sg4v_jax.study.verdict import interval, p_value, points
from sg4v_jax.world.aspects.questions import ASPECTS

AnyPage = Page | MarkdownPage
MAIN = ("vqa", "short", "detailed")
TITLES = {
    "vqa": "VQA",
    "short": "VQA + short captions",
    "detailed": "VQA + detailed captions",
    "long_static": "long static captions",
    "shuffled": "detailed captions without order",
    "text_only": "detailed captions on a blank grid",
    "detailed_short_tokens": "detailed, at short's token count",
    "vqa_passes": "VQA, equal passes over the questions",
    "blind": "trained text-only: VQA on blank grids",
    "captioner": "captions of our own captioner",
}
_CAPTIONS = {"vqa": "none", "short": "short", "detailed": "detailed"}
_PUBLISHED = (
    ("videobench", "Video-Bench"),
    ("mvbench", "MVBench"),
    ("tempcompass", "TempCompass"),
)
CONTROLS = ("control", "path")
PLUS_MINUS = "± is half of the 95 % t interval over seeds, in points."


def shown(mean: Mean | None, *, sign: bool = False) -> str:
    """`57.8 ± 1.6` in percent, `57.8` without an interval, `n/a` without a value."""
    if mean is None:
        return "n/a"
    value = points(mean.mean) if sign else f"{100 * mean.mean:.1f}"
    if not math.isfinite(mean.low):
        return value
    return f"{value} ± {100 * (mean.high - mean.low) / 2:.1f}"


def percent(share: float | None) -> str:
    """`44.3`, `n/a` for None."""
    return "n/a" if share is None else f"{100 * share:.1f}"


def title(row: Row) -> str:
    """A row of the design in words: `VQA + short captions, frozen`."""
    return row.design._replace(arm=TITLES.get(row.design.arm, row.design.arm)).name


def main_rows(a: Analysis) -> list[Row]:
    """The main arms that are there: frozen ones, then unlocked ones."""
    found = (a.row(arm, tower) for tower in ("frozen", "unlocked") for arm in MAIN)
    return [row for row in found if row]


def five_rows(page: AnyPage, a: Analysis) -> None:
    """The paper's rows, and ours of the same design beside them."""
    known = published.load()
    rows = []
    for r in known.caption_ablation:
        tower = "unlocked" if r.facts["vit_unlocked"] else "frozen"
        arm = next(k for k, v in _CAPTIONS.items() if v == r.facts["captions"])
        cells = [*(r.cell(c) for c, _ in _PUBLISHED), r.cell("average")]
        rows.append([f"{r.facts['row']}. {TITLES[arm]}", tower, *_own(a, arm, tower), *cells])
    rows.append([TITLES["vqa"], "unlocked", *_own(a, "vqa", "unlocked"), *["n/a"] * 4])
    told = "; ".join(f"row {r.facts['row']} {r.status}" for r in known.caption_ablation)
    page.table(
        ["training data", "ViT", "seeds", "here, %", *(name for _, name in _PUBLISHED), "mean"],
        rows,
        caption=f"Here: the mean of five aspects in this world; {PLUS_MINUS} Then the paper's values "
        f"({known.titles['ablation']}): other questions, other videos, another scale. Compare the "
        f"order of the rows, never a number with a number. "
        f"{published.legend({r.status for r in known.caption_ablation})}. Sources: {told}; the row "
        "without a number is not in the paper.",
        align="llrrrrrr",
    )
    page.paragraph(known.confirmed)


def _own(a: Analysis, arm: str, tower: str) -> list[str]:
    row = a.row(arm, tower)
    return [str(len(row.seeds)), shown(row.measures.get("average"))] if row else ["0", a.absent]


def planned_table(page: AnyPage, a: Analysis) -> None:
    """What was planned before the runs, and what came out."""
    rows: list[list[str]] = [_gate_row(a)]
    rows += [_contrast_row(a, c, test="paired t, Holm over two") for c in a.primary]
    rows += [_contrast_row(a, c, test="paired t") for c in a.contrasts if c.kind == "secondary"]
    if reference := a.row("detailed"):
        for measure, name in (
            ("reliance/wrong", "visual reliance: right − wrong video, detailed"),
            ("reliance/none", "visual reliance: right − no video, detailed"),
            ("yes_bias", "yes-bias: yes said − yes true, detailed"),
            ("events/false", "false events of generated captions, detailed"),
        ):
            if mean := reference.measures.get(measure):
                sign = not measure.startswith("events")
                value = f"{shown(mean, sign=sign)}{'' if sign else ' %'}"
                rows.append([name, "t interval", value, "–", _side(mean) if sign else "–"])
    rows += [_contrast_row(a, c, test="paired t") for c in a.contrasts if c.kind in CONTROLS]
    for p in a.predictions:
        name = f"captioner, by the {p.kind} curve"
        said = f"predicted {percent(p.predicted.mean)} %, got {percent(p.got.mean)} %"
        rows.append([name, "t interval of got − predicted", shown(p.gap, sign=True), "–", said])
    page.table(
        ["endpoint", "planned test", "result", "p", "outcome"],
        rows,
        caption="What was fixed before the runs, and what came out; differences in points. Only the "
        "two primary tests are corrected (their p is Holm's); take all others as exploratory.",
        align="llrrl",
        highlight=range(1, 1 + len(a.primary)),
    )


def _gate_row(a: Analysis) -> list[str]:
    outcome = {True: "passed", False: "failed: under-trained", None: "cannot be judged"}[a.trained]
    test = f"event-verb slots, detailed unlocked, dev, > {BAR:.0%}"
    return ["validity gate", test, f"{shown(a.verbs)} %" if a.verbs else "n/a", "–", outcome]


def _contrast_row(a: Analysis, c: Contrast, *, test: str) -> list[str]:
    kind = {"primary": "primary: ", "path": "second visual path: "}.get(c.kind, "")
    if c.difference is None:
        return [kind + c.name, test, "n/a", "–", a.absent]
    p = p_value(c.p if c.holm is None else c.holm)
    return [kind + c.name, test, shown(c.difference, sign=True), p, outcome_words(a, c)]


def outcome_words(a: Analysis, c: Contrast) -> str:
    """What a contrast came to; no claim where the gate, or for a primary one a run, is missing."""
    found = verdict.outcome(c)
    if found == verdict.OPEN:
        return "no test"
    if a.trained is not True:
        return "no claim: " + ("under-trained" if a.trained is False else "gate not judged")
    if c.kind == "primary" and not verdict.claims(a):
        return "no claim: incomplete"
    return verdict.SIDES[found] + (" (incomplete)" if c.missing else "")


def _side(mean: Mean) -> str:
    if not math.isfinite(mean.low):
        return "no interval"
    return "above zero" if mean.low > 0 else "below zero" if mean.high < 0 else "zero is inside"


def contrast_table(page: AnyPage, contrasts: Sequence[Contrast]) -> None:
    """Differences with both intervals, p, and what could have been found."""
    rows = []
    for c in contrasts:
        if c.difference is None:
            rows.append([c.name, "0", *["n/a"] * 2, *["–"] * 2, "n/a"])
            continue
        low, high = c.bootstrap
        boot = f"[{points(low)}, {points(high)}]" if math.isfinite(low) else "n/a"
        least = f"{100 * c.detectable:.1f}" if math.isfinite(c.detectable) else "n/a"
        value = f"{points(c.difference.mean)} {interval(c.difference)}"
        tests = [p_value(c.p), p_value(c.holm)]
        name = c.name.replace(" − ", "\u00a0−\u00a0")
        rows.append([name, str(c.difference.n), value, boot, *tests, least])
    heads = ["difference", "seeds", "mean, t interval", "bootstrap", "p", "Holm", "MDE"]
    caption = (
        "Paired differences of the average in points: same seed, videos and order. t interval over "
        "seeds; bootstrap over seeds, then videos, the same videos for every seed (with few seeds it "
        "is somewhat narrow). MDE, the minimal detectable effect: the true difference that is found "
        "with power 80 % (two-sided 5 %) at this spread and number of seeds."
    )
    if any(c.name == INTERACTION for c in contrasts):
        caption += f" {INTERACTION.capitalize()}: detailed − vqa unlocked, minus the same frozen."
    if all(c.holm is None for c in contrasts):
        heads.pop(5)
        rows = [[*row[:5], row[6]] for row in rows]
    page.table(heads, rows, caption=caption, align="l" + "r" * (len(heads) - 1))
    if lacking := dict.fromkeys(gap for c in contrasts for gap in c.missing):
        page.paragraph(f"Missing here: {'; '.join(lacking)}.")


def part_tables(page: AnyPage, a: Analysis) -> None:
    """The main rows by aspect and form, a table for each state of the ViT."""
    heads = {"average": "average", "average_learnt": "of learnt aspects"}
    heads |= {f"aspect/{aspect}": aspect for aspect in (*FIVE, "camera")}
    heads |= {f"form/{form}": f"form: {form_name(form)}" for form in ASKED}
    heads |= {"captioning": "form: captioning", "unseen": "unseen combinations"}
    for tower in ("unlocked", "frozen"):
        rows = [row for row in main_rows(a) if row.design.tower == tower]
        if rows:
            _measure_table(
                page,
                rows,
                heads,
                others={"chance": a.chance, "prior-only guesser": a.prior},
                caption=f"ViT {tower}: right answers, %; {PLUS_MINUS} Camera and captioning (a "
                "generated caption, read by rules) are no part of the average; forms are over the "
                f"five aspects. Learnt aspects: {', '.join(a.learnt) or 'none'}. Unseen: questions "
                "about combinations of shape, colour and motion that training never showed.",
            )


def reliance_table(page: AnyPage, a: Analysis) -> None:
    """Whether answers come from the video, and what generated captions make up."""
    heads = {
        "average": "right video",
        "wrong": "wrong video",
        "none": "no video",
        "reliance/wrong": "right − wrong",
        "reliance/none": "right − none",
        "yes_bias": "yes-bias",
        "events/false": "false events",
        "events/missing": "missing events",
    }
    _measure_table(
        page,
        main_rows(a),
        heads,
        others={},
        caption="The average with the right video, with another one and with a blank grid, %; "
        f"{PLUS_MINUS} Yes-bias: yeses said minus yeses true. False events: of those that "
        "generated captions tell; missing events: of those that happen.",
    )


def _measure_table(
    page: AnyPage,
    own: Sequence[Row],
    heads: Mapping[str, str],
    *,
    others: Mapping[str, Mapping[str, float]],
    caption: str,
) -> None:
    """Measures (rows) of rows of the design (columns), then of `others`, where they have any."""
    others = {name: values for name, values in others.items() if values}
    rows = [["seeds", *(str(len(row.seeds)) for row in own), *("–" for _ in others)]]
    for measure, head in heads.items():
        sign = measure.startswith(("reliance", "yes"))
        cells = [shown(row.measures.get(measure), sign=sign) for row in own]
        rows.append([head, *cells, *(percent(v.get(measure)) for v in others.values())])
    page.table(
        ["", *(row.design.name for row in own), *others],
        rows,
        caption=caption,
        align="l" + "r" * (len(own) + len(others)),
    )


def cell_table(page: AnyPage, a: Analysis) -> None:
    """Every aspect by form for the unlocked main arms."""
    own = [row for arm in MAIN if (row := a.row(arm))]
    names = {f"cell/{x}/{f}": f"{x} {form_name(f)}" for x in ASPECTS for f in ASKED}
    rows = [
        [
            name,
            *(shown(row.measures.get(n)) for row in own),
            percent(a.chance.get(n)),
            percent(a.prior.get(n)),
        ]
        for n, name in names.items()
        if any(n in row.measures for row in own)
    ]
    page.table(
        ["aspect, form", *(row.design.name for row in own), "chance", "prior-only"],
        rows,
        caption=f"Right answers by aspect and form, %; {PLUS_MINUS}",
        align="l" + "r" * (len(own) + 2),
    )


def control_table(page: AnyPage, a: Analysis) -> None:
    """The controls beside chance, the prior-only guesser, the text-only model and wrong videos."""
    arms = [*MAIN, "vqa_passes", "long_static", "shuffled", "text_only", "detailed_short_tokens"]
    rows = []
    for arm in [*arms, "captioner"]:
        if row := a.row(arm):
            tokens = _tokens(row)
            rows.append(
                [title(row), str(len(row.seeds)), shown(row.measures.get("average")), *tokens]
            )
    marked = len(rows)
    for name, value in (("chance", a.chance), ("prior-only guesser", a.prior)):
        rows.append([name, "–", percent(value.get("average")), "–", "–"])
    blind = a.row("blind")
    text_only = shown(blind.measures.get("average")) if blind else a.absent
    seeds = str(len(blind.seeds)) if blind else "0"
    rows.append([TITLES["blind"], seeds, text_only, *(_tokens(blind) if blind else "––")])
    if reference := a.row("detailed"):
        for measure, name in (("wrong", "another video"), ("none", "no video")):
            value = shown(reference.measures.get(measure))
            label = f"VQA + detailed captions, asked about {name}"
            rows.append([label, str(len(reference.seeds)), value, "–", "–"])
    page.table(
        ["unlocked ViT", "seeds", "average, %", "caption tokens", "VQA tokens"],
        rows,
        caption=f"Controls, and what is right without the video (marked); {PLUS_MINUS} Tokens: "
        "trained on in a run, mean over seeds.",
        align="lrrrr",
        highlight=range(marked, len(rows)),
    )


def _tokens(row: Row) -> list[str]:
    found = []
    for kind in ("captions", "vqa"):
        told = [tokens for run in row.runs if (tokens := run.row.get("trained_tokens"))]
        known = [tokens.get(kind, 0) for tokens in told]  # an arm without captions has no such part
        found.append(f"{sum(known) / len(known):,.0f}" if known else "n/a")
    return found
