"""What Video-Bench asks its judge, gpt-3.5-turbo-0613: which option an answer means.

The texts are those of `Step2_chatgpt_judge.py` of PKU-YuanGroup/Video-Bench (Apache-2.0), spelling
and all.
"""

from __future__ import annotations

import json

from sg4v_jax.evals.judges import Asked, Rule
from sg4v_jax.evals.questions import Question
from sg4v_jax.evals.videobench.protocols import official_text

RULE = Rule(model="gpt-3.5-turbo-0613", settings={}, attempts=3, wait=(2.0, 2.0))

_SYSTEM = "As a language expert, please complete the following task."
_TASK = (
    "You are now an answer selection expert, and I will provide you with a question with several "
    "options, as well as a target sentence. Please return the alphabet of the option with the "
    "highest probability of matching this target sentence. Given question with options and the "
    "target sequence:\n"
)
_FORM = (
    'Please output your responses in the form of a dictionary {"maximum probability":"xxx"}  '
    "where xxx is A or B or C or ..."
)


def asked(question: Question, said: str) -> Asked:
    """The judge's question about one answer; it sees the question as the official prompt has it."""
    pair = str({"target sequcene": said, "question": official_text(question)})
    messages = [
        {"role": "system", "content": _SYSTEM},
        {"role": "assistant", "content": _TASK + pair},
        {"role": "user", "content": _FORM},
    ]
    return Asked(question.id, said, messages)


def choice(reply: str) -> str:
    """The letter in a reply `{"maximum probability": "B"}`.

    Raises:
      ValueError: any other form, or a letter beyond F.
    """
    value = json.loads(reply)
    letter = value.get("maximum probability") if isinstance(value, dict) else None
    if letter not in ("A", "B", "C", "D", "E", "F"):
        raise ValueError(f"names {letter!r}")
    return letter
