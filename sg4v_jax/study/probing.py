"""`sg4v study probe`: the towers of a study's models, read by a linear map on clips not trained on.

    OUT/probe.jsonl   one line a tower: id, arm, seed, path, clips_of, read

Each base and each unlocked run is probed on the captioned clips of the next seed, which no model of
its own seed has seen. A run with a frozen tower has its base's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from sg4v_jax import files
from sg4v_jax.errors import ConfigError
from sg4v_jax.study import data, training
from sg4v_jax.study.design import BASE, Run, runs
from sg4v_jax.study.probe import probe
from sg4v_jax.study.work import TRAINED, config_of

FILE = "probe.jsonl"


def probe_study(
    out: str | os.PathLike,
    *,
    arms: Sequence[str] = (),
    seeds: Sequence[int] = (),
    clips: int = 2000,
    console: Console,
) -> list[dict[str, Any]]:
    """Probes what is trained so far, and writes and gives the lines of `probe.jsonl`.

    Args:
      out: the study's folder.
      arms, seeds: only these; the bases of their runs come with them.
      clips: how many clips each tower is read on; a quarter of them is held out.

    Raises:
      ConfigError: nothing of the choice is trained, or there are too few clips or seeds.
    """
    place = files.path(out)
    config = config_of(json.dumps(files.read_json(place / "study.json")))
    lines = []
    for run, arm, folder in towers(runs(config.rows, arms=arms, seeds=seeds)):
        if not (place / folder / TRAINED).exists():
            continue
        other = next_seed(run, runs(config.rows))
        read = probe(
            place / folder,
            scenes=data.caption_scenes(config, other)[:clips],
            data=place / data.FOLDER,
            path=run.path,
        )
        about = dict(arm=arm, seed=run.seed, path=run.path, clips_of=other)
        lines.append({"id": os.path.basename(folder), **about, "read": read})
        console.print(shown(lines[-1]), markup=False, highlight=False, soft_wrap=True)
    if not lines:
        raise ConfigError(f"{place}: no tower of the choice is trained", mend="run the study first")
    files.write_atomic(place / FILE, "".join(json.dumps(line) + "\n" for line in lines))
    return lines


def towers(chosen: Sequence[Run]) -> list[tuple[Run, str, str]]:
    """(run, arm, folder within the study) of each tower: bases first, then unlocked runs."""
    first = {run.base: run for run in reversed(chosen)}
    bases = [(first[name], BASE, f"{training.BASES}/{name}") for name in sorted(first)]
    unlocked = [run for run in chosen if run.tower == "unlocked"]
    return [*bases, *((run, run.arm, f"{training.RUNS}/{run.id}") for run in unlocked)]


def next_seed(run: Run, whole: Sequence[Run]) -> int:
    """The seed whose clips `run` is probed on: the next of its visual path, the first after the last.

    Raises:
      ConfigError: the design has no other.
    """
    others = sorted({r.seed for r in whole if r.path == run.path} - {run.seed})
    if not others:
        raise ConfigError(
            f"{run.id}: no other seed has clips to probe it on", mend="add a seed to config.rows"
        )
    return next((seed for seed in others if seed > run.seed), others[0])


def shown(line: Mapping[str, Any]) -> str:
    """`detailed-unlocked-s1: colour 0.99 (chance 0.17), place 0.81 (0.00), ...`"""
    told = (f"{k} {v['value']:.2f} (chance {v['chance']:.2f})" for k, v in line["read"].items())
    return f"{line['id']}: {', '.join(told)}"
