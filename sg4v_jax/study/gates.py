"""What must hold before a difference may be read: fixed before the runs.

The run as a whole is "under-trained", not "without effect", while the detailed arm does not tell
the event verbs of development captions. An aspect counts as learnt where that arm tells the aspect's
own words, and some arm answers better than without the video.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

from sg4v_jax.study.measures import Mean, Row
from sg4v_jax.study.results import Design
from sg4v_jax.world.aspects.questions import ASPECTS

BAR = 0.8
_ROUNDING = 1e-9  # three times 0.8 have a mean above 0.8
REFERENCE = Design("detailed", "unlocked")
SLOTS = {
    "action": "verb",
    "direction": "direction",
    "speed": "speed",
    "order": "order",
    "attribute": "colour",  # the end's size follows from the words before it
    "camera": "camera",
}


@dataclasses.dataclass(frozen=True)
class Gate:
    """Whether an aspect was learnt; None where that cannot be told.

    Attributes:
      slot: the aspect's words in development captions, detailed arm.
      blind: what is right without the video: the better of chance and the prior-only guesser.
      best: the name of the arm whose interval lies highest.
      interval: that arm's mean.
      reason: why it is not learnt, or cannot be told.
    """

    aspect: str
    learnt: bool | None
    slot: Mean | None
    blind: float | None
    best: str
    interval: Mean | None
    reason: str


def trained(rows: Mapping[Design, Row]) -> tuple[bool | None, Mean | None]:
    """Whether the run as a whole passes, and its verb slots; None without any."""
    row = rows.get(REFERENCE)
    slot = row.measures.get("slot/verb") if row else None
    return (None if slot is None else slot.mean > BAR + _ROUNDING), slot


def gates(
    rows: Mapping[Design, Row], *, chance: Mapping[str, float], prior: Mapping[str, float]
) -> list[Gate]:
    """A gate for each aspect; `rows` of the group "main" are what "some arm" means."""
    arms = [row for row in rows.values() if row.group == "main"]
    reference = rows.get(REFERENCE)
    return [_gate(a, arms, reference, chance=chance, prior=prior) for a in ASPECTS]


def _gate(
    aspect: str,
    arms: Iterable[Row],
    reference: Row | None,
    *,
    chance: Mapping[str, float],
    prior: Mapping[str, float],
) -> Gate:
    measure = f"aspect/{aspect}"
    slot = reference.measures.get(f"slot/{SLOTS[aspect]}") if reference else None
    known = [by[measure] for by in (chance, prior) if measure in by]
    blind = max(known, default=None)
    own = [(r.design.name, r.measures[measure]) for r in arms if measure in r.measures]
    with_interval = [(name, m) for name, m in own if math.isfinite(m.low)]
    best, interval = max(with_interval or own, key=lambda pair: _bound(pair[1]), default=("", None))
    above = None
    if with_interval and blind is not None:
        above = interval.low > blind
    learnt, reason = True, ""
    if slot is not None and slot.mean <= BAR + _ROUNDING:
        learnt, reason = False, f"its words are right in {slot.mean:.1%}, not above {BAR:.0%}"
    elif above is False:
        learnt, reason = False, "no arm's interval lies above what is right without the video"
    elif slot is None or above is None:
        lacks = "slots" if slot is None else "chance" if blind is None else "an interval"
        learnt, reason = None, f"cannot be told: no {lacks}"
    return Gate(aspect, learnt, slot, blind, best, interval, reason)


def _bound(mean: Mean) -> float:
    return mean.low if math.isfinite(mean.low) else mean.mean
