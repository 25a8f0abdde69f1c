"""VideoChatGPT's generative benchmark: five scores of 0 to 5 by a judge (mbzuai-oryx/Video-ChatGPT)."""

from sg4v_jax.evals.videochatgpt.official import read_judged, read_predictions, write
from sg4v_jax.evals.videochatgpt.protocols import PROTOCOLS
from sg4v_jax.evals.videochatgpt.questions import TASKS, load
from sg4v_jax.evals.videochatgpt.scoring import rate, summarise

JUDGES = (
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-0125",
    "gpt-3.5-turbo-0613",
)  # models whose scores were published

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
