"""The data of a study, made once: pictures, the records of each seed, what all are asked.

    tokenizer.json                      of all texts of the world
    pictures/, frames/                  see pictures.py
    seed-1/grid/reading.json ...        pre-training
    seed-1/grid/vqa_1600.json           the questions of all arms
    seed-1/grid/detailed.json ...       the captions of each arm: same videos, same order
    questions/dev.jsonl, test.jsonl     what models are asked
    captions/dev.jsonl                  true captions, for slot accuracy
    data.json                           what it was made with; written last

Each seed has videos of its own. The questions' videos of a larger set hold those of a smaller one.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
from multiprocessing import get_context
from typing import Any

import ml_collections

from sg4v_jax import files
from sg4v_jax.errors import WorkdirError
from sg4v_jax.study import pictures, records
from sg4v_jax.study.design import ARMS, Run
from sg4v_jax.text.tokenizer import train_byte_bpe
from sg4v_jax.world.aspects.scene import Scene, WorldSettings, sample_scene

FOLDER, TOKENIZER, DONE = "data", "tokenizer.json", "data.json"
DEV_CAPTIONS = "captions/dev.jsonl"
SPLITS = ("dev", "test")  # what models are asked about
_SEED_STEP, _CAPTIONS_FROM, _READING_FROM = 100_000, 20_000, 50_000  # of the scenes of a seed
_FIRST = {"dev": 0, "test": 10_000}  # no test of the world has looked at these test scenes
_CHUNK = 500  # pictures that one process draws at a time
_TEXTS = 4000  # records of a kind that the tokenizer is learnt from


def base_file(seed: int, *, path: str, name: str) -> str:
    """A file of pre-training records: `reading`, `stills` or `sheets`."""
    return f"seed-{seed}/{path}/{name}.json"


def questions_file(run: Run) -> str:
    """The questions that `run` trains on."""
    arm = ARMS[run.arm]
    path = "blank" if arm.blind == "all" else run.path
    return f"seed-{run.seed}/{path}/vqa_{arm.items}.json"


def captions_file(run: Run) -> str:
    """The captions that `run` trains on. Arms that differ in their questions alone share them."""
    arm, path = ARMS[run.arm], "blank" if ARMS[run.arm].blind else run.path
    name = arm.style if arm.dose == 0 else f"{arm.style}_{arm.dose:g}"
    if arm.style == "captioner":
        name = f"captioner_{run.tower}"
    return f"seed-{run.seed}/{path}/{name}.json"


def settings_of(config: ml_collections.ConfigDict) -> WorldSettings:
    """The world of a study."""
    return WorldSettings(**config.world)


def question_scenes(config: ml_collections.ConfigDict, seed: int, *, items: int) -> list[Scene]:
    """The videos that a seed's questions are about: one question each."""
    return _train_scenes(config, seed * _SEED_STEP, items // records.ASKED_ROUNDS)


def caption_scenes(config: ml_collections.ConfigDict, seed: int) -> list[Scene]:
    """The videos that a seed has captions of."""
    return _train_scenes(config, seed * _SEED_STEP + _CAPTIONS_FROM, config.counts.captions)


def split_scenes(config: ml_collections.ConfigDict, split: str) -> list[Scene]:
    """The videos of the development or of the test split."""
    settings, first = settings_of(config), _FIRST[split]
    numbers = range(first, first + config.counts[split])
    return [sample_scene(n, split=split, settings=settings) for n in numbers]


def make(
    config: ml_collections.ConfigDict,
    runs: Sequence[Run],
    *,
    out: str,
    jobs: int = 1,
    said: Callable[[str], None] = lambda line: None,
) -> None:
    """Makes what is not there yet in `out/data`.

    Args:
      jobs: processes that draw pictures.

    Raises:
      WorkdirError: data of another config is there.
    """
    folder = files.path(out) / FOLDER
    made = _made_with(config, runs)
    mark = folder / DONE
    if mark.exists():
        if files.read_json(mark) != made:
            raise WorkdirError(
                f"{mark}: made with other settings or runs",
                mend="use another --out, or remove the folder",
            )
        return
    said("data: pictures")
    _write_pictures(config, runs, folder=folder, jobs=jobs)
    said("data: records")
    for seed in sorted({run.seed for run in runs}):
        mine = [r for r in runs if r.seed == seed]
        for path in sorted({r.path for r in mine}):
            _write_base(config, seed, path=path, folder=folder)
        _write_arms(config, mine, folder=folder)
    _write_asked(config, folder=folder)
    if config.learn_tokenizer:
        _learn_tokenizer(config, runs, folder=folder)
    if hasattr(os, "sync"):
        os.sync()  # the mark says that all pictures are there
    files.write_json(mark, made)


def write_captioner(
    config: ml_collections.ConfigDict, run: Run, *, out: str, made: Mapping[str, str]
) -> None:
    """Writes what a captioner said of a seed's videos, by clip file, as the records of its arm."""
    found = records.captions_of(
        caption_scenes(config, run.seed),
        seed=run.seed,
        style="captioner",
        path=run.path,
        made=made,
    )
    _write(files.path(out) / FOLDER / captions_file(run), found)


def _train_scenes(config: ml_collections.ConfigDict, first: int, count: int) -> list[Scene]:
    settings = settings_of(config)
    return [sample_scene(n, split="train", settings=settings) for n in range(first, first + count)]


def _made_with(config: ml_collections.ConfigDict, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "world": config.world.to_dict(),
        "canvas": config.canvas,
        "counts": config.counts.to_dict(),
        "files": sorted({questions_file(r) for r in runs} | set(_caption_files(runs))),
        "seeds": sorted({r.seed for r in runs}),
        "bases": sorted({(name) for s in config.stages.values() for name in s.parts}),
    }


def _caption_files(runs: Iterable[Run]) -> dict[str, Run]:
    """The caption files that need no trained captioner, and a run for each."""
    return {captions_file(r): r for r in runs if ARMS[r.arm].style not in (None, "captioner")}


def _write_pictures(config, runs: Sequence[Run], *, folder, jobs: int) -> None:
    settings, how = settings_of(config), dict(canvas=config.canvas)
    framed = {r.seed for r in runs if r.path == "frames"}
    tasks: list[tuple[Callable, Sequence, dict[str, Any]]] = []
    if {"sheets", "stills"} & {name for stage in config.stages.values() for name in stage.parts}:
        sheets = dict(how, settings=settings, frames=bool(framed))
        tasks += [(pictures.write_sheets, p, sheets) for p in _chunks(range(config.counts.sheets))]
    for split in SPLITS:
        clips = dict(how, frames=bool(framed))
        tasks += [(pictures.write_clips, split_scenes(config, split), clips)]
    for seed in sorted({r.seed for r in runs}):
        items = max(ARMS[r.arm].items for r in runs if r.seed == seed)
        scenes = question_scenes(config, seed, items=items) + caption_scenes(config, seed)
        clips = dict(how, frames=seed in framed)
        tasks += [(pictures.write_clips, part, clips) for part in _chunks(scenes)]
    blank = pictures.blank(side=pictures.SIDE * config.canvas)
    pictures.write_png(pathlib.Path(folder) / pictures.BLANK_FILE, blank)
    with futures.ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        drawn = [pool.submit(draw, str(folder), part, **more) for draw, part, more in tasks]
        for done in futures.as_completed(drawn):
            done.result()


def _chunks(things: Sequence) -> list[Sequence]:
    return [things[n : n + _CHUNK] for n in range(0, len(things), _CHUNK)]


def _write_base(config, seed: int, *, path: str, folder) -> None:
    """The records of all stages; each seed has texts and questions of its own."""
    settings, wanted = settings_of(config), {n for s in config.stages.values() for n in s.parts}
    first = seed * _SEED_STEP + _READING_FROM
    make_ = {
        "reading": lambda: [
            records.reading(scene, seed=seed, settings=settings)
            for scene in _train_scenes(config, first, config.counts.reading)
        ],
        "sheets": lambda: [
            records.sheet_row(n, seed=seed, settings=settings, path=path)
            for n in range(config.counts.sheets)
        ],
    }
    make_["stills"] = lambda: make_["sheets"]()[:: len(pictures.SHEETS)]
    for name in sorted(wanted):
        _write(folder / base_file(seed, path=path, name=name), make_[name]())


def _write_arms(config, runs: Sequence[Run], *, folder) -> None:
    for run in {questions_file(r): r for r in runs}.values():
        arm = ARMS[run.arm]
        found = records.questions_of(
            question_scenes(config, run.seed, items=arm.items),
            seed=run.seed,
            settings=settings_of(config),
            path="blank" if arm.blind == "all" else run.path,
        )
        _write(folder / questions_file(run), found)
    for run in _caption_files(runs).values():
        arm = ARMS[run.arm]
        found = records.captions_of(
            caption_scenes(config, run.seed),
            seed=run.seed,
            style=arm.style,
            dose=arm.dose,
            path="blank" if arm.blind else run.path,
        )
        _write(folder / captions_file(run), found)


def _write_asked(config, *, folder) -> None:
    settings = settings_of(config)
    for split in SPLITS:
        rows = records.asked(split_scenes(config, split), settings=settings)
        _write_lines(folder / f"questions/{split}.jsonl", rows)
    _write_lines(folder / DEV_CAPTIONS, records.dev_captions(split_scenes(config, "dev")))


def _learn_tokenizer(config, runs: Sequence[Run], *, folder) -> None:
    """A tokenizer of the texts of the first seed; all seeds share it."""
    seed = min(r.seed for r in runs)
    mine = {questions_file(r) for r in runs if r.seed == seed}
    mine |= {name for name, r in _caption_files(runs).items() if r.seed == seed}
    named = {n for stage in config.stages.values() for n in stage.parts}
    path = next(r.path for r in runs if r.seed == seed)
    mine |= {base_file(seed, path=path, name=n) for n in named}
    texts = [
        turn["value"]
        for name in sorted(mine)
        for row in json.loads((folder / name).read_text())[:_TEXTS]
        for turn in row["conversations"]
    ]
    train_byte_bpe(texts, vocab_size=config.vocabulary).save(folder / TOKENIZER)


def _write(path: os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, json.dumps(rows))


def _write_lines(path: os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))
