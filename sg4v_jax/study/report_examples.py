"""Videos of the split with what each main arm answered, where arms disagree both ways."""

from __future__ import annotations

import collections
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.report.html import Card
from sg4v_jax.report.plot import png_bytes
from sg4v_jax.study.accuracy import form_name
from sg4v_jax.study.analysis import Analysis
from sg4v_jax.study.report_tables import MAIN, TITLES
from sg4v_jax.study.results import Run, Study

MOST = 6
SIDE = 288  # pixels of an enlarged grid
Answers = Mapping[str, Mapping[str, collections.Counter]]  # arm -> question id -> said


def cards(study: Study, a: Analysis) -> list[Card]:
    """At most `MOST` videos: as many where only the detailed arm is right as where it is wrong.

    An arm's answer is what most of its seeds say (unlocked ViT), with their number.

    Raises:
      RecordError: a question's picture that is damaged or leaves the folder.
    """
    own = {arm: row.runs for arm in MAIN if (row := a.row(arm))}
    said: dict[str, dict[str, collections.Counter]] = {}
    captions: dict[int, str] = {}
    for arm, runs in own.items():
        said[arm] = _said(study, runs, captions=captions if arm == "detailed" else None)
    if "detailed" not in said or not said["detailed"]:
        return []
    found = []
    for question in _chosen(study.questions, said):
        picture = _picture(study, question)
        if picture is not None and len(found) < MOST:
            found.append(_card(question, said, picture, caption=captions.get(question["scene"])))
    return found


def _said(
    study: Study, runs: Sequence[Run], *, captions: dict[int, str] | None
) -> dict[str, collections.Counter]:
    """What the seeds of an arm say by question id; the first seed's captions go into `captions`."""
    found: dict[str, collections.Counter] = {}
    for number, run in enumerate(runs):
        for line in study.answers(run) or ():
            if line["form"] != "captioning":
                found.setdefault(line["id"], collections.Counter())[line["said"]["right"]] += 1
            elif captions is not None and number == 0:
                captions.setdefault(line["scene"], line.get("caption", ""))
    return found


def _chosen(questions: Sequence[Mapping[str, Any]], said: Answers) -> list[Mapping[str, Any]]:
    """Questions on which arms disagree, won and lost by turns, aspects by turns, no video twice.

    More than `MOST`, for those whose picture is not there.
    """
    pools: dict[bool, dict[str, list]] = {True: {}, False: {}}
    for q in questions:
        right = {
            arm: _majority(of[q["id"]])[0] == q["answer"]
            for arm, of in said.items()
            if q["id"] in of
        }
        others = [value for arm, value in right.items() if arm != "detailed"]
        if right.get("detailed") is not None and others and right["detailed"] not in others:
            pools[right["detailed"]].setdefault(q["aspect"], []).append(q)
    found, seen = [], set()
    won = True
    while len(found) < 4 * MOST and (any(pools[True].values()) or any(pools[False].values())):
        pool = pools[won]
        won = not won
        for aspect in list(pool):
            own = pool.pop(aspect)
            rest = [q for q in own if q["scene"] not in seen]
            if rest:
                seen.add(rest[0]["scene"])
                found.append(rest[0])
                pool[aspect] = rest[1:]  # to the end: another aspect comes next
                break
    return found


def _majority(counts: collections.Counter) -> tuple[str, int]:
    """The answer of most seeds and their number; the first by name where two are even."""
    best = max(counts.values())
    return min(option for option, n in counts.items() if n == best), best


def _picture(study: Study, question: Mapping[str, Any]) -> bytes | None:
    """The video's grid, enlarged without smoothing; None where it is not there."""
    root = os.path.join(study.out, "data")
    where = f"question {question['id']}"
    path = files.path(files.safe_join(root, question["video"], where=where))
    if not path.exists():
        return None
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    except OSError as e:
        raise RecordError(f"{path}: no PNG picture", mend="make the study's data again") from e
    times = max(1, SIDE // max(pixels.shape[:2]))
    return png_bytes(np.ascontiguousarray(pixels.repeat(times, 0).repeat(times, 1)))


def _card(
    question: Mapping[str, Any], said: Answers, picture: bytes, *, caption: str | None
) -> Card:
    facts: dict[str, object] = {"question": question["text"], "right answer": question["answer"]}
    for arm, of in said.items():
        if question["id"] in of:
            answer, n = _majority(of[question["id"]])
            sign = "✓" if answer == question["answer"] else "✗"
            seeds = sum(of[question["id"]].values())
            facts[TITLES[arm]] = f"{sign} {answer} ({n} of {seeds} seeds)"
    if caption:
        facts["caption by the detailed arm, first seed"] = caption
    answer, _ = _majority(said["detailed"][question["id"]])
    return Card(
        picture=picture,
        alt=f"16 frames of {question['video']}, row by row",
        facts=facts,
        right=answer == question["answer"],
        words=("detailed arm right", "detailed arm wrong"),
        title=f"{question['aspect']}, {form_name(question['form'])}",
    )
