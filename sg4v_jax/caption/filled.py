"""Filled comparison sheets and their key -> points, wins, intervals and a sign test."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax import files
from sg4v_jax.caption.compare import CRITERIA, SIDES
from sg4v_jax.caption.event_scores import as_json
from sg4v_jax.errors import RecordError
from sg4v_jax.report import bootstrap, stats


@dataclasses.dataclass(frozen=True)
class Judgement:
    """One rater on one video: points for A and for B, 0 or 1 for each of `CRITERIA`."""

    rater: str
    video: str
    a: tuple[int, ...]
    b: tuple[int, ...]


def read_key(name: str | os.PathLike) -> dict[str, Any]:
    """A key file.

    Raises:
      RecordError: it is missing or is no key.
    """
    key = files.read_json(name)
    good = isinstance(key, dict) and {"sheet", "a", "b", "items"} <= set(key)
    if not good or not all(e.get("left") in ("a", "b") and "id" in e for e in key["items"]):
        raise RecordError(f"{name}: not the key of a sheet", mend="give the .key.json file")
    return key


def read_filled(name: str | os.PathLike, *, key: Mapping[str, Any]) -> list[Judgement]:
    """The judgements of one filled sheet, unblinded.

    Raises:
      RecordError: it belongs to another sheet, or a field has a value that no rater can give.
    """
    value = files.read_json(name)
    if not isinstance(value, dict) or not isinstance(value.get("answers"), dict):
        raise RecordError(f"{name}: not a filled sheet", mend="give files saved from the page")
    if value.get("sheet") != key["sheet"]:
        raise RecordError(
            f"{name}: belongs to sheet {value.get('sheet')!r:.40}, the key to {key['sheet']!r}",
            mend="give the key that was made with this sheet",
        )
    rater = value.get("rater")
    if not isinstance(rater, str) or not rater.strip():
        raise RecordError(f"{name}: field 'rater': {rater!r:.40}", mend="name who judged")
    judgements = []
    for number, answer in value["answers"].items():
        where = f"{name}: item {number}"
        if not number.isdecimal() or not 1 <= int(number) <= len(key["items"]):
            raise RecordError(f"{where}: the sheet has items 1 to {len(key['items'])}")
        entry = key["items"][int(number) - 1]
        left, right = (_points(answer, side, where=where) for side in SIDES)
        a, b = (left, right) if entry["left"] == "a" else (right, left)
        judgements.append(Judgement(rater.strip(), entry["id"], a, b))
    return judgements


def read_all(names: Sequence[str], *, key: Mapping[str, Any]) -> list[Judgement]:
    """The judgements of several filled sheets.

    Raises:
      RecordError: as `read_filled`; no judgement at all, or one rater in two files.
    """
    found = [judgement for name in names for judgement in read_filled(name, key=key)]
    if not found:
        raise RecordError("no video is judged", mend="give sheets that are filled")
    (first, times), *_ = Counter((j.rater, j.video) for j in found).most_common(1)
    if times > 1:
        raise RecordError(
            f"rater {first[0]!r} judged video {first[1]!r} {times} times",
            mend="give each rater's last file only, and raters names of their own",
        )
    return found


def compare_scores(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """What the judgements say, for each criterion and in all (0 to 3 points).

    `a`, `b`: mean points. `difference`: A minus B with a 95 % interval that resamples videos.
    `wins`, `ties`, `losses` of A: videos, by the sum over their raters, as raters of one video
    are not independent. `win_share`: of the decided videos, with Wilson's interval. `p`: of the
    two-sided sign test; `p_holm`: the three criteria's adjusted for being three. `agreement`:
    how often two raters of a video agree on who has more points, or that neither has.
    """
    rows = {
        name: _one([j.a[place] for j in judgements], [j.b[place] for j in judgements], judgements)
        for place, name in enumerate(CRITERIA)
    }
    for row, adjusted in zip(
        rows.values(), stats.holm([r["p"] for r in rows.values()]), strict=True
    ):
        row["p_holm"] = float(adjusted)
    total = _one([sum(j.a) for j in judgements], [sum(j.b) for j in judgements], judgements)
    return {
        "raters": len({j.rater for j in judgements}),
        "videos": len({j.video for j in judgements}),
        "judgements": len(judgements),
        "agreement": _agreement(judgements),
        "total": total,
        "criteria": rows,
    }


def _points(answer: Any, side: str, *, where: str) -> tuple[int, ...]:
    points = answer.get(side) if isinstance(answer, dict) else None
    good = isinstance(points, list) and len(points) == len(CRITERIA)
    if not good or any(type(p) is not int or p not in (0, 1) for p in points):
        raise RecordError(
            f"{where}: field {side!r}: {points!r:.40}",
            mend=f"give a list of {len(CRITERIA)} values, 0 or 1",
        )
    return tuple(points)


def _one(a: Sequence[int], b: Sequence[int], judgements: Sequence[Judgement]) -> dict[str, Any]:
    videos = [j.video for j in judgements]
    by_video: Counter[str] = Counter()
    for video, x, y in zip(videos, a, b, strict=True):
        by_video[video] += x - y
    wins, losses = (sum(sign * d > 0 for d in by_video.values()) for sign in (1, -1))
    decided = wins + losses
    return {
        "a": float(np.mean(a)),
        "b": float(np.mean(b)),
        "difference": as_json(bootstrap.paired_cluster_bootstrap(a, b, videos, seed=0)),
        "wins": wins,
        "ties": len(by_video) - decided,
        "losses": losses,
        "win_share": as_json(stats.wilson(wins, decided)) if decided else None,
        "p": stats.mcnemar_exact(wins, losses),
    }


def _agreement(judgements: Sequence[Judgement]) -> float | None:
    """Share of pairs of raters of one video with the same sign; None for single raters."""
    by_video: dict[str, list[int]] = {}
    for j in judgements:
        by_video.setdefault(j.video, []).append(int(np.sign(sum(j.a) - sum(j.b))))
    pairs = [x == y for signs in by_video.values() for x, y in itertools.combinations(signs, 2)]
    return float(np.mean(pairs)) if pairs else None
