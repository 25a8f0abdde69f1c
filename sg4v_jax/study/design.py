"""The design of a study: which arms are trained, how often, with which data.

An arm is what a model trains on beside the questions that all arms share. A row of the design is
an arm with a tower (frozen or unlocked), a visual path and seeds; a run is one of its seeds.

    runs(config.rows)[0]  ->  Run(arm="vqa", tower="frozen", seed=1, path="grid", group="main")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from sg4v_jax.errors import ConfigError

TOWERS = ("frozen", "unlocked")
PATHS = ("grid", "frames")
GROUPS = ("main", "control", "dose", "captioner", "path", "tuning")
ITEMS = 1600  # questions that most arms train on
BASE = "base"  # stands for an arm where towers of the pre-trained models are told of


@dataclasses.dataclass(frozen=True)
class Arm:
    """What one arm trains on.

    Attributes:
      style: of its captions (`records.caption`), None for questions alone.
      dose: of the style: a share, or a number of sentences.
      kind: the dose curve that it is a point of.
      items: questions in its set.
      blind: shows a blank picture: `captions` for its captions alone, `all` for everything.
      length: share of the steps that others train.
    """

    style: str | None = None
    dose: float = 0.0
    kind: str | None = None
    items: int = ITEMS
    blind: str = ""
    length: float = 1.0

    @property
    def point(self) -> dict[str, Any] | None:
        """Where the arm stands on its dose curve."""
        if self.kind is None:
            return None
        value = self.items if self.kind == "vqa_items" else self.dose
        return {"kind": self.kind, "value": value}


ARMS: Mapping[str, Arm] = {
    "vqa": Arm(),
    # As many passes over the questions as an arm with captions makes, in half of the steps.
    "vqa_passes": Arm(length=0.5),
    "short": Arm("short"),
    "detailed": Arm("detailed"),
    "long_static": Arm("long_static"),
    "shuffled": Arm("shuffled"),
    "text_only": Arm("detailed", blind="captions"),
    # As many tokens as `short`: one or two sentences of the detailed caption, drawn for each video.
    "detailed_short_tokens": Arm("some_sentences"),
    "blind": Arm(blind="all"),  # the trained text-only model
    "sentences_1": Arm("sentences", dose=1, kind="sentences"),
    "sentences_2": Arm("sentences", dose=2, kind="sentences"),
    "sentences_4": Arm("sentences", dose=4, kind="sentences"),
    "omission_25": Arm("omission", dose=0.25, kind="omission"),
    "omission_50": Arm("omission", dose=0.5, kind="omission"),
    "false_10": Arm("false", dose=0.1, kind="false"),
    "false_25": Arm("false", dose=0.25, kind="false"),
    "false_50": Arm("false", dose=0.5, kind="false"),
    "vqa_400": Arm(items=400, kind="vqa_items"),
    "vqa_6400": Arm(items=6400, kind="vqa_items"),
    "detailed_400": Arm("detailed", items=400, kind="vqa_items"),
    "detailed_6400": Arm("detailed", items=6400, kind="vqa_items"),
    "captioner": Arm("captioner"),
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    arm: str
    tower: str
    seed: int
    path: str
    group: str

    @property
    def id(self) -> str:
        """For example `detailed-unlocked-s1`, or `detailed-unlocked-frames-s1`."""
        path = "" if self.path == "grid" else f"-{self.path}"
        return f"{self.arm}-{self.tower}{path}-s{self.seed}"

    @property
    def base(self) -> str:
        """The name of the pre-trained model that it starts from."""
        return f"{self.path}-{self.seed}"


def runs(
    rows: Iterable[Mapping[str, Any]],
    *,
    arms: Iterable[str] = (),
    seeds: Iterable[int] = (),
) -> list[Run]:
    """The runs of a design: its rows in order, each with its seeds.

    Args:
      rows: `{"arm", "tower", "seeds", "group"}`, and `path` where it is not the grid.
      arms, seeds: only these, where given.

    Raises:
      ConfigError: an unknown arm, tower, path or group, a run that stands twice, or a choice that
        leaves nothing.
    """
    rows, arms, seeds = [dict(row) for row in rows], tuple(arms), tuple(seeds)
    known = {row["arm"] for row in rows}
    if unknown := [a for a in arms if a not in known]:
        raise ConfigError(
            f"--arms: {unknown[0]!r} is not in the design", mend=f"use {', '.join(sorted(known))}"
        )
    found: dict[str, Run] = {}
    for row in rows:
        _check(row)
        for seed in row["seeds"]:
            run = Run(row["arm"], row["tower"], seed, row.get("path", "grid"), row["group"])
            if run.id in found:
                raise ConfigError(f"run {run.id} stands twice in the design", mend="leave one out")
            found[run.id] = run
    kept = [
        r for r in found.values() if (not arms or r.arm in arms) and (not seeds or r.seed in seeds)
    ]
    if not kept:
        raise ConfigError("no run is left to make", mend="see --arms, --seeds and config.rows")
    return kept


def _check(row: Mapping[str, Any]) -> None:
    for field, allowed in (
        ("arm", tuple(ARMS)),
        ("tower", TOWERS),
        ("group", GROUPS),
        ("path", PATHS),
    ):
        value = row.get(field, "grid" if field == "path" else None)
        if value not in allowed:
            raise ConfigError(
                f"a row of the design: {field} is {value!r}",
                mend=f"use one of {', '.join(allowed)}",
            )


def sources(run: Run, *, of: Iterable[Run]) -> Run | None:
    """Whose model captions the videos of a `captioner` run: the detailed arm of another seed.

    Its videos are others, so that it captions clips that it has never seen.

    Raises:
      ConfigError: no other seed has such an arm.
    """
    if run.arm != "captioner":
        return None
    others = [
        r
        for r in of
        if (r.arm, r.tower, r.path) == ("detailed", run.tower, run.path) and r.seed != run.seed
    ]
    if not others:
        raise ConfigError(
            f"{run.id}: no detailed arm of another seed captions for it",
            mend="add one to config.rows, or leave the captioner out",
        )
    later = [r for r in others if r.seed > run.seed]
    return min(later or others, key=lambda r: r.seed)
