r"""Protocols: how a benchmark asks a model, as data.

A benchmark has two: `sg4v`, what the scripts of ShareGPT4Video do, and `official`, what its own
authors prescribe. The chat template is always the model's own; a protocol replaces its system text
and may open the answer:

    <system text> <user: <image>\n PREFIX question SUFFIX> <assistant: ANSWER_PREFIX ...

Strings are exact, blanks included: a blank more or less changes what a model answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sg4v_jax.evals.questions import Question
from sg4v_jax.text.chat import GRID_PREAMBLE, IMAGE_PLACEHOLDER, Turn

PROTOCOLS = ("sg4v", "official")

SG4V_PREAMBLE = GRID_PREAMBLE  # what all scripts of ShareGPT4Video say about the grid

# MVBench's system text; ShareGPT4Video uses it for Video-Bench too.
CHOICE_SYSTEM = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail "
    "and movement of objects, and the action and pose of persons. Based on your observations, "
    "select the best option that accurately addresses the question.\n"
)
BEST_OPTION = "\nOnly give the best option."
OPEN_ANSWER = "Best option:("


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way of asking one benchmark.

    Attributes:
      benchmark, name: what and whose.
      question: the text that stands for a question, before any prefix or suffix.
      prefix, suffix: around it; `suffix` by task where tasks differ.
      system: text of the system block in place of the model's own; None keeps the model's.
      template: chat template in place of the model's own; None keeps it. The original's double
        bos comes from the tokenizer (`text.chat.tokenize_chat`), so no protocol asks for it.
      frames, sampling, band, longest_side, visual: how the video is shown, as `InputSpec` has
        them; None keeps the model's own. `visual` is `anyres` or the 576-token `overview`.
      max_new_tokens, temperature, top_p: generation; temperature 0 is greedy.
      answer_prefix: begins the assistant's turn; `prepend` begins the answer that is scored.
      first_line: whether only the answer's first line is kept.
      rule: which rule reads the answer (`score` of the benchmark knows it).
      headline: the average that is quoted first.
      note: what this protocol leaves to us, for people.
    """

    benchmark: str
    name: str
    question: Callable[[Question], str]
    rule: str
    headline: str
    prefix: str = ""
    suffix: str | Mapping[str, str] = ""
    system: str | None = None
    template: str | None = None
    frames: int | None = 16
    sampling: str | None = None
    band: int | None = 50
    longest_side: int | None = 1920
    visual: str | None = None
    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    answer_prefix: str = ""
    prepend: str = ""
    first_line: bool = False
    note: str = ""

    def prompt(self, question: Question) -> str:
        """The user's words, without the place of the picture."""
        suffix = self.suffix if isinstance(self.suffix, str) else self.suffix[question.task]
        return f"{self.prefix}{self.question(question)}{suffix}"

    def turns(self, question: Question) -> list[Turn]:
        """The chat that asks `question`: a user's turn and, maybe, the answer's beginning."""
        asked = [Turn("user", f"{IMAGE_PLACEHOLDER}\n{self.prompt(question)}")]
        return [*asked, Turn("assistant", self.answer_prefix)] if self.answer_prefix else asked

    def answer(self, said: str) -> str:
        """What is scored of what the model said."""
        said = said.strip()
        return self.prepend + (said.split("\n")[0] if self.first_line else said)

    @property
    def inputs(self) -> dict[str, Any]:
        """Fields of `InputSpec` that this protocol sets."""
        named = ("template", "frames", "sampling", "band", "longest_side", "visual")
        return {k: getattr(self, k) for k in named if getattr(self, k) is not None}

    @property
    def generation(self) -> dict[str, Any]:
        """Settings of decoding, for a run's notes."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
        }


def plain(question: Question) -> str:
    """The question as the file has it."""
    return question.text


def lettered(options: tuple[str, ...]) -> str:
    r"""`(A) red\n(B) blue` of ("red", "blue")."""
    return "\n".join(f"({chr(ord('A') + i)}) {text}" for i, text in enumerate(options))
