"""TempCompass: four tasks on 410 short videos, 7,540 questions on time (llyx97/TempCompass)."""

from sg4v_jax.evals.tempcompass.official import read_judged, read_predictions, write
from sg4v_jax.evals.tempcompass.protocols import PROTOCOLS
from sg4v_jax.evals.tempcompass.questions import TASKS, load
from sg4v_jax.evals.tempcompass.scoring import rate, summarise

__all__ = [
    "PROTOCOLS",
    "TASKS",
    "load",
    "rate",
    "read_judged",
    "read_predictions",
    "summarise",
    "write",
]
