"""What the numbers say, in words that follow from them alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sg4v_jax.study.accuracy import ASKED, form_name
from sg4v_jax.study.analysis import Analysis
from sg4v_jax.study.contrasts import INTERACTION, Contrast
from sg4v_jax.study.gates import BAR
from sg4v_jax.study.measures import Mean

BETTER, WORSE, NONE, OPEN = "better", "worse", "no detectable difference", "open"
SIDES = {BETTER: "above zero", WORSE: "below zero", NONE: NONE}  # where there is no better or worse


def outcome(contrast: Contrast) -> str:
    """One of BETTER, WORSE, NONE, and OPEN where no test could be made."""
    if contrast.difference is None or not math.isfinite(contrast.p):
        return OPEN
    if contrast.kind == "primary" and contrast.holm is None:
        return OPEN
    if not contrast.significant:
        return NONE
    return BETTER if contrast.difference.mean > 0 else WORSE


def headline(a: Analysis) -> str:
    """The verdict in one line."""
    lacking = [c for c in a.primary if c.missing or c.difference is None]
    if a.incomplete and lacking:
        return f"No verdict yet ({a.incomplete})."
    if lacking:
        return "No verdict: the results lack runs of the primary comparisons."
    if a.trained is False:
        return "Under-trained: the run cannot tell whether captions matter."
    if a.trained is None:
        return "No verdict: the results have no caption slots, so that the gate cannot be judged."
    found = {c.name: outcome(c) for c in a.primary}
    if OPEN in found.values():
        return "No verdict: one seed gives no interval and no test."
    against = {name.split(" − ")[1].split(",")[0]: said for name, said in found.items()}
    partly = [f"{said} against {other}" for other, said in against.items()]
    if set(against.values()) == {BETTER}:
        line = "Detailed captions beat both short captions and none."
    elif set(against.values()) == {NONE}:
        line = "No detectable difference between detailed captions, short ones and none."
    elif set(against.values()) == {WORSE}:
        line = "Detailed captions do worse than short captions and than none."
    else:
        line = f"Detailed captions: {', '.join(partly)}."
    return f"{line} ({a.incomplete}.)" if a.incomplete else line


def verdict(a: Analysis) -> list[str]:
    """The headline, then a paragraph for each thing that a reader must know with it."""
    said = [headline(a)]
    if a.missing:
        said.append(
            f"{a.incomplete[:1].upper()}{a.incomplete[1:]}. What is missing is left out, never "
            "filled in; numbers may change."
        )
    if a.trained is False:
        said.append(
            f"The detailed arm gets {a.verbs.mean:.1%} of the event verbs of development captions "
            f"right, not above {BAR:.0%}. Events are learnt all at once: before that every arm looks "
            "alike. Differences below are shown, and prove nothing either way."
        )
    tests = [_test(c, claim=claims(a)) for c in a.primary if c.difference is not None]
    if tests:
        said.append(" ".join(tests))
    if claims(a) and (doubts := [c.name for c in a.primary if _bootstrap_disagrees(c)]):
        said.append(
            f"The bootstrap over seeds and videos does not agree for {' and '.join(doubts)}: "
            "hold that result for weak."
        )
    said += _aspects(a)
    said += _forms(a)
    said += _secondary(a)
    said += _controls(a)
    return said


def claims(a: Analysis) -> bool:
    """Whether a primary difference may be read as a result: gate passed, nothing of it missing."""
    return a.trained is True and not any(c.missing or c.difference is None for c in a.primary)


def _test(c: Contrast, *, claim: bool) -> str:
    d, found = c.difference, outcome(c)
    value = f"{c.name}: {points(d.mean)} points"
    if found == OPEN:
        more = "no interval and no test" if d.n < 2 else f"{interval(d)}, test not made"
        return f"{value} ({d.n} {'seed' if d.n == 1 else 'seeds'}; {more})."
    p = f"p {p_value(c.holm)} after Holm" if c.holm is not None else f"p {p_value(c.p)}"
    line = f"{value}, 95 % interval {interval(d)}, {p}, {d.n} seeds"
    line += f": {found}." if claim else "; no claim is made."
    if claim and found == NONE:
        line += (
            f" A true difference of {100 * c.detectable:.1f} points would have been found four "
            "times in five; a smaller one may exist."
        )
    return line


def _bootstrap_disagrees(c: Contrast) -> bool:
    low, high = c.bootstrap
    return outcome(c) in (BETTER, WORSE) and math.isfinite(low) and low <= 0 <= high


def _aspects(a: Analysis) -> list[str]:
    """Which aspects were not learnt, and the primary differences without them."""
    out = [g.aspect for g in a.gates if g.learnt is False]
    unknown = [g.aspect for g in a.gates if g.learnt is None]
    lines = []
    if out:
        line = f"Not learnt: {', '.join(out)}."
        without = [
            f"{c.name} {points(m.mean)} {interval(m)}"
            for c in a.primary
            if (m := c.parts.get("average_learnt"))
        ]
        if without:
            line += f" Over the aspects that were learnt alone: {'; '.join(without)}."
        elif not a.learnt:
            line += " None of the five passes, so that there is no average without them."
        lines.append(line)
    if unknown:
        lines.append(f"Whether it was learnt cannot be told: {', '.join(unknown)}.")
    return lines


def _forms(a: Analysis) -> list[str]:
    """Forms of question in which no primary difference was found, where there are others."""
    if not claims(a):
        return []
    flat = []
    for form in ASKED:
        parts = [m for c in a.primary if (m := c.parts.get(f"form/{form}")) and m.n > 1]
        if len(parts) == len(a.primary) and all(m.low <= 0 <= m.high for m in parts):
            flat.append(form_name(form))
    if not flat or len(flat) == len(ASKED):
        return []
    return [f"No detectable difference of either kind in the form: {', '.join(flat)}."]


def _controls(a: Analysis) -> list[str]:
    """What the controls say about why: every one of them, found or not."""
    if a.trained is not True:
        return []
    found = {side: list(_names(a, said)) for said, side in SIDES.items()}
    told = [f"{side}: {', '.join(names)}" for side, names in found.items() if names]
    return [f"Controls, uncorrected; {'; '.join(told)}."] if told else []


def _names(a: Analysis, said: str) -> Iterator[str]:
    for c in a.contrasts:
        whole = c.difference is not None and not c.missing
        if c.kind == "control" and whole and outcome(c) == said:
            yield f"{c.name} ({points(c.difference.mean)})"


def _secondary(a: Analysis) -> list[str]:
    """The interaction with unlocking, named as what it is."""
    found = next((c for c in a.contrasts if c.name == INTERACTION), None)
    if found is None or found.difference is None or found.missing or a.trained is not True:
        return []
    d = found.difference
    if d.n < 2:
        return []
    sense = {
        BETTER: "unlocking helps more with detailed captions",
        WORSE: "unlocking helps less with detailed captions",
        NONE: "no detectable interaction with unlocking",
    }[outcome(found)]
    told = f"detailed − vqa, unlocked minus frozen: {points(d.mean)} points, {interval(d)}"
    return [f"Secondary, uncorrected: {sense} ({told}, p {p_value(found.p)})."]


def points(share: float) -> str:
    """A difference of shares as points, signed: `+8.3`, `−0.4`."""
    return f"{round(100 * share, 1) + 0.0:+.1f}".replace("-", "−")  # 0.0 has no minus


def interval(mean: Mean) -> str:
    """`[+5.2, +11.4]`, or `[no interval]` for one seed."""
    if not math.isfinite(mean.low):
        return "[no interval]"
    return f"[{points(mean.low)}, {points(mean.high)}]"


def p_value(p: float | None) -> str:
    """`0.007`, `< 0.001`, `–` where there is none."""
    if p is None or not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
