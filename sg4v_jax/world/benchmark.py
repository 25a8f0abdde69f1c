"""Made-up benchmarks: scenes of the world as the files of four video benchmarks, videos included.

Every question's answer is known from the scene. The files have the layout in which users download
the real ones (`as_tempcompass`, `as_videobench`, `as_mvbench`, `as_videochatgpt`), so all that
reads, asks and scores the real ones can be tried on them. Scores on them say nothing about scores
on the real ones.

    DIR/benchmark.json    arguments and counts; written last
    DIR/truth.jsonl       one scene a line, `id` added
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, WorkdirError
from sg4v_jax.video.encode import write_mp4
from sg4v_jax.world import as_mvbench, as_tempcompass, as_videobench, as_videochatgpt
from sg4v_jax.world.dataset import scene_seed, video_id
from sg4v_jax.world.render import render
from sg4v_jax.world.scene import FPS, Scene, sample_scene, to_json

SHAPES = ("tempcompass", "videobench", "mvbench", "videochatgpt")
_MARK = "making.json"  # arguments of a benchmark that is being made


def make_benchmark(
    out: str,
    *,
    shape: str,
    videos: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes a made-up benchmark of `videos` held-out scenes to `out`; returns benchmark.json.

    The same arguments give the same files; a complete folder of them is left as it is.

    Args:
      shape: one of `SHAPES`.
      progress: called with (videos done, videos in all) after each video.

    Raises:
      ConfigError: a value out of range.
      WorkdirError: `out` is not empty and not such a folder.
      StorageError: writing failed.
    """
    if shape not in SHAPES:
        raise ConfigError(f"shape={shape!r}", mend=f"use one of {', '.join(SHAPES)}")
    if videos < 1 or seed < 0:
        raise ConfigError(f"videos={videos}, seed={seed}", mend="use 1 or more, and 0 or more")
    folder, arguments = files.path(out), {"shape": shape, "videos": videos, "seed": seed}
    if (done := _done(folder, arguments)) is not None:
        return done
    files.write_json(folder / _MARK, arguments)
    scenes = {}
    for index in range(videos):
        scene = sample_scene(scene_seed(seed, index, split="heldout"), split="heldout")
        scenes[video_id(scene)] = scene
    written, places = _content(shape, scenes, seed=seed)
    for number, (name, scene) in enumerate(scenes.items(), 1):
        _write_clip(folder, places[name], render(scene))
        if progress is not None:
            progress(number, videos)
    for name, value in written.items():
        files.write_json(folder / name, value)
    truth = [json.dumps({"id": name} | to_json(scene)) for name, scene in scenes.items()]
    files.write_atomic(folder / "truth.jsonl", "\n".join(truth) + "\n")
    summary = {"arguments": arguments, "questions": count_questions(written)}
    files.write_json(folder / "benchmark.json", summary)
    (folder / _MARK).unlink(missing_ok=True)
    return summary


def _done(folder, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of a complete folder of these arguments, None for a new or begun one."""
    for mark in ("benchmark.json", _MARK):
        if not (folder / mark).exists():
            continue
        found = files.read_json(folder / mark)
        own = found.get("arguments", found)
        if own != arguments:
            raise WorkdirError(
                f"{folder / mark}: holds a benchmark of other arguments ({own})",
                mend="choose another folder, or repeat its arguments",
            )
        return found if mark == "benchmark.json" else None
    if folder.exists() and any(folder.iterdir()):
        raise WorkdirError(
            f"{folder} has files that `world benchmark` did not begin", mend="choose another folder"
        )
    return None


def _content(
    shape: str, scenes: dict[str, Scene], *, seed: int
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """File name -> content, and video id -> where its clip lies, relative to the folder."""
    if shape == "tempcompass":
        return as_tempcompass.content(scenes, seed=seed), {n: [f"videos/{n}.mp4"] for n in scenes}
    if shape == "videochatgpt":
        places = {n: [f"Test_Videos/{n}.mp4"] for n in scenes}
        return as_videochatgpt.content(scenes, seed=seed), places
    if shape == "mvbench":
        written, below = as_mvbench.content(scenes, seed=seed)
        return written, {n: [f"video/{p}" for p in found] for n, found in below.items()}
    written = as_videobench.content(scenes, seed=seed)
    places = {name: [] for name in scenes}
    for rows in written.values():
        for row in rows.values():
            places[row["video_id"]].append(row["vid_path"])
    return written, places


def _write_clip(folder, places: list[str], frames: np.ndarray) -> None:
    """Writes the clip to each place, encoded once; a place that ends in a slash gets frames."""
    clip = None
    for where in places:
        if where.endswith("/"):
            for number, frame in enumerate(frames, 1):
                content = io.BytesIO()
                Image.fromarray(frame).save(content, "JPEG", quality=95)
                files.write_atomic(folder / f"{where}{number:05d}.jpg", content.getvalue())
        elif clip is None:
            write_mp4(folder / where, frames, fps=FPS)
            clip = (folder / where).read_bytes()
        else:
            files.write_atomic(folder / where, clip)


def count_questions(written: dict[str, Any]) -> int:
    """Questions in the files of `content`: rows of lists, and of dictionaries by video."""
    total = 0
    for name, value in written.items():
        if name == "meta_info.json":
            continue
        if isinstance(value, dict) and name.startswith("questions/"):
            total += sum(len(rows) for aspects in value.values() for rows in aspects.values())
        else:
            total += len(value)
    return total
