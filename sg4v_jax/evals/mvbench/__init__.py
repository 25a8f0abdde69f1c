"""MVBench: 20 tasks of about 200 multiple-choice questions (OpenGVLab/MVBench)."""

from sg4v_jax.evals.mvbench.official import read_judged, read_predictions, write
from sg4v_jax.evals.mvbench.protocols import PROTOCOLS
from sg4v_jax.evals.mvbench.questions import TASKS, load
from sg4v_jax.evals.mvbench.scoring import rate, summarise

JUDGES = ()  # models whose scores were published

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
