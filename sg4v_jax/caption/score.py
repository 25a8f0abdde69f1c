"""Scores of a caption file: events against the world's truth or through a judge, and the rest."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax import files
from sg4v_jax.caption import coco_java, lexical
from sg4v_jax.caption.caption_file import DETAILED, Captions, Problem, counted, read_captions
from sg4v_jax.caption.captioners import Captioner
from sg4v_jax.caption.cider import cider_d
from sg4v_jax.caption.event_scores import EventCounts, as_json, event_scores
from sg4v_jax.caption.judge import judge_events
from sg4v_jax.caption.world_events import read_world_caption
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.report import bootstrap, stats
from sg4v_jax.world.dataset import read_truth

TOKENS = ("own", "ptb")
UNCAPTIONED = "video without caption"


@dataclasses.dataclass(frozen=True)
class EventReport:
    """Counts by id, their scores, what lies behind them, and what could not be scored."""

    counts: dict[str, EventCounts]
    scores: dict[str, stats.Estimate]
    evidence: dict[str, dict[str, Any]]
    problems: tuple[Problem, ...]


def score_world(captions: Captions, *, truth: str | os.PathLike) -> EventReport:
    """Exact event scores of captions of world videos.

    A caption that is empty, damaged or of a failed video tells of nothing, and counts so: else a
    captioner would gain by failing on what is hard. Captions without a truth, and videos of the
    truth without any row, are named and do not count.

    Args:
      captions: of videos of the data set, ids as there (`train-000007`).
      truth: the data set's folder, or its truth.jsonl.

    Raises:
      RecordError: no truth there, or none of its videos has a caption.
    """
    folder = files.path(truth)
    scenes = read_truth(folder.parent if folder.name == "truth.jsonl" else folder)
    texts, problems = _texts_of(captions, known=scenes, what="truth")
    counts = {name: read_world_caption(text, scene=scenes[name]) for name, text in texts.items()}
    scores = event_scores(counts, clusters=_videos(captions, counts))
    return EventReport(counts, scores, {}, problems)


def score_judged(captions: Captions, *, references: Captions, judge: Captioner) -> EventReport:
    """Event scores through a judge, who reads both captions; see `judge`.

    Empty and failed captions count as telling of nothing, as in `score_world`.

    Raises:
      RecordError: no caption has a reference, or none could be judged.
    """
    texts, problems = _texts_of(captions, known=references.texts, what="reference")
    judged = judge_events(texts, references.texts, judge=judge)
    if not judged.counts:
        raise RecordError(
            f"the judge {judge.name} gave no usable answer; first: {judged.problems[0].where}",
            mend="see what it answers; it must be able to write JSON",
        )
    scores = event_scores(judged.counts, clusters=_videos(captions, judged.counts))
    return EventReport(judged.counts, scores, judged.evidence, problems + judged.problems)


def score_agreement(
    captions: Captions,
    references: Sequence[Captions],
    *,
    tokens: str = "own",
    with_meteor: bool = False,
) -> dict[str, Any]:
    """CIDEr-D, and METEOR if asked for, against what others wrote about the same videos.

    Args:
      captions: to score; empty and failed ones score 0 words.
      references: one or more files; a video's references are those that have it.
      tokens: "own" splits words with `lexical.words`; "ptb" as the COCO evaluation does, which
        numbers in papers use. METEOR always takes the latter.

    Raises:
      ConfigError: `tokens` is unknown, or needs Java or a package that is missing.
      RecordError: no caption has a reference.
    """
    if tokens not in TOKENS:
        raise ConfigError(f"tokens={tokens!r}", mend=f"use one of {TOKENS}")
    known: dict[str, list[str]] = {}
    for file in references:
        for name, text in file.texts.items():
            known.setdefault(name, []).append(text)
    texts, problems = _texts_of(captions, known=known, what="reference")
    split = {kind: None for kind in TOKENS}
    split[tokens] = _split(texts, known, tokens)
    scores = cider_d(*split[tokens])
    result = {
        "captions": len(texts),
        "references": sum(len(known[name]) for name in texts),
        "tokens": tokens if tokens == "own" else f"ptb, {coco_java.version()}",
        "cider_d": as_json(_mean(scores, _videos(captions, texts))),
        "problems": counted(problems),
    }
    if with_meteor:
        of_set, each = coco_java.meteor(*(split["ptb"] or _split(texts, known, "ptb")))
        interval = as_json(_mean(each, _videos(captions, texts)))
        result["meteor"] = {"set": of_set, **interval, "by": coco_java.version()}
    return result


def full_report(captions: Captions, events: EventReport | None, **more: Any) -> dict[str, Any]:
    """Everything about a caption file as JSON values: `score.json`."""
    report: dict[str, Any] = {
        "file": captions.name,
        "captions": len(captions.texts),
        "problems": captions.counted(),
        "lexical": lexical.lexical_statistics(captions.texts),
        **more,
    }
    if events is not None:
        report["events"] = {name: as_json(value) for name, value in events.scores.items()}
        report["event_problems"] = counted(events.problems)
        report["each"] = [
            {"id": name, **dataclasses.asdict(count), **events.evidence.get(name, {})}
            for name, count in events.counts.items()
        ]
    return report


def open_references(names: Sequence[str]) -> list[Captions]:
    """The reference files, their detailed captions."""
    return [read_captions(name, fields=DETAILED) for name in names]


def _texts_of(
    captions: Captions, *, known: Mapping[str, Any], what: str
) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """The texts to score ("" for rows that cannot be used), and who stays out."""
    texts = dict(captions.texts) | dict.fromkeys(captions.unusable(), "")
    problems = [Problem(f"no {what}", captions.name, name) for name in texts if name not in known]
    problems += [Problem(UNCAPTIONED, captions.name, name) for name in known if name not in texts]
    shared = {name: text for name, text in texts.items() if name in known}
    if not shared:
        raise RecordError(
            f"{captions.name}: none of its {len(texts)} captions has a {what}; ids are like "
            f"{next(iter(texts), '')!r}, those of the {what} like {next(iter(known), '')!r}",
            mend="give files of the same videos",
        )
    return shared, tuple(problems)


def _videos(captions: Captions, names: Mapping[str, Any]) -> dict[str, str]:
    """Caption -> the video it belongs to, so that clips of one video are not independent."""
    rows = captions.rows
    return {name: str(rows.get(name, {}).get("source") or name) for name in names}


def _split(
    texts: Mapping[str, str], known: Mapping[str, Sequence[str]], tokens: str
) -> tuple[dict[str, list[str]], dict[str, list[list[str]]]]:
    """Captions and references as words."""
    every = [*texts.values(), *(text for name in texts for text in known[name])]
    split = iter(coco_java.ptb_words(every) if tokens == "ptb" else map(lexical.words, every))
    own = {name: next(split) for name in texts}
    return own, {name: [next(split) for _ in known[name]] for name in texts}


def _mean(scores: Mapping[str, float], clusters: Mapping[str, str]) -> stats.Estimate:
    values = np.array(list(scores.values()))
    return bootstrap.cluster_bootstrap(values, [clusters[name] for name in scores], seed=0)
