"""What a caption tells of a video's events, as counts and as scores with intervals.

Whoever reads the caption (the world's parser, a judge) says for each event that it tells, in the
order told, which true event that is, or None if the video has no such event. All scores follow
from that list.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sg4v_jax.errors import RecordError
from sg4v_jax.report import bootstrap, stats

MEANING = {
    "recall": "share of true events that are told rightly",
    "precision": "share of told events that are true",
    "order": "share of pairs of true events that are both told, and in the right order",
    "exact": "share of captions that tell all events in order and nothing else",
    "details": "share of the facts about true events (direction, speed, from, to) that are told",
    "hallucination": "share of captions that tell of something that does not happen",
}
_RATIOS = {
    "recall": ("right", "true"),
    "precision": ("right", "told"),
    "order": ("ordered", "pairs"),
    "exact": ("exact", "captions"),
    "details": ("facts_told", "facts"),
    "hallucination": ("astray", "captions"),
}


@dataclasses.dataclass(frozen=True)
class EventCounts:
    """One caption: `told` events, those of them that are `right`, and the `true` events.

    `pairs` of true events, and those told in `order`; whether it is `exact`; `facts` about the
    true events and those told (0 of 0 where nobody reads them).
    """

    told: int
    right: int
    true: int
    pairs: int
    ordered: int
    exact: int
    facts: int = 0
    facts_told: int = 0

    @property
    def astray(self) -> int:
        """1 if the caption tells of something that does not happen."""
        return int(self.told > self.right)

    @property
    def captions(self) -> int:
        """1: the caption itself."""
        return 1


def count_events(
    told: Sequence[int | None], *, true: int, facts: int = 0, facts_told: int = 0
) -> EventCounts:
    """Counts of a caption that tells of events `told`, out of events 0..true-1 in order of time.

    An event told again counts once, where it is first told. Of three events, the last told first,
    then one that does not happen, then the first twice:

        count_events([2, None, 0, 0], true=3)
            -> told 3, right 2, true 3, pairs 3 (0-1, 0-2, 1-2), ordered 0, exact 0

    Raises:
      RecordError: an index that is none of the true events.
    """
    wrong = [index for index in told if index is not None and not 0 <= index < true]
    if wrong:
        raise RecordError(f"event {wrong[0]} of {true} events", mend="count events from 0")
    right = list(dict.fromkeys(index for index in told if index is not None))
    place = {index: number for number, index in enumerate(right)}
    pairs = list(itertools.combinations(range(true), 2))
    ordered = sum(a in place and b in place and place[a] < place[b] for a, b in pairs)
    untrue = sum(index is None for index in told)
    exact = int(not untrue and right == list(range(true)))
    return EventCounts(
        len(right) + untrue, len(right), true, len(pairs), ordered, exact, facts, facts_told
    )


def event_scores(
    counts: Mapping[str, EventCounts],
    *,
    clusters: Mapping[str, str] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, stats.Estimate]:
    """Scores over captions by id, with 95 % intervals that resample videos.

    Each is a ratio of sums (see `MEANING`); one that has nothing to divide by (details that no
    one reads, precision where nothing is told) is left out.

    Args:
      counts: of each caption.
      clusters: caption id -> video, where several captions share a video.
      draws, seed: of the bootstrap.

    Raises:
      RecordError: no captions.
    """
    if not counts:
        raise RecordError("no captions to score", mend="give captions of the videos of the truth")
    groups = [(clusters or {}).get(name, name) for name in counts]
    scores = {}
    for name, (above, below) in _RATIOS.items():
        columns = [[getattr(c, above), getattr(c, below)] for c in counts.values()]
        if sum(column[1] for column in columns):
            scores[name] = bootstrap.cluster_bootstrap(
                columns, groups, statistic=_ratio, draws=draws, seed=seed
            )
    return scores


def as_json(estimate: stats.Estimate) -> dict[str, float | int | None]:
    """An estimate as JSON values; None where there is no interval."""
    values = dataclasses.asdict(estimate)
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def _ratio(means: np.ndarray) -> np.ndarray:
    """f64[m,2] -> f64[m]; a draw without anything below the line is left to nan."""
    result = np.full(len(means), math.nan)
    np.divide(means[:, 0], means[:, 1], out=result, where=means[:, 1] > 0)
    return result
