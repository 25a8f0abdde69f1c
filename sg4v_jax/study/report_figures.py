"""The charts of a study's report."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from sg4v_jax.report.plot import Interval, Series, interval_chart, line_chart
from sg4v_jax.study import doses
from sg4v_jax.study.accuracy import ASKED, FIVE, form_name
from sg4v_jax.study.analysis import Analysis
from sg4v_jax.study.contrasts import Contrast
from sg4v_jax.study.measures import Mean
from sg4v_jax.study.report_tables import TITLES, AnyPage, main_rows, title


def scores(page: AnyPage, a: Analysis) -> None:
    """The averages of the main arms beside what is right without the video."""
    blind = max((v["average"] for v in (a.chance, a.prior) if "average" in v), default=None)
    reference = None if blind is None else 100 * blind
    rows = [
        _row(title(row), mean, reference=reference)
        for row in main_rows(a)
        if (mean := row.measures.get("average"))
    ]
    if not rows:
        return
    page.figure(
        interval_chart(
            rows,
            title="Average of the five aspects",
            x_label="% right",
            reference_name="without video",
            value_format=".1f",
        ),
        caption="95 % t intervals over seeds. Without video: the better of chance and the "
        "prior-only guesser. Intervals of two arms may overlap where the paired difference is clear.",
        alt=_alt(rows),
    )


def differences(page: AnyPage, contrasts: Iterable[Contrast], *, name: str) -> None:
    """Paired differences of the average, a row each; nothing where there is none."""
    rows = [_row(c.name, c.difference, reference=0.0) for c in contrasts if c.difference]
    if rows:
        page.figure(_signed_chart(rows, name=name), caption=_SIGNED, alt=_alt(rows))


def parts(page: AnyPage, contrast: Contrast) -> None:
    """One difference by aspect and form."""
    names = [(f"aspect/{x}", x) for x in (*FIVE, "camera")]
    names += [(f"form/{f}", f"form: {form_name(f)}") for f in ASKED]
    names += [("captioning", "form: captioning"), ("unseen", "unseen combinations")]
    names.insert(0, ("average_learnt", "average of learnt aspects"))
    rows = [
        _row(name, contrast.parts[key], reference=0.0)
        for key, name in names
        if key in contrast.parts
    ]
    if rows:
        rows.insert(0, _row("average", contrast.difference, reference=0.0))
        chart = _signed_chart(rows, name=f"{contrast.name}, part by part")
        page.figure(chart, caption=f"{_SIGNED} Uncorrected.", alt=_alt(rows))


_SIGNED = "Paired by seed, with 95 % t intervals over seeds."


def _signed_chart(rows: list[Interval], *, name: str):
    return interval_chart(
        rows, title=name, x_label="points", reference_name="zero", value_format="+.1f"
    )


def losses(page: AnyPage, a: Analysis) -> None:
    """Training loss by step for the unlocked main arms, then the frozen ones."""
    for tower in ("unlocked", "frozen"):
        own = [(r, a.losses.get(r.design.name)) for r in main_rows(a) if r.design.tower == tower]
        lines = [
            Series(TITLES.get(r.design.arm, r.design.arm), *np.array(loss, np.float64).T)
            for r, loss in own
            if loss
        ]
        if lines:
            page.figure(
                line_chart(
                    lines,
                    title=f"Training loss, ViT {tower}",
                    x_label="step",
                    y_label="loss",
                    y_log=all((line.y > 0).all() for line in lines),
                ),
                caption="Mean over seeds. Arms train on different texts: levels do not compare.",
                alt="; ".join(f"{s.name} ends at {s.y[-1]:.2f}" for s in lines),
            )


def dose_curves(page: AnyPage, a: Analysis) -> None:
    """One chart for each kind of dose; the captioner's point on the curves of its errors."""
    for kind in dict.fromkeys(curve.kind for curve in a.curves):
        own = [curve for curve in a.curves if curve.kind == kind]
        lines = [_curve(curve) for curve in own]
        notes = "The band is the 95 % t interval over seeds."
        for p in (p for p in a.predictions if p.kind == kind):
            x, beyond = 100 * p.rate.mean, "" if p.inside else ", beyond the curve"
            lines.append(Series("captioner: got", [x], [100 * p.got.mean]))
            lines.append(Series("captioner: predicted", [x], [100 * p.predicted.mean]))
            notes += (
                f" The captioner's captions were measured at {x:.0f}\u00a0%{beyond}; the curve predicts "
                f"{100 * p.predicted.mean:.1f}, it got {100 * p.got.mean:.1f}. Its captions have "
                "errors of both kinds; each curve knows one."
            )
        if whole := [p.x for curve in own for p in curve.points if p.dose == "all"]:
            notes += f" All sentences are drawn as {whole[0]:.3g}."
        page.figure(
            line_chart(
                lines,
                title=f"Average by dose: {doses.TITLES[kind]}",
                x_label=doses.TITLES[kind],
                y_label="average of the five aspects, %",
            ),
            caption=notes,
            alt="; ".join(
                f"{s.name}: "
                + ", ".join(f"{y:.1f} at {x:g}" for x, y in zip(s.x, s.y, strict=True))
                for s in lines
            ),
        )


def _curve(curve: doses.Curve) -> Series:
    scale = 100.0 if curve.kind in ("omission", "false") else 1.0
    x = [scale * p.x for p in curve.points]
    mean = [100 * p.score.mean for p in curve.points]
    band = None
    if all(math.isfinite(p.score.low) for p in curve.points):
        band = (
            [100 * p.score.low for p in curve.points],
            [100 * p.score.high for p in curve.points],
        )
    name = f"{TITLES.get(curve.arm, curve.arm)}, {curve.tower}"
    return Series(name if curve.path == "grid" else f"{name}, {curve.path}", x, mean, band)


def _row(name: str, mean: Mean, *, reference: float | None) -> Interval:
    return Interval(name, 100 * mean.mean, 100 * mean.low, 100 * mean.high, reference)


def _alt(rows: Iterable[Interval]) -> str:
    return "; ".join(f"{row.name} {row.value:.1f}" for row in rows)
