"""How MVBench asks."""

from __future__ import annotations

from sg4v_jax.evals.protocol import (
    BEST_OPTION,
    CHOICE_SYSTEM,
    OPEN_ANSWER,
    SG4V_PREAMBLE,
    Protocol,
    lettered,
)
from sg4v_jax.evals.questions import Question


def block(question: Question) -> str:
    """The question and its lettered options, without blanks at the end."""
    return f"Question: {question.text}\nOptions:\n{lettered(question.options)}".rstrip()


PROTOCOLS = {
    "sg4v": Protocol(
        benchmark="mvbench",
        name="sg4v",
        question=block,
        prefix=f" {SG4V_PREAMBLE} ",
        suffix=f" {BEST_OPTION}",
        system=CHOICE_SYSTEM,
        sampling="mvbench",
        visual="overview",
        max_new_tokens=32,
        answer_prefix=OPEN_ANSWER,
        prepend="(",
        rule="letters a-g",
        headline="micro",
        note="the released script passes temperature 1.0 and top_p 0.9 and decodes greedily",
    ),
    "official": Protocol(
        benchmark="mvbench",
        name="official",
        question=block,
        prefix=CHOICE_SYSTEM,
        suffix=BEST_OPTION,
        system=CHOICE_SYSTEM,
        sampling="mvbench",
        band=None,
        longest_side=None,
        max_new_tokens=100,
        answer_prefix=OPEN_ANSWER,
        prepend="(",
        first_line=True,
        rule="official",
        headline="micro",
        note="the chat template and the layout of frames are the model's own; the authors' model "
        "gets the system text twice, as here",
    ),
}
