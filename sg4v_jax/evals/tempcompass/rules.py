"""TempCompass's rules: which answers need no judge, and which option they mean.

All take answers as `clean` leaves them. None means: no rule applies, a judge must decide.
"""

from __future__ import annotations

import re

_LETTERS = ("A", "B", "C", "D")


def clean(said: str) -> str:
    """An answer without the end mark that some tokenizers leave in it, stripped."""
    return said.replace("</s>", "").strip()


def multi_choice(said: str, *, gold: str) -> int | None:
    """1 or 0 for an answer to a question whose right option line is `gold`, "B. blue".

    "B. blue", "B", "B. the blue one", "B) blue"  -> 1
    "A", "A. blue"                                -> 0
    "blue", "The answer is B"                     -> None
    """
    if said == gold:
        return 1
    if said in _LETTERS:
        return int(said == gold[:1])
    for mark in (".", ")"):
        if said.startswith(tuple(letter + mark for letter in _LETTERS)):
            return int(said.split(mark)[0] == gold[:1])
    return None


def yes_no(said: str, *, gold: str) -> int | None:
    """1 or 0 for an answer that begins with yes or no, whatever the word goes on with.

    "Nothing" is a no and "yesterday" a yes.
    """
    lowered = said.lower()
    for word in ("yes", "no"):
        if lowered.startswith(word):
            return int(gold == word)
    return None


def caption_matching(said: str, *, question: str, gold: str) -> int | None:
    """1 or 0 for an answer that is an option, its sentence, or its label. The last hit counts.

    Option lines are "Sentence A: a man runs" (or Caption, Option); the label is "Sentence A", the
    bare label "A". With those of a question in mind:

        "Sentence A: a man runs", "a man runs", "A) a man runs", "Sentence A", "A", "A."
    """
    options = question.split("\n")[1:]
    labels = [option.split(": ")[0] for option in options]
    hit = None
    for option in options:
        if option == said:
            hit = option
    behind = said.split(") ")[1] if ") " in said else None
    for sentence in [option.split(": ")[1] for option in options if ": " in option]:
        if sentence in (said, behind):
            hit = sentence
    dotless = said.replace(".", "")
    for label in labels + [_bare(label) for label in labels]:
        if label in (said, dotless):
            hit = label
    if hit is None:
        return None
    label, _, sentence = gold.partition(": ")
    rights = (gold, gold.split(":")[0], sentence.split(": ")[0], _bare(label))
    return int(hit in rights)


def _bare(label: str) -> str:
    """`A` of "Sentence A"."""
    return label.split(" ")[-1]


def captioning(reply: str, *, gold: str) -> tuple[int, str, str | None]:
    """The rating that a judge's reply gives a caption, the answer in it, and the reasoning.

    The reply's last line with "Answer" counts, or all of it if there is none. It is right if it
    begins with the letter of `gold` and a point, and holds no other letter with one:

        "Reasoning: ...\\nAnswer: B. blue"  -> 1 for gold "B. blue"
        "B", "A. red or B. blue"            -> 0
    """
    answer, reasoning = None, None
    for line in reply.split("\n"):
        line = line.strip()
        if "Reasoning" in line:
            reasoning = line.replace("Reasoning:", "").strip()
        if "Answer" in line:
            answer = line.replace("Answer:", "").strip()
    if answer is None:
        answer = reply
    named = sum(answer.count(f"{letter}.") for letter in _LETTERS)
    right = answer.split(". ")[0] == gold.split(". ")[0] and named == 1
    return int(right), answer, reasoning


def caption_of(said: str, *, model: str) -> str:
    """The caption in an answer; two families of models wrap theirs, and are unwrapped by name."""
    if "gemini" in model:
        caption = said.strip().split("\n")[-1].replace("*", "").strip().strip('"')
        return caption.split(":")[1].strip().strip('"') if ":" in caption else caption
    if "reka" in model:
        last = said.split("\n")[-1]
        for text in (said, last):
            if text.count('"') == 2:
                return next(iter(re.findall(r'"(.*?)"', text)), text)
        for text in (said, last):
            if text.count(": ") == 1:
                return text.split(": ")[1]
    return said


def verdict(reply: str) -> int:
    """The rating in a judge's reply to the other tasks: Correct or Incorrect.

    Raises:
      ValueError: it says neither; the judge is asked again.
    """
    if "Correct" not in reply and "Incorrect" not in reply:
        raise ValueError("says neither Correct nor Incorrect")
    if reply.startswith("Correct"):
        return 1
    if reply.startswith("Incorrect"):
        return 0
    return int("Correct" in reply and "Incorrect" not in reply)
