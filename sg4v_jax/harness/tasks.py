"""What the task files name: questions, prompts and scores, all from `evals`.

A task's rows come from the benchmark's own files, in the folder that an environment variable
names (`FOLDERS`). Prompts are made and answers scored by the code that `sg4v eval` runs, so the
numbers are the same.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import ConfigError
from sg4v_jax.evals import judges, scores
from sg4v_jax.evals.benchmarks import get_protocol, open_benchmark
from sg4v_jax.evals.questions import Prediction, Question
from sg4v_jax.evals.score import load_questions

FOLDERS = {
    "tempcompass": "SG4V_TEMPCOMPASS_DIR",
    "videobench": "SG4V_VIDEOBENCH_DIR",
    "mvbench": "SG4V_MVBENCH_DIR",
}
JUDGE = "SG4V_JUDGE"  # as --judge of `sg4v eval score`; none by default
METRIC = "sg4v_score"
NO_ANSWER = "[sg4v: no answer: "  # what the model says where there is nothing to answer to


def data_folder(benchmark: str) -> str:
    """The folder of a benchmark's files.

    Raises:
      ConfigError: the environment does not name one.
    """
    variable = FOLDERS[benchmark]
    if not (folder := os.environ.get(variable)):
        raise ConfigError(
            f"{variable} is not set", mend=f"export {variable}=the folder of {benchmark}'s files"
        )
    return folder


@functools.cache
def questions_of(benchmark: str, task: str, folder: str) -> dict[str, Question]:
    """The questions of a task by id, read once a process."""
    return {q.id: q for q in load_questions(benchmark, data=folder, tasks=(task,)).questions}


def question_of(doc: Mapping[str, Any]) -> Question:
    """The question that a row of `docs` stands for."""
    folder = data_folder(doc["benchmark"])
    return questions_of(doc["benchmark"], doc["task"], folder)[doc["id"]]


def rows(named: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of the task that `named` tells: benchmark, protocol, task."""
    found = questions_of(named["benchmark"], named["task"], data_folder(named["benchmark"]))
    return [
        {
            "benchmark": named["benchmark"],
            "protocol": named["protocol"],
            "task": q.task,
            "id": q.id,
            "group": q.group or "",
            "video": q.video,
            "question": q.text,
            "gold": q.gold,
        }
        for q in found.values()
    ]


def docs(dataset):
    """`process_docs`: the one row of a task's file -> a row for each question."""
    import datasets

    return datasets.Dataset.from_list(rows(dataset[0]))


def text(doc: Mapping[str, Any]) -> str:
    """`doc_to_text`: the user's words, exactly as `sg4v eval predict` has them."""
    return get_protocol(doc["benchmark"], doc["protocol"]).prompt(question_of(doc))


def visual(doc: Mapping[str, Any]) -> list[str]:
    """`doc_to_visual`: the path of the video (or of a folder of frames)."""
    folder = data_folder(doc["benchmark"])
    return [files.safe_join(folder, doc["video"], where=doc["id"])]


def results(doc: Mapping[str, Any], said: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`process_results`: keeps the answer; `score` rates a task's answers together."""
    answer = {k: doc[k] for k in ("benchmark", "protocol", "task", "id")}
    return {METRIC: answer | {"prediction": said[0]}}


def score(answers: Sequence[Mapping[str, Any]]) -> float:
    """The aggregation: a task's score in %, nan where it has none (captions without a judge).

    >>> score([{"benchmark": "mvbench", "protocol": "sg4v", "task": "action_count",
    ...         "id": "action_count/0", "prediction": "(B) 2"}])
    100.0
    """
    first = answers[0]
    benchmark, folder = first["benchmark"], data_folder(first["benchmark"])
    room = open_benchmark(benchmark)
    known = questions_of(benchmark, first["task"], folder)
    # Padding of several processes may ask a question twice.
    predictions = {a["id"]: as_prediction(a["prediction"]) for a in answers}
    rated = room.rate(
        [known[name] for name in predictions],
        predictions,
        protocol=get_protocol(benchmark, first["protocol"]),
        judge=judges.open_judge(os.environ.get(JUDGE, "none"), stored=room.read_judged),
        data=folder,
        model="",
    )
    found = scores.cell(rated, task=first["task"]).score
    return math.nan if found is None else found


def as_prediction(said: str) -> Prediction:
    """What our model said, with "nothing" told from an empty answer."""
    if said.startswith(NO_ANSWER):
        return Prediction(None, said.removeprefix(NO_ANSWER).removesuffix("]"))
    return Prediction(said)


def no_answer(error: str) -> str:
    """What the model says in place of an answer: lmms-eval has no word for "none"."""
    return f"{NO_ANSWER}{error}]"
