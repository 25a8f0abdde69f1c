"""How Video-Bench asks."""

from __future__ import annotations

from sg4v_jax.evals.protocol import (
    BEST_OPTION,
    CHOICE_SYSTEM,
    OPEN_ANSWER,
    SG4V_PREAMBLE,
    Protocol,
)
from sg4v_jax.evals.questions import Question

_WORDS = {6: "six", 5: "five", 4: "four", 3: "three", 2: "two"}


def block(question: Question) -> str:
    r"""`Question: ...\nOptions:\n (A) ...`: a blank stands before the options.

    The original's options field is one text that was never published; lettered lines are what its
    rule for answers implies.
    """
    letters = question.extra["letters"]
    options = "\n".join(f"({letter}) {letters[letter]}" for letter in sorted(letters))
    return f"Question: {question.text}\nOptions:\n {options}"


def official_text(question: Question) -> str:
    r"""The question as step 1 of the authors' README puts it, by the number of options.

        What? A.red B.blue \n Among the two options A, B above, the one closest to the correct answer is:

    Blanks differ from number to number, as there; one option alone is not shown at all.
    """
    letters = question.extra["letters"]
    count = len(letters)
    if count not in _WORDS:
        return question.text
    names = sorted(letters)
    # By letter, not by place: the rows of one file have them in another order.
    shown = " ".join(f"{name}.{letters[name]}" for name in names)
    lead = "Choices: " if count == 6 else " "
    end = "" if count in (6, 4) else " "
    return (
        f"{question.text}{lead}{shown} \n Among the {_WORDS[count]} options "
        f"{', '.join(names)} above, the one closest to the correct answer is:{end}"
    )


PROTOCOLS = {
    "sg4v": Protocol(
        benchmark="videobench",
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
        rule="letters a-h",
        headline="official-weighted",
        note="the option text is inferred; the paper's 41.2 used question files that were never "
        "published, and its average may have been the micro one",
    ),
    "official": Protocol(
        benchmark="videobench",
        name="official",
        question=official_text,
        frames=None,
        band=None,
        longest_side=None,
        rule="judge",
        headline="official-weighted",
        note="frames and generation are left to the model; greedy here",
    ),
}
