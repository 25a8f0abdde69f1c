"""The candidates of a filter: how long each video is, and one short caption of it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.caption.caption_file import Captions, Problem, counted
from sg4v_jax.caption.captioners import Captioner, CaptionRequest
from sg4v_jax.caption.encoders import Encoder
from sg4v_jax.caption.filtering import ALIKE, LONG, MAX_SECONDS, Candidate, filter_candidates
from sg4v_jax.caption.videos import list_videos, open_path
from sg4v_jax.errors import ConfigError, RecordError, VideoError
from sg4v_jax.video import decode

PROMPT = "These are frames of one video, in order of time. Say in one plain sentence what it shows."
_FRAMES = 8
_BATCH = 16


def read_candidates(
    captions: Captions, *, videos: str | os.PathLike | None, problems: list[Problem]
) -> Iterator[Candidate]:
    """Candidates in the order of a caption file.

    Seconds come from the row (`seconds`, `duration`, or `end` - `start`); else the row's video
    (`source`, `video`, `video_path`, or ID.mp4), relative to the folder `videos`, is asked.
    Whose length cannot be told is left out and added to `problems`.
    """
    for name, text in captions.texts.items():
        row = captions.rows[name]
        try:
            seconds = _seconds_told(row)
            if seconds is None:
                seconds = _seconds_of(row, name=name, videos=videos)
        except (RecordError, VideoError) as e:
            problems.append(Problem("length unknown", e.message, name))
        else:
            yield Candidate(name, seconds, text)


def ask_candidates(
    videos: str | os.PathLike,
    captioner: Captioner,
    *,
    max_seconds: float = MAX_SECONDS,
    problems: list[Problem],
) -> Iterator[Candidate]:
    """Candidates in the order of `list_videos`, with captions that `captioner` makes of 8 frames.

    Videos over `max_seconds` are not described, as they cannot stay. Those that cannot be read
    are left out and added to `problems`.
    """
    root, items = list_videos(videos)
    for start in range(0, len(items), _BATCH):
        part: list[Candidate] = []
        requests: dict[int, CaptionRequest] = {}
        for item in items[start : start + _BATCH]:
            name = item["id"]
            try:
                path = open_path(root, item)
                info = decode.probe(path)
                frames = ()
                if info.duration <= max_seconds:
                    frames = tuple(decode.sample_frames(path, n=_FRAMES).frames)
            except (RecordError, VideoError) as e:
                problems.append(Problem("not readable", e.message, name))
                continue
            if frames:
                requests[len(part)] = CaptionRequest(frames, PROMPT, name)
            part.append(Candidate(name, info.duration, ""))
        texts = captioner.describe(list(requests.values())) if requests else []
        for place, text in zip(requests, texts, strict=True):
            part[place] = Candidate(part[place].id, part[place].seconds, text.strip())
        yield from part


def write_filtered(
    candidates: Iterable[Candidate],
    *,
    out: str | os.PathLike,
    encoder: Encoder,
    threshold: float | None = None,
    max_seconds: float = MAX_SECONDS,
    rows: Mapping[str, Mapping[str, Any]] | None = None,
    problems: Sequence[Problem] = (),
) -> dict[str, Any]:
    """Filters, and writes what came of it into the folder `out`; returns the summary.

        kept.jsonl      the rows that stay, as they came, with `id`, `seconds`, `caption_short`
        dropped.jsonl   id, seconds, caption_short, reason; and for "alike", `like` and `cosine`
        summary.json    settings and counts, problems by kind

    Args:
      candidates: read once; `problems` may grow while it is read.
      out: the folder; files there are replaced.
      encoder, threshold, max_seconds: as `filter_candidates`.
      rows: whole rows by id, to be kept with what else they hold.
    """
    kept, dropped, seen = [], [], []

    def remembered() -> Iterator[Candidate]:
        for candidate in candidates:
            seen.append(candidate)
            yield candidate

    verdicts = filter_candidates(
        remembered(), encoder=encoder, threshold=threshold, max_seconds=max_seconds
    )
    for number, verdict in enumerate(verdicts):
        candidate = seen[number]
        row = {"id": verdict.id, "seconds": candidate.seconds, "caption_short": candidate.caption}
        if verdict.kept:
            kept.append(dict((rows or {}).get(verdict.id, {})) | row)
        else:
            row |= {"reason": verdict.reason}
            if verdict.reason == ALIKE:
                row |= {"like": verdict.like, "cosine": round(verdict.cosine, 6)}
            dropped.append(row)
    summary = {
        "encoder": encoder.name,
        "threshold": encoder.threshold if threshold is None else threshold,
        "max_seconds": max_seconds,
        "candidates": len(seen),
        "kept": len(kept),
        **{reason: sum(r["reason"] == reason for r in dropped) for reason in (LONG, ALIKE)},
        "problems": counted(problems),
    }
    folder = files.path(out)
    for name, lines in (("kept", kept), ("dropped", dropped)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        files.write_atomic(folder / f"{name}.jsonl", text)
    files.write_json(folder / "summary.json", summary)
    return summary


def _seconds_told(row: Mapping[str, Any]) -> float | None:
    value = next((row[k] for k in ("seconds", "duration") if row.get(k) is not None), None)
    if value is None and row.get("start") is not None and row.get("end") is not None:
        value = row["end"] - row["start"]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise RecordError(f"seconds are {value!r:.40}")
    return float(value)


def _seconds_of(row: Mapping[str, Any], *, name: str, videos: str | os.PathLike | None) -> float:
    if videos is None:
        raise ConfigError(
            f"caption {name}: its row does not tell how long the video is",
            mend="give --videos, or rows with seconds, duration, or start and end",
        )
    fields = ("source", "video", "video_path")
    source = next((row[f] for f in fields if isinstance(row.get(f), str)), f"{name}.mp4")
    return decode.probe(files.safe_join(videos, source, where=f"caption {name}")).duration
