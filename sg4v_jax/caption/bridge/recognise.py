"""Which records of a conversation mix are caption samples: one question for a description and
one answer. The published mixes do not mark them, so the rule is stated, settable and counted.

    question          one round, whose question asks for a description of the video (`ASKS`)
    question:REGEX    one round, whose question matches
    id:REGEX          the record's id matches
    media:REGEX       the path of its video or image matches
    words:N           one round, whose answer has at least N words
    ids:FILE          its id stands in the file, one a line

Expressions match from the start (`re.match`), whatever the case.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from sg4v_jax.data.readers.source import read_text
from sg4v_jax.errors import ConfigError
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER

# Ours: how VideoChatGPT asks for descriptions is not listed anywhere; check the count it finds.
ASKS = (
    r"(?:please\s+|can you\s+|could you\s+|would you\s+)*"
    r"(?:describe|narrate|caption|summari[sz]e|elaborate|portray"
    r"|(?:give|write|provide|offer|present|share|create|generate)\b.{0,40}\b"
    r"(?:description|account|caption|summary|overview|narrative|depiction)"
    r"|tell (?:me |us )?(?:about|what happens)|explain what (?:happens|is happening)"
    r"|what(?: i|')s (?:happening|going on|taking place))\b"
    r".*\b(?:video|clip|scene|footage|recording)\b"
)
KINDS = ("question", "id", "media", "words", "ids")


@dataclasses.dataclass(frozen=True)
class Rule:
    """One of the rules above; `text` as the user wrote it."""

    text: str
    kind: str
    pattern: re.Pattern | None = None
    words: int = 0
    ids: frozenset[str] = frozenset()

    def __call__(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is a caption sample."""
        if self.kind == "id":
            return bool(self.pattern.match(str(record.get("id", record.get("video_id", "")))))
        if self.kind == "ids":
            return str(record.get("id", record.get("video_id"))) in self.ids
        if self.kind == "media":
            paths = record.get("video", record.get("image", record.get("video_id")))
            paths = paths if isinstance(paths, list) else [paths]
            return any(isinstance(p, str) and self.pattern.match(p) for p in paths)
        asked, said = one_round(record)
        if asked is None or said is None:
            return False
        if self.kind == "words":
            return len(said.split()) >= self.words
        return bool(self.pattern.match(asked))


def parse(text: str) -> Rule:
    """A rule from its name.

    Raises:
      ConfigError: no such rule, an expression that is none, or a count that is none.
      RecordError: the file of ids cannot be read.
    """
    kind, colon, rest = text.partition(":")
    if kind not in KINDS or (not rest and (colon or kind != "question")):
        raise ConfigError(
            f"caption samples cannot be told by {text!r}",
            mend="use question, question:REGEX, id:REGEX, media:REGEX, words:N or ids:FILE",
        )
    if kind == "words":
        if not (rest.isascii() and rest.isdecimal() and len(rest) < 10):
            raise ConfigError(f"{text!r}: {rest!r} is no count", mend="write it like words:40")
        return Rule(text, kind, words=int(rest))
    if kind == "ids":
        return Rule(text, kind, ids=frozenset(read_text(rest).split("\n")) - {""})
    try:
        return Rule(text, kind, re.compile(rest or ASKS, re.IGNORECASE | re.DOTALL))
    except re.error as e:
        raise ConfigError(f"{text!r}: {e}", mend="mend the regular expression") from e


def one_round(record: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Question (without `<image>`) and answer of a record of one round; None where it has more."""
    if "q" in record:
        asked, said = record.get("q"), record.get("a")
    else:
        turns = record.get("conversations")
        if not isinstance(turns, list) or len(turns) != 2:
            return None, None
        if not all(isinstance(t, dict) for t in turns):
            return None, None
        asked, said = (t.get("value") for t in turns)
    if not isinstance(asked, str) or not isinstance(said, str):
        return None, None
    return asked.replace(IMAGE_PLACEHOLDER, "").strip(), said
