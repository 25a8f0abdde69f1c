"""Reads answers and captions back: which option a text means, which events it tells of."""

from __future__ import annotations

import re
from collections.abc import Sequence

_EVENT_WORDS = {
    "move": r"moves|moving",
    "resize": r"grows|shrinks|resizing|changes size",
    "recolour": r"turns|recoloring|changes color",
}
_EVENT_PATTERN = re.compile(
    r"\b(?:" + "|".join(f"(?P<{family}>{words})" for family, words in _EVENT_WORDS.items()) + r")\b"
)


def match_answer(text: str, options: Sequence[str]) -> int | None:
    """The index of the option that `text` means, or None if that is none or not clear.

    Case and punctuation do not count. Tried in this order: the text is an option; it begins with
    one, as whole words ("No, it ..." is "no"); exactly one occurs in it as whole words. Where
    options overlap the longer one counts: "at the top left" is "top left", not "top" or "left".
    """
    words = _plain(text)
    plain = [_plain(option) for option in options]
    if words in plain:
        return plain.index(words) if plain.count(words) == 1 else None
    spans = [
        (match.start(), match.end(), index)
        for index, option in enumerate(plain)
        if option
        for match in re.finditer(rf"(?<!\S){re.escape(option)}(?!\S)", words)
    ]
    longest = [span for span in spans if not any(_inside(span, other) for other in spans)]
    found = {index for start, _, index in longest if start == 0} or {i for _, _, i in longest}
    return found.pop() if len(found) == 1 else None


def caption_events(text: str) -> list[str]:
    """The event families that a caption tells of, in order of first mention.

    >>> caption_events("first it turns from red to blue. then it moves left slowly.")
    ['recolour', 'move']
    """
    families = (match.lastgroup for match in _EVENT_PATTERN.finditer(_plain(text)))
    return list(dict.fromkeys(families))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _inside(span: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    """Whether `span` lies within the strictly longer `other`."""
    longer = other[1] - other[0] > span[1] - span[0]
    return longer and other[0] <= span[0] and span[1] <= other[1]
