"""TempCompass: four tasks on 410 short videos, 7,540 questions on time (llyx97/TempCompass)."""

from sg4v_jax.evals.tempcompass.official import read_judged, read_predictions, write
from sg4v_jax.evals.tempcompass.protocols import PROTOCOLS
from sg4v_jax.evals.tempcompass.questions import TASKS, load
from sg4v_jax.evals.tempcompass.scoring import rate, summarise

JUDGES = ("gpt-3.5-turbo-1106",)  # models whose scores were published

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
