"""What TempCompass asks its judge, gpt-3.5-turbo-1106, and how it reads the answers.

The instructions are the authors' text, for non-commercial use; they are taken from the user's copy
of `prompt_templates.py` and known by their checksums.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Mapping

from sg4v_jax import files
from sg4v_jax.errors import ConfigError
from sg4v_jax.evals.judges import Asked, Rule
from sg4v_jax.evals.questions import Question

FILE = "prompt_templates.py"

# Length and the first 16 digits of the sha256 of each instruction.
_TEMPLATES = {
    "multi-choice": (339, "99d08eadc354f7b6"),
    "yes_no": (333, "bbd306992b0908be"),
    "caption_matching": (343, "d14b19cf2f873b81"),
    "captioning": (1433, "bc9b278689ed860e"),
}
_TITLES = {
    "multi-choice": "Multi-Choice Question",
    "yes_no": "Yes/No Question",
    "caption_matching": "Caption Matching Question",
}
_SYSTEM = "You are an AI assistant for question answering."

RULE = Rule(
    model="gpt-3.5-turbo-1106",
    settings={"max_tokens": 128, "temperature": 1.0, "top_p": 1, "presence_penalty": 1},
    attempts=11,
    wait=(1.0, 2.0),
)


def load_templates(data: str | os.PathLike) -> dict[str, str]:
    """The instructions by task, out of `prompt_templates.py` in `data`; the file is not run.

    Raises:
      ConfigError: the file is not there, or an instruction in it is not the published one.
    """
    name = files.path(data) / FILE
    mend = f"clone the TempCompass repository, whose {FILE} has the judge's instructions"
    if not name.exists():
        raise ConfigError(f"{name}: no such file, and the judge needs it", mend=mend)
    try:
        tree = ast.parse(name.read_text())
    except SyntaxError as e:
        raise ConfigError(f"{name}: line {e.lineno}: not Python", mend=mend) from e
    texts = {
        hashlib.sha256(node.value.encode()).hexdigest()[:16]: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    found = {}
    for task, (length, digest) in _TEMPLATES.items():
        if len(texts.get(digest, "")) != length:
            raise ConfigError(
                f"{name}: no text of {length} characters with sha256 {digest}..., the judge's "
                f"instruction for {task}",
                mend=mend,
            )
        found[task] = texts[digest]
    return found


def asked(question: Question, said: str, *, templates: Mapping[str, str] | None) -> Asked:
    """The judge's question about one answer. Without `templates` it can only be replayed."""
    messages = []
    if templates is not None:
        instruction = templates[question.task]
        if question.task == "captioning":
            text = (
                f"{instruction}\nVideo Description:{said}\n"
                f"Multi-Choice Question:\n{question.extra['mc_question']}\n"
            )
        else:
            text = (
                f"{instruction}\n{_TITLES[question.task]}:\n{question.text}\n"
                f"Ground-Truth Answer: {question.gold}\nModel Prediction: {said}"
            )
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]
    return Asked(question.id, said, messages)
