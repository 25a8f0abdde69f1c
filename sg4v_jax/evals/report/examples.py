"""Right and wrong answers, beside the frames of the video that they are about."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from sg4v_jax import files
from sg4v_jax.errors import RecordError, Sg4vError
from sg4v_jax.evals.report.runs import Row, Run, task_title
from sg4v_jax.evals.score import load_questions
from sg4v_jax.report.html import Card
from sg4v_jax.video.decode import sample_frames
from sg4v_jax.video.grid import make_grid

EACH = 4  # right ones, and as many wrong ones
LONGEST = 400  # pixels of a grid
PICTURE_BUDGET = 1_400_000  # bytes of JPEG a page; base64 and the rest keep it under 3 MB
_BAND, _FRAMES, _TEXT = 4, 16, 400


def choose(run: Run, *, each: int = EACH) -> list[Row]:
    """`each` rows that are right, then as many that are not; tasks in turn, no video twice.

    Where videos run out, some come again. Where nothing is rated, `each` rows as they come.
    """
    chosen: list[Row] = []
    if not any(r.rating is not None and not r.missing for r in run.rows):
        return _spread([r for r in run.rows if not r.missing], each=each, seen=set())
    for right in (True, False):
        pool = [r for r in run.rated() if not r.missing and is_right(r, run) == right]
        chosen += _spread(pool, each=each, seen={_name(r) for r in chosen})
    return chosen


def is_right(row: Row, run: Run) -> bool:
    """Whether a row counts as right: rated 1, or 3 and more of 5."""
    return row.rating is not None and row.rating >= (1 if run.scale == 100 else 3)


def _spread(pool: Sequence[Row], *, each: int, seen: set[str]) -> list[Row]:
    """Up to `each` rows: round by round one of each task, videos not seen yet first."""
    by_task: dict[str, list[Row]] = {}
    for row in pool:
        by_task.setdefault(row.task, []).append(row)
    found: list[Row] = []
    while len(found) < each and any(by_task.values()):
        for rows in by_task.values():
            if not rows or len(found) >= each:
                continue
            row = next((r for r in rows if _name(r) not in seen), rows[0])
            rows.remove(row)
            seen.add(_name(row))
            found.append(row)
    return found


def _name(row: Row) -> str:
    """The video's file name: sets may hold copies of one video in several folders."""
    return os.path.basename(row.video)


class View(NamedTuple):
    """A part of a video, in seconds, and the frames a second where the video does not say."""

    bounds: tuple[float, float]
    fps: float | None


class Pictures:
    """Grids of videos below the data folders, within a budget of bytes for a whole page.

    Args:
      folders: where videos are looked for, in order.
    """

    def __init__(self, folders: Sequence[str | os.PathLike], *, budget: int = PICTURE_BUDGET):
        self._folders, self._left = list(folders), budget
        self.problems: list[str] = []

    def of(self, video: str, *, view: View | None = None) -> bytes | None:
        """A JPEG of 16 frames of `video`, None where it is not there or the budget is spent.

        Args:
          view: the part of it that a question is about, and the rate of a folder of frames.
        """
        if self._left <= 0:
            return None
        try:
            path = self._find(video)
            if path is None:
                return None
            shown = {"rule": "mvbench", **view._asdict()} if view else {}
            frames = sample_frames(path, n=_FRAMES, **shown).frames
            grid = make_grid(frames, band=_BAND, longest_side=LONGEST)
        except Sg4vError as e:
            self.problems.append(e.message)
            return None
        content = io.BytesIO()
        Image.fromarray(grid).save(content, "JPEG", quality=82, optimize=True)
        self._left -= len(content.getvalue())
        return content.getvalue()

    def views(self, run: Run) -> dict[str, View]:
        """By question id, the parts of videos that questions are about (MVBench alone has such)."""
        found = {}
        for folder in self._folders if run.benchmark == "mvbench" else ():
            try:
                questions = load_questions(run.benchmark, data=folder).questions
            except Sg4vError:
                continue  # the folder of another benchmark, or of videos alone
            found |= {q.id: View(q.bounds, q.fps) for q in questions if q.bounds}
        return found

    def _find(self, video: str) -> str | None:
        for folder in self._folders:
            try:
                path = files.safe_join(folder, video, where="example")
            except RecordError:
                continue
            if os.path.exists(path):
                return path
        return None


def cards(run: Run, others: Sequence[Run], *, pictures: Pictures) -> tuple[list[Card], list[Row]]:
    """Cards of chosen rows of `run`, with what `others` answered; and rows without a picture."""
    answers = {other.name: {r.id: r for r in other.rows} for other in others}
    views = pictures.views(run)
    found, bare = [], []
    for row in choose(run):
        picture = pictures.of(row.video, view=views.get(row.id))
        if picture is None:
            bare.append(row)
            continue
        facts: dict[str, object] = {
            "question": _cut(row.question),
            "right answer": _cut(row.gold) or "–",
            run.name if others else "given": _cut(row.prediction) or "(nothing)",
        }
        for other in others:
            if (own := answers[other.name].get(row.id)) is not None:
                sign = "✓" if is_right(own, other) else "✗"
                facts[other.name] = f"{sign} {_cut(own.prediction) or '(nothing)'}"
        right = None if row.rating is None else is_right(row, run)
        words = ("right", "wrong") if run.scale == 100 else (f"rated {row.rating or 0:g} of 5",) * 2
        found.append(
            Card(
                picture=picture,
                alt=f"16 frames of {os.path.basename(row.video)}, row by row",
                facts=facts,
                right=right,
                words=words,
                title=task_title(row.task) + (f": {row.group}" if row.group else ""),
            )
        )
    return found, bare


def _cut(text: str | None) -> str:
    text = (text or "").strip()
    return text if len(text) <= _TEXT else text[: _TEXT - 1].rstrip() + "…"
