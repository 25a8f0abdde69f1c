"""The quickstart: world data, a short training from the shipped base, answers, a report."""

from __future__ import annotations

import os
import time

import ml_collections
from rich.console import Console
from rich.progress import Progress

from sg4v_jax import files
from sg4v_jax.data.record import Visual
from sg4v_jax.infer.chat import Chat
from sg4v_jax.infer.engine import Engine
from sg4v_jax.tasks import video_sft, world_eval
from sg4v_jax.train.loop import Outcome
from sg4v_jax.world.dataset import make_dataset

BASE = "asset:world"
TEST_SEED = 23
# Half of the questions are temporal: what comes first. (Directions are in the world too, but a
# model this small does not learn them in minutes.)
MIX = {"order": 1.0, "order_yesno": 1.0, "static": 2.0}


def run(
    out: str | os.PathLike,
    *,
    config: ml_collections.ConfigDict,
    videos: int,
    test_videos: int,
    clip: str,
    console: Console,
) -> Outcome:
    """Makes data, trains, answers and reports in `out`; each part goes on where it stopped.

    Args:
      config: the training config; its annotations are set to the data made here.
      videos, test_videos: how many clips to render to train on, and to ask about.
      clip: a real video for the path check, "" for none.
    """
    folder = files.path(out)
    began = time.perf_counter()
    train, test, model = (str(folder / name) for name in ("data/train", "data/test", "model"))
    make_world(train, videos=videos, seed=config.run.seed + 21, split="train", console=console)
    make_world(test, videos=test_videos, seed=TEST_SEED, split="heldout", console=console)
    with config.unlocked():
        config.data.annotations = (str(files.path(train) / "train.json"),)
    trained_from = time.perf_counter()
    outcome = video_sft.train(config, folder=model, console=console)
    if not outcome.finished:
        return outcome
    now = time.perf_counter()
    world_eval.evaluate(
        model,
        data=test,
        out=folder,
        clip=clip,
        facts={
            "model": f"{world_eval.parameters(model)}, started from the base that the package "
            "ships (configs/world_base.py)",
            "trained on": f"{videos} new videos, {int(outcome.state.step)} steps, "
            f"{now - trained_from:.0f} s",
            "data": f"rendered in {trained_from - began:.0f} s, seed {config.run.seed + 21}; test "
            f"seed {TEST_SEED}",
        },
        console=console,
    )
    return outcome


def make_world(folder: str, *, videos: int, seed: int, split: str, console: Console) -> None:
    """`sg4v world make` with a progress bar; nothing where the data is there already."""
    with Progress(console=console) as bar:
        task = bar.add_task(f"render {split}", total=videos)
        make_dataset(
            folder,
            videos=videos,
            seed=seed,
            split=split,
            mix=MIX,
            progress=lambda done, _: bar.update(task, completed=done),
        )
        bar.update(task, completed=videos)


def answer_only(out: str | os.PathLike, *, clip: str, console: Console) -> None:
    """The shipped base answers about two fresh held-out videos and a real clip, on the console."""
    data = str(files.path(out) / "data/answer_only")
    make_world(data, videos=2, seed=TEST_SEED + 1, split="heldout", console=console)
    engine = Engine.load(BASE)
    shown: dict[str, Chat] = {}
    for row in files.read_jsonl(files.path(data) / "questions.jsonl"):
        chat = Chat(
            engine, visual=Visual("video", str(files.path(data) / row["video"])), max_new_tokens=16
        )
        answer = chat.ask(row["text"])
        if row["video"] not in shown:
            console.print(f"\n{row['video']}", style="bold", markup=False)
        shown[row["video"]] = chat
        console.print(f"  {row['text']}\n    answer: {answer}   (right: {row['answer']})")
    if clip:
        console.print("\npath check: this model has only seen shapes", style="bold")
        chat = Chat(engine, visual=Visual("video", clip), max_new_tokens=64)
        console.print(f"  {os.path.basename(clip)}: {chat.ask('Describe this video in detail.')}")
