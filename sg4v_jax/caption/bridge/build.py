"""`sg4v data build`: a caption file to training data, one file an arm, whatever the workers.

    OUT/detailed.json, OUT/short.json ...   the arms: the same clips in the same order
    OUT/problems.jsonl                      every row left out: kind, place, id, field, value, mend
    OUT/build.json                          sources, options, counts; written last: without it the
                                            folder is not complete

The source is cut into slices that a job (`jobs`) works off; killed anywhere and run again, it goes
on. Lines come out by slice, so the bytes are the same for any number of workers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import sg4v_jax
from sg4v_jax import files
from sg4v_jax.caption.bridge import join, slices, styles
from sg4v_jax.caption.bridge.assembly import Assembly, Limits, check_limits
from sg4v_jax.caption.bridge.clips import Fault, RowFault
from sg4v_jax.caption.bridge.formats import FORMATS, detect
from sg4v_jax.caption.bridge.rows import RowReader
from sg4v_jax.caption.bridge.work import BuildWork, Maker, Making
from sg4v_jax.errors import ConfigError, RecordError, WorkdirError
from sg4v_jax.jobs import begin, merge, open_store, reopen, run_pool

TARGETS = ("llava_json", "sharegpt4video_jsonl", "osp", "wan", "videochatgpt_json")
_LEASE = 15.0  # seconds until the slice of a worker that was killed is taken up again
_PROBED = 1000  # rows that are looked at to tell a file's format


def source_format(name: str | os.PathLike, sliced: slices.Sliced, *, fallback: str = "") -> str:
    """The format of a caption file, by its columns or its first usable rows.

    Raises:
      RecordError: none of its rows can be read, or no format has such fields.
    """
    reader = RowReader(str(name), sliced.layout, sliced.header, fallback)
    if sliced.layout == "csv":
        return detect(name, reader.columns)
    for number, row in enumerate(_all_rows(name, sliced, reader)):
        if row.values is not None and row.values.get("error") is None:
            return detect(name, list(row.values))
        if number >= _PROBED:
            break
    raise RecordError(
        f"{name}: none of its first rows can be read",
        mend="look at the file, or name its format (--source_format)",
    )


def _all_rows(name, sliced: slices.Sliced, reader: RowReader) -> Iterator:
    for part in sliced.slices:
        yield from reader.rows(slices.read(name, part), first=part.first)


def build(
    captions: str | os.PathLike,
    making: Making,
    *,
    out: str | os.PathLike,
    short_from: str | os.PathLike | None = None,
    limits: Limits | None = None,
    workers: int = 1,
    slice_size: int = slices.SIZE,
) -> dict[str, Any]:
    """Builds the arms of `making` from a caption file, and returns what build.json says.

    A folder that the same call made is left as it is.

    Args:
      captions: the caption file; `making.source` empty means to find out its format.
      making: what rows become.
      out: the folder.
      short_from: a Panda-70M CSV whose captions become the short ones.
      limits: when to stop; `Limits()` by default.
      workers: processes at work; 1 works in this one.
      slice_size: bytes of the source that are done and kept together.

    Raises:
      ConfigError: styles or a target that cannot be, or that need a tokenizer or videos.
      RecordError: the source cannot be read, or more rows than `limits` allow cannot be used.
      WorkdirError: `out` holds another build.
      StorageError: the disk is full; what is done stays done.
    """
    sliced = slices.cut(captions, size=slice_size)
    if not making.source:
        plain = {"csv": "csv", "lines": "jsonl"}.get(sliced.layout) if making.read.columns else ""
        found = plain or source_format(captions, sliced, fallback=making.fallback)
        making = dataclasses.replace(making, source=found)
    check_making(making)
    folder = files.path(out)
    sources = {"captions": _source(captions, sliced)}
    shorts = slices.cut(short_from) if short_from is not None else None
    if shorts is not None:
        sources["short_from"] = _source(short_from, shorts)
    settings = making.settings | {
        "sources": sources,
        "tokenizer_sha256": _digest(making.tokenizer),
        "version": sg4v_jax.__version__,
    }
    if (done := done_before(folder, settings)) is not None:
        return done
    job = folder / f"job-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]}"
    faults: list[Fault] = []
    if shorts is not None:
        wanted = _wanted(captions, sliced, making)
        how = dict(sliced=shorts, wanted=wanted, fallback=making.fallback)
        joined, faults = join.read_short(short_from, **how)
        making = dataclasses.replace(making, shorts=str(job / "shorts.json"))
        joined.save(making.shorts)
    _work(BuildWork(str(captions), sliced.layout, sliced.header, making), sliced, job, workers)
    container = FORMATS[making.target].container
    assembly = Assembly(folder, arms=making.styles, container=container, limit=making.limit)
    with assembly.output:
        for row in merge(open_store(job)):
            if row["error"] is not None:
                raise RecordError(f"{captions}: slice {row['id']}: {row['error']}")
            assembly.add(row)
        report = assembly.report(settings, [f.as_json() for f in faults])
        check_limits(report, limits or Limits(), name=str(captions))
    files.write_json(folder / "build.json", report)
    for old in folder.glob("job-*"):  # also those of a source that was mended since
        old.rmtree()
    return report


def _work(work: BuildWork, sliced: slices.Sliced, job, workers: int) -> None:
    """Works off all slices; what an earlier call did is kept."""
    store = open_store(job)
    items = [{"id": f"{n:07d}"} | vars(part) for n, part in enumerate(sliced.slices)]
    begin(store, items, shard_size=1, settings={"file": sliced.sha256})
    reopen(store)  # what failed by a fault of the machine or of a program mended since
    kind = "processes" if workers > 1 else "threads"
    run_pool(store, work, workers=workers, kind=kind, attempts=1, lease=_LEASE)


def check_making(making: Making) -> None:
    """Refuses what cannot be built, before any work.

    Raises:
      ConfigError: an unknown target or style, arms of one name, or no tokenizer where one counts.
    """
    if making.target not in TARGETS:
        raise ConfigError(
            f"format {making.target!r} is not built", mend=f"use one of {', '.join(TARGETS)}"
        )
    if making.source not in FORMATS:
        raise ConfigError(
            f"source format {making.source!r} is unknown", mend=f"use one of {', '.join(FORMATS)}"
        )
    if making.read.columns and making.source not in ("csv", "jsonl"):
        raise ConfigError(
            f"columns cannot be named for {making.source}", mend="its fields have fixed names"
        )
    parsed = [styles.parse(name) for name in making.styles]
    if not parsed or len({styles.slug(s.name) for s in parsed}) < len(parsed):
        raise ConfigError(f"styles {list(making.styles)}", mend="name each arm once")
    counts = bool(making.limit) or any(map(styles.needs_tokenizer, parsed))
    if counts and not making.tokenizer:
        raise ConfigError(
            "tokens cannot be counted without a tokenizer",
            mend="give --tokenizer=FILE, the one of the model that will read the captions",
        )
    if making.prompts is not None and not all(p.strip() for p in making.prompts or ("",)):
        raise ConfigError("there is no prompt", mend="write prompts one a line")
    Maker(making)  # opens the tokenizer


def _source(name: str | os.PathLike, sliced: slices.Sliced) -> dict[str, Any]:
    return {"file": files.path(name).name, "bytes": sliced.size, "sha256": sliced.sha256}


def _digest(name: str) -> str | None:
    """Of the tokenizer's file, or of the one in its folder."""
    if not name:
        return None
    path = files.path(name)
    if path.is_dir():
        path = next((p for p in sorted(path.iterdir()) if p.name.startswith("tokenizer.")), path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def done_before(folder, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an earlier call of the same settings built, if it is there whole.

    Raises:
      WorkdirError: `folder` holds what other settings built.
    """
    if not (folder / "build.json").exists():
        return None
    report = files.read_json(folder / "build.json")
    plain = json.loads(json.dumps(dict(settings)))
    old = report.get("settings", {})
    if old != plain:
        named = sorted(k for k in {*old, *plain} if old.get(k) != plain.get(k))
        changes = [f"{k}: {old.get(k)!r:.80} there, {plain.get(k)!r:.80} now" for k in named]
        raise WorkdirError(
            f"{folder} holds another build:\n    " + "\n    ".join(changes),
            mend="choose another --out, or remove the folder",
        )
    missing = [a["file"] for a in report["arms"].values() if not (folder / a["file"]).exists()]
    return None if missing else report


def _wanted(captions, sliced: slices.Sliced, making: Making) -> set[str]:
    """The names under which the videos of all clips may stand in a Panda CSV."""
    reader = RowReader(str(captions), sliced.layout, sliced.header, making.fallback)
    wanted: set[str] = set()
    for row in _all_rows(captions, sliced, reader):
        with contextlib.suppress(RowFault):  # it is counted when the row is made
            for clip in FORMATS[making.source].read(row.values or {}, making.read):
                wanted.update(join.keys(clip))
    return wanted
