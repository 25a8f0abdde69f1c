"""`sg4v bench answers`: how much of the time a benchmark's predictor leaves the device idle.

Both ways answer the same questions in the same batches, in turn, so that a busy machine slows both
alike; a first pass, which compiles, does not count.

  overlapped   as `sg4v eval predict` does: videos and batches made ready while the device works
  in turn      videos, then the batch, then the device, one thread
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from sg4v_jax.errors import RecordError
from sg4v_jax.evals.answering import Answerer, Pace
from sg4v_jax.evals.predict import in_groups
from sg4v_jax.evals.protocol import Protocol
from sg4v_jax.evals.questions import Question
from sg4v_jax.infer.engine import Engine
from sg4v_jax.report import machine

OVERLAPPED, IN_TURN = "overlapped", "in turn"


def measure(
    engine: Engine,
    questions: Sequence[Question],
    *,
    protocol: Protocol,
    data: str,
    pace: Pace,
    shard: int = 64,
    rounds: int = 3,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Answers `questions` both ways, `rounds` times each.

    Args:
      pace: of the overlapped way; both take its batch.
      shard: questions in a group, as for `predict`.
      progress: told what goes on.

    Returns:
      {"questions", "videos", "batch", "machine", "ways": [{"way", "questions_per_s",
      "idle_share"}], "ratio"}; measured values are {"median", "low", "high"}, the ratio is
      overlapped to in turn, round by round.

    Raises:
      RecordError: a question cannot be answered; time spent on errors would count.
    """
    groups = [[q.id for q in group] for group in in_groups(questions, size=shard)]
    serial = dataclasses.replace(pace, ahead=0)
    found: dict[str, list[tuple[float, float]]] = {OVERLAPPED: [], IN_TURN: []}
    pictures = 0
    for number in range(rounds + 1):
        for way, how in ((OVERLAPPED, pace), (IN_TURN, serial)):
            progress(f"round {number} of {rounds}, {way}" if number else f"compile, {way}")
            answerer = Answerer(engine, questions, protocol=protocol, data=data, pace=how)
            began = time.perf_counter()
            try:
                rows = [row for group in groups for row in answerer.answer(group)]
            finally:
                answerer.close()
            seconds = time.perf_counter() - began
            if failed := [row for row in rows if row["error"] is not None]:
                raise RecordError(
                    f"{failed[0]['id']}: {failed[0]['error']}", mend="measure what can be answered"
                )
            pictures = answerer.pictures_made
            if number:
                busy = answerer.clock.busy + answerer.clock.compiling
                found[way].append((len(rows) / seconds, 1 - busy / seconds))
    ratios = [a[0] / b[0] for a, b in zip(found[OVERLAPPED], found[IN_TURN], strict=True)]
    return {
        "questions": len(questions),
        "videos": pictures,
        "batch": pace.batch,
        "machine": machine.describe(),
        "ways": [
            {
                "way": way,
                "questions_per_s": _spread([speed for speed, _ in runs]),
                "idle_share": _spread([idle for _, idle in runs]),
            }
            for way, runs in found.items()
        ],
        "ratio": _spread(ratios),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
