"""Made-up benchmarks and answers to them with a set share of right ones."""

from __future__ import annotations

import json
import pathlib
import random

import pytest

from sg4v_jax.evals.benchmarks import get_protocol
from sg4v_jax.evals.run_files import prediction_row
from sg4v_jax.evals.score import Options, load_questions, score
from sg4v_jax.world.benchmark import make_benchmark


@pytest.fixture(scope="session")
def mini(tmp_path_factory):
    """`mini(shape, videos=6)`: the folder of a made-up benchmark, made once a session."""
    made: dict[tuple, pathlib.Path] = {}

    def make(shape: str, *, videos: int = 6, seed: int = 1) -> pathlib.Path:
        key = (shape, videos, seed)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("mini") / shape
            make_benchmark(str(made[key]), shape=shape, videos=videos, seed=seed)
        return made[key]

    return make


def _answer(benchmark: str, question, right: bool, rng: random.Random) -> str:
    """A right or a wrong answer in a form that the rules read."""
    if benchmark == "videochatgpt":
        return question.gold if right else "nothing at all"
    if question.task == "yes_no":
        return question.gold if right else {"yes": "no", "no": "yes"}[question.gold]
    if benchmark == "tempcompass":
        options = question.text.split("\n")[1:]
        wrong = [o for o in options if o != question.gold]
        return question.gold if right else rng.choice(wrong)
    letters = "ABCDEFGH"[: len(question.options)]
    gold = question.gold[1]
    letter = gold if right else rng.choice([c for c in letters if c != gold])
    return f"({letter}) {question.options[letters.index(letter)]}"


@pytest.fixture(scope="session")
def answered():
    """`answered(benchmark, data, out, accuracy=0.7, ...)`: a scored run's folder."""

    def run(
        benchmark: str,
        data,
        out,
        *,
        accuracy: float = 1.0,
        seed: int = 0,
        protocol: str = "sg4v",
        model: str = "models/oracle",
        missing: int = 0,
        options: Options | None = None,
    ) -> pathlib.Path:
        rng = random.Random(seed)
        out = pathlib.Path(out)
        out.mkdir(parents=True, exist_ok=True)
        questions = load_questions(benchmark, data=data).questions
        how = get_protocol(benchmark, protocol)
        lines = []
        for number, question in enumerate(questions):
            right = rng.random() < accuracy
            lost = number < missing
            row = prediction_row(
                question,
                prompt=how.prompt(question),
                prediction=None if lost else _answer(benchmark, question, right, rng),
                error="no such file" if lost else None,
            )
            lines.append(json.dumps(row) + "\n")
        (out / "predictions.jsonl").write_text("".join(lines))
        facts = {
            "benchmark": benchmark,
            "protocol": protocol,
            "model": model,
            "data": str(data),
            "limit": None,
        }
        (out / "run.json").write_text(json.dumps(facts))
        score(benchmark, data=data, predictions=out, out=out, options=options or Options())
        return out

    return run
