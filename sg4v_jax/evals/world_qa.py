"""Questions about world videos: items, controls and scores. No model here.

Two controls tell whether a score comes from seeing the video and its order:
`other_video` gives each question the video of another question of its kind, `shuffled_frames`
keeps the video but shuffles the 16 frames inside the grid.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.report.bootstrap import cluster_bootstrap
from sg4v_jax.report.stats import Estimate
from sg4v_jax.world.parse import match_answer

CONDITIONS = ("as_filmed", "other_video", "shuffled_frames")


@dataclasses.dataclass(frozen=True)
class Item:
    """One question about one video."""

    id: str
    video: str  # path of the file that it is about
    group: str  # 'temporal': no single frame and no unordered set of frames answers it
    kind: str
    text: str
    options: tuple[str, ...]
    answer: str


def load_items(folder: str | os.PathLike) -> list[Item]:
    """The questions of a folder made by `sg4v world make`.

    Raises:
      RecordError: `questions.jsonl` is missing or a line lacks a field.
    """
    name = files.path(folder) / "questions.jsonl"
    items = []
    for number, row in enumerate(files.read_jsonl(name), 1):
        try:
            items.append(
                Item(
                    id=row["id"],
                    video=files.safe_join(folder, row["video"], where=f"{name}: line {number}"),
                    group=row["group"],
                    kind=row["kind"],
                    text=row["text"],
                    options=tuple(row["options"]),
                    answer=row["answer"],
                )
            )
        except KeyError as e:
            raise RecordError(f"{name}: line {number}: no field {e}") from e
    return items


def videos_shown(items: Sequence[Item], *, condition: str, seed: int) -> list[str]:
    """Which video each question is shown: its own, or another question's of the same kind.

    >>> videos_shown([a_of_v1, b_of_v2], condition="other_video", seed=0)  # same kind
    ['v2', 'v1']
    """
    if condition != "other_video":
        return [item.video for item in items]
    rng = np.random.default_rng([seed, 1])
    shown = [item.video for item in items]
    for kind in sorted({item.kind for item in items}):
        members = [i for i, item in enumerate(items) if item.kind == kind]
        ring = rng.permutation(len(members))
        # Each takes the next one's on a random ring, passing over questions on its own video.
        for at, number in enumerate(ring):
            own = items[members[number]].video
            others = (items[members[j]].video for j in np.roll(ring, -at - 1))
            shown[members[number]] = next((v for v in others if v != own), own)
    return shown


def frame_order(video: str, *, frames: int, condition: str, seed: int) -> np.ndarray:
    """The order in which a video's frames stand in the grid; the same for all its questions."""
    if condition != "shuffled_frames":
        return np.arange(frames)
    name = [ord(c) for c in os.path.basename(video)]
    return np.random.default_rng([seed, 2, *name]).permutation(frames)


def hits(items: Sequence[Item], answers: Sequence[str]) -> np.ndarray:
    """f64[items]: 1 where the answer names the right option and no other, else 0."""
    right = [
        (number := match_answer(answer, item.options)) is not None
        and item.options[number] == item.answer
        for item, answer in zip(items, answers, strict=True)
    ]
    return np.array(right, np.float64)


@dataclasses.dataclass(frozen=True)
class Score:
    """Accuracy on some items, its interval over videos, and the chance of a blind guess."""

    name: str
    estimate: Estimate
    chance: float

    @property
    def verdict(self) -> str:
        """What the interval says about chance."""
        if self.estimate.low > self.chance:
            return "above chance"
        return "below chance" if self.estimate.high < self.chance else "at chance"


def score(items: Sequence[Item], right: np.ndarray, *, name: str, seed: int = 0) -> Score:
    """Accuracy with a 95 % bootstrap interval over videos: questions of one video depend."""
    estimate = cluster_bootstrap(right, np.array([i.video for i in items]), seed=seed)
    return Score(name, estimate, float(np.mean([1 / len(i.options) for i in items])))


def scores_by(items: Sequence[Item], right: np.ndarray, *, field: str) -> list[Score]:
    """`score` for each value of an item's `field`, in order of appearance."""
    names = list(dict.fromkeys(getattr(item, field) for item in items))
    out = []
    for name in names:
        member = np.array([getattr(item, field) == name for item in items])
        chosen = [item for item, m in zip(items, member, strict=True) if m]
        out.append(score(chosen, right[member], name=name))
    return out
