"""`sg4v bench loader`: how fast grids come out of the loader, and where the time goes.

One run measures all methods in turn, so that a busy machine slows all alike; what counts are the
ratios. A grid here is one video (or one rendered grid) made into tiles.

  mp4       videos through `data.pipeline.batches`, as training reads them: decode, grid, cap,
            tiles in u8, and also the text, its layout and packing; two threads a worker
  original  the original's way (`bench.original`) from video to f32 pixel values; no text; one
            thread a worker, as in torch's loader
  png, jpg  as mp4, from grids rendered before
  arrayrecord, jpeg record
            as mp4, from a store of the grids' views (`data.store`), exact or as JPEG
"""

from __future__ import annotations

import collections
import statistics
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from sg4v_jax.bench import clips, original, stages, streams, transfer
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.pipeline import batches
from sg4v_jax.data.store.pictures import DEFAULT
from sg4v_jax.errors import ConfigError
from sg4v_jax.report import machine

OURS, ORIGINAL = "mp4", "original"
RENDERED = ("png", "jpg")
STORED = {"arrayrecord": DEFAULT, "jpeg record": "jpeg"}  # method -> codec of its store
METHODS = (OURS, ORIGINAL, *RENDERED, *STORED)
# A v5e host has 8 chips; at 4 grids a chip and 45 % of its peak a step of the whole 8B model takes
# 4.36 s by arithmetic (not measured). Real samples have more positions, and slower steps.
STEP_SECONDS, STEP_GRIDS = 4.36, 32
_ENDLESS = 1 << 30


def measure(
    *,
    videos: str | None = None,
    limit: int = 16,
    workers: Sequence[int] = (1, 2),
    rounds: int = 3,
    seconds: float = 2.5,
    step_seconds: float = STEP_SECONDS,
    step_grids: int = STEP_GRIDS,
    progress: Callable[[str], None] = lambda text: None,
) -> dict:
    """Runs the whole measurement.

    Args:
      videos: a folder of video files; None: the four clips of the test suite.
      limit: at most so many of them, spread evenly over their names.
      workers: numbers of worker processes to measure; 0 reads in this process.
      rounds: timings of each method at each number of workers, the methods in turn.
      seconds: how long one timing lasts, about: as many whole passes over the videos as one
        process of ours would do in it for each worker, the same for all methods.
      step_seconds, step_grids: a training step that the loader must keep up with: how long it is
        planned to take, and how many grids a host reads for it.
      progress: told what goes on.

    Returns:
      A dict that JSON can hold; `show.print_report` shows it.

    Raises:
      MissingVideoError: no video files.
      ConfigError: a number out of range, or no video that can be used.
    """
    _check(workers=workers, rounds=rounds, limit=limit, step_grids=step_grids)
    _check_seconds(seconds=seconds, step_seconds=step_seconds)
    spec, with_original = clips.input_spec(), original.available()
    progress("compare tiles")
    found = clips.find(videos)
    chosen = [found[i] for i in sorted({len(found) * k // limit for k in range(limit)})]
    paths, agreement, left_out = clips.usable(chosen, spec=spec, with_original=with_original)
    if not paths:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out[:3])
        raise ConfigError(f"no video can be measured: {reasons}", mend="name other --videos")
    with tempfile.TemporaryDirectory(prefix="sg4v_bench_") as folder:
        sources = _sources(paths, spec=spec, folder=folder, with_original=with_original)
        progress("time the stages")
        stage_times = stages.by_clip(
            sources[OURS], paths, spec=spec, repeats=2 * rounds + 1, with_original=with_original
        )
        cells = []
        for count in workers:
            grids = max(1, round(max(count, 1) * seconds / _seconds_a_pass(stage_times))) * len(
                paths
            )
            cells += _cells(sources, workers=count, rounds=rounds, grids=grids, tell=progress)
        progress("move grids")
        batch = sources[OURS][0]
        # In the shape of the original's pixel values; not zeros, which need no memory to read.
        values = np.ascontiguousarray(batch.tiles.transpose(0, 3, 1, 2), np.float32)
        moved = {}
        if max(workers):
            moved = transfer.between_processes(
                {"u8 tiles and text": batch, "f32 pixel values": values}, repeats=50 * rounds
            )
    return {
        "machine": machine.describe(),
        "settings": {
            "videos": videos or "the clips of the test suite",
            "workers": list(workers),
            "threads_a_worker": dict(streams.THREADS),
            "rounds": rounds,
            "seconds": seconds,
            "decord": with_original,
        },
        "agreement": agreement,
        "left_out": [{"clip": name, "reason": why} for name, why in left_out],
        "cells": cells,
        "speed": [
            entry | _cores(entry, step_seconds=step_seconds, step_grids=step_grids)
            for entry in summarise(cells)
        ],
        "step": {"seconds": step_seconds, "grids": step_grids},
        "stages": stage_times,
        "between_processes": moved,
        "to_device": transfer.to_device(
            {"u8 tiles": batch.tiles, "f32 pixel values": values}, repeats=10 * rounds
        ),
    }


def _check(*, workers: Sequence[int], **counts: int) -> None:
    wanted = [("workers", list(workers), 0), *((name, [n], 1) for name, n in counts.items())]
    for name, values, least in wanted:
        if not values or min(values) < least:
            raise ConfigError(f"--{name}={values}", mend=f"give {least} or more")


def _check_seconds(**times: float) -> None:
    for name, value in times.items():
        if not value > 0:
            raise ConfigError(f"--{name}={value}", mend="give more than 0")


def _sources(
    paths: Sequence[str], *, spec: InputSpec, folder: str, with_original: bool
) -> dict[str, object]:
    """What each method reads, by its name."""
    sources: dict[str, object] = {OURS: clips.rows(paths, kind="video", spec=spec)}
    for suffix in RENDERED:
        grids = clips.render(paths, spec=spec, folder=folder, suffix=suffix)
        sources[suffix] = clips.rows(grids, kind="image", spec=spec)
    for method, codec in STORED.items():
        sources[method] = clips.stored(paths, spec=spec, folder=folder, codec=codec)
    if with_original:
        # Ours shuffles every pass anew and this does not, but each timing is of whole passes.
        sources[ORIGINAL] = original.PixelValues(paths, spec=spec, length=_ENDLESS)
    return sources


def _seconds_a_pass(stage_times: Sequence[dict]) -> float:
    """What one pass of ours over the clips takes in one process."""
    return sum(s["wall"] for clip in stage_times for s in clip["ours"].values()) / 1e3


def _stream(source, *, workers: int) -> streams.Stream:
    def start():
        if isinstance(source, original.PixelValues):
            return streams.pool(source, workers=workers, threads=streams.THREADS["original"])
        threads = streams.THREADS["ours"]
        return batches(source, start=0, stop=_ENDLESS, workers=workers, threads=threads)

    return streams.Stream(start, workers=workers)


def _cells(
    sources: dict, *, workers: int, rounds: int, grids: int, tell: Callable[[str], None]
) -> list[dict]:
    """Timings at one number of workers, of `grids` grids each.

    All pools stay up, and idle while another is timed; each round begins with another method.
    """
    tell(f"start {workers} workers a method")
    pools, cells = {}, []
    try:
        for name, source in sources.items():
            pools[name] = _stream(source, workers=workers)
        names = list(pools)
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                tell(f"{workers} workers, round {turn + 1} of {rounds}: {name}")
                pools[name].drain()
                cell = pools[name].time(grids)
                cells.append({"method": name, "workers": workers, "round": turn, **cell._asdict()})
        return cells
    finally:
        for stream in pools.values():
            stream.close()


def summarise(cells: Sequence[dict]) -> list[dict]:
    """For each number of workers and method: median and range over the rounds.

    `ratio` and `cpu_ratio` are paired, round by round, against the original at the same number
    of workers: how many times as many grids a second, and how many times fewer CPU seconds a
    grid. They are missing where there is no original. `mp4_ratio` and `mp4_cpu_ratio` are the
    same against our own reading of videos.
    """
    groups: dict[tuple, list[dict]] = collections.defaultdict(list)
    for cell in cells:
        groups[cell["workers"], cell["method"]].append(cell)
    summary = []
    for workers, method in sorted(groups, key=lambda key: (key[0], METHODS.index(key[1]))):
        group = groups[workers, method]
        entry = {
            "workers": workers,
            "method": method,
            "grids_per_s": _spread([c["grids"] / c["wall"] for c in group]),
        }
        if None not in [c["cpu"] for c in group]:
            entry["cpu_ms_per_grid"] = _spread([1e3 * c["cpu"] / c["grids"] for c in group])
        for prefix, rival in (("", ORIGINAL), ("mp4_", OURS)):
            if method not in (rival, ORIGINAL):
                entry |= _ratios(group, groups.get((workers, rival), []), prefix=prefix)
        summary.append(entry)
    return summary


def _ratios(group: Sequence[dict], rivals: Sequence[dict], *, prefix: str) -> dict[str, dict]:
    """How many times as good `group` is, paired by round."""
    pairs = [(c, r) for c in group for r in rivals if c["round"] == r["round"]]
    if not pairs:
        return {}
    speed = [c["grids"] / c["wall"] / (r["grids"] / r["wall"]) for c, r in pairs]
    found = {f"{prefix}ratio": _spread(speed)}
    if None not in [x["cpu"] for pair in pairs for x in pair]:
        cpu = [r["cpu"] / r["grids"] / (c["cpu"] / c["grids"]) for c, r in pairs]
        found[f"{prefix}cpu_ratio"] = _spread(cpu)
    return found


def _cores(entry: dict, *, step_seconds: float, step_grids: int) -> dict[str, float]:
    """Cores that are busy when grids are made as fast as the step takes them."""
    if "cpu_ms_per_grid" not in entry:
        return {}
    wanted = step_grids / step_seconds  # grids a second
    return {"cores": wanted * entry["cpu_ms_per_grid"]["median"] / 1e3}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
