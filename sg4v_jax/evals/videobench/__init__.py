"""Video-Bench: 13 data sets on three levels, 17,036 questions (PKU-YuanGroup/Video-Bench)."""

from sg4v_jax.evals.videobench.official import read_judged, read_predictions, write
from sg4v_jax.evals.videobench.protocols import PROTOCOLS
from sg4v_jax.evals.videobench.questions import TASKS, load
from sg4v_jax.evals.videobench.scoring import rate, summarise

JUDGES = ("gpt-3.5-turbo-0613",)  # models whose scores were published

__all__ = [
    "JUDGES",
    "PROTOCOLS",
    "TASKS",
    "load",
    "rate",
    "read_judged",
    "read_predictions",
    "summarise",
    "write",
]
