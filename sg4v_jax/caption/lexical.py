"""What captions are made of: words, sentences, words of time, parts of speech."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax.errors import ConfigError

# How captions place events in time; single words, so that they can be counted by anyone.
_TEMPORAL = """
    after afterwards again already before begin beginning begins during earlier end ending
    ends eventually final finally first gradually immediately initially last lastly later
    meanwhile next now once previously second slowly soon start starting starts subsequently
    suddenly then third throughout until when while
"""
TEMPORAL = frozenset(_TEMPORAL.split())
# Penn Treebank tags by their beginning -> the paper's six classes.
CLASSES = {
    "noun": ("NN",),
    "adjective": ("JJ",),
    "adverb": ("RB", "WRB"),
    "verb": ("VB",),
    "numeral": ("CD",),
    "preposition": ("IN", "TO"),
}
_TAGGER = "textblob"

# Words with inner hyphens, apostrophes, points and commas as one, clitics apart, as in the Penn
# Treebank: "It's 3.5 time-lapses, don't" -> it 's 3.5 time-lapses do n't
_WORD = re.compile(
    r"\w+(?=n['’]t\b)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b"
    r"|\w+(?:[-.,/]\w+|:\d+|['’](?!(?:s|re|ve|ll|d|m)\b)\w+)*"
)
_SENTENCE = re.compile(r"[.!?]+(?:[\"'”’)]*)(?:\s+|$)")


def words(text: str) -> list[str]:
    """Lower-case words without punctuation.

    words("The dog's tail, then: a time-lapse.") -> the, dog, 's, tail, then, a, time-lapse
    """
    return [match.group().replace("’", "'") for match in _WORD.finditer(text.lower())]


def sentences(text: str) -> int:
    """How many sentences: "A dog. It runs 3.5 m." has two, and a text without a stop has one."""
    return sum(bool(words(part)) for part in _SENTENCE.split(text))


def tagger() -> str | None:
    """The part-of-speech tagger at hand, for example "textblob 0.20.1", or None."""
    if importlib.util.find_spec(_TAGGER) is None:
        return None
    return f"{_TAGGER} {importlib.metadata.version(_TAGGER)}"


def class_shares(texts: Sequence[str]) -> dict[str, float]:
    """Share of each class of `CLASSES` among all words.

    By textblob's lexicon and rules (Penn tags); shares by another tagger differ by some points,
    so compare only what one tagger counted.

    Raises:
      ConfigError: textblob is not installed.
    """
    if tagger() is None:
        raise ConfigError("parts of speech need the package textblob", mend="pip install textblob")
    from textblob.en import tag  # optional, and slow to load

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(kind for word, kind in tag(text) if re.search(r"\w", word))
    total = max(1, counts.total())
    return {
        name: sum(n for kind, n in counts.items() if kind.startswith(beginnings)) / total
        for name, beginnings in CLASSES.items()
    }


def lexical_statistics(texts: Mapping[str, str]) -> dict[str, Any]:
    """Of a set of captions: means a caption, and shares of all words.

    `words` and `sentences` are means a caption, `sentence_words` words a sentence, `vocabulary`
    different words, `temporal` the share of words in `TEMPORAL`. `classes` are the paper's parts
    of speech, with the `tagger` that they are by, or None where none is installed.
    """
    counted = [words(text) for text in texts.values()]
    total = sum(map(len, counted))
    stops = sum(map(sentences, texts.values()))
    temporal = sum(word in TEMPORAL for own in counted for word in own)
    named = tagger()
    return {
        "captions": len(texts),
        "words": total / max(1, len(texts)),
        "sentences": stops / max(1, len(texts)),
        "sentence_words": total / max(1, stops),
        "vocabulary": len({word for own in counted for word in own}),
        "temporal": temporal / max(1, total),
        "tagger": named,
        "classes": class_shares(list(texts.values())) if named else None,
    }
