"""A caption as sentences: where each ends, with abbreviations, numbers and quotes in it."""

from __future__ import annotations

import re

# A stop, what may close after it, and then white space or the end; Chinese stops need no space.
_STOP = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+[”’」』）]*)")
# Words whose point ends no sentence; a single letter's neither ("J. Smith").
_SHORT = frozenset(
    ("mr", "mrs", "ms", "dr", "prof", "st", "vs", "no", "fig", "approx")
    + ("e.g", "i.e", "cf", "inc", "ltd", "jr", "sr")
)
_LAST_WORD = re.compile(r"([\w.]+)\.$")


def ends(text: str) -> list[int]:
    """Where in `text` each sentence ends, the last at its end.

        "A dog runs. It weighs 3.5 kg! Then"  ->  [11, 30, 35]

    Text without a stop is one sentence, empty text none.
    """
    found = []
    for stop in _STOP.finditer(text):
        if stop.group() == "." and _abbreviates(text[max(0, stop.start() - 12) : stop.end()]):
            continue
        found.append(stop.end())
    whole = len(text.rstrip())
    if whole and (not found or found[-1] < whole):
        found.append(whole)
    return found


def _abbreviates(tail: str) -> bool:
    word = _LAST_WORD.search(tail)
    if word is None:
        return False
    name = word.group(1)
    return name.lower() in _SHORT or (len(name) == 1 and name.isalpha() and name != "I")


def split(text: str) -> list[str]:
    """The sentences of `text`, without the white space between them."""
    parts, start = [], 0
    for end in ends(text):
        parts.append(text[start:end].strip())
        start = end
    return [part for part in parts if part]


def first(text: str, n: int) -> str:
    """The first `n` sentences as they stand; all of them where there are fewer."""
    found = ends(text)
    return text[: found[min(n, len(found)) - 1]].strip() if found else ""
