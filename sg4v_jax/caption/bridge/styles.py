"""Arms: what of a clip's captions is learnt. A style sees one clip alone, so order, count and
videos are the same in every arm, and the same seed draws the same whatever else is in the file.

    detailed               the whole caption
    short                  the short caption
    first_n_sentences:N    the beginning of the detailed one
    truncate:TOKENS        the detailed one cut to at most so many tokens, as a text encoder cuts it
    long_static            what the first frame shows, as long as the detailed one
    shuffled               the detailed one's sentences in another order, drawn by the seed
    mix:STYLE=W,STYLE=W    one of these for each video, drawn by the seed with these weights

`long_static` is made of the caption of the first frame alone (the first differential caption, or
a column `static`): its sentences, from the first on and around again as often as it takes, until
there are as many words as in the detailed caption; the last sentence is cut where they are
enough. So it is as long and tells nothing that happens. A source that has no such caption cannot
have this arm: its rows are left out, and say so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import random
import re
from typing import Protocol

from sg4v_jax.caption.bridge import sentences
from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault
from sg4v_jax.errors import ConfigError
from sg4v_jax.text.tokenizer import Tokenizer

KINDS = (
    "detailed, short, first_n_sentences:N, truncate:TOKENS, long_static, shuffled, "
    "mix:detailed=0.7,short=0.3"
)


@dataclasses.dataclass(frozen=True)
class Tools:
    """What styles draw from and count with."""

    seed: int = 0
    tokenizer: Tokenizer | None = None


class Style(Protocol):
    """One arm: `name` as the user wrote it."""

    name: str

    def text(self, clip: CaptionedClip, tools: Tools) -> tuple[str, str]:
        """The text to learn, and the name of the style that made it.

        Raises:
          RowFault: the clip has not what the style needs.
        """


@dataclasses.dataclass(frozen=True)
class Simple:
    """A style without parts; `number` is its N or TOKENS."""

    name: str
    kind: str
    number: int = 0

    def text(self, clip: CaptionedClip, tools: Tools) -> tuple[str, str]:
        made = _MAKERS[self.kind](clip, self.number, tools)
        if not made:
            raise RowFault("nothing left", field=self.name)
        return made, self.name


@dataclasses.dataclass(frozen=True)
class Mix:
    """One of several styles for each clip."""

    name: str
    parts: tuple[tuple[Simple, float], ...]

    def text(self, clip: CaptionedClip, tools: Tools) -> tuple[str, str]:
        # All must be possible, so that the arm has the same clips whatever the draw.
        made = [style.text(clip, tools) for style, _ in self.parts]
        total = sum(weight for _, weight in self.parts)
        at = draw(tools.seed, clip.id, "mix") * total
        for text, (_, weight) in zip(made, self.parts, strict=True):
            at -= weight
            if at < 0:
                return text
        return made[-1]


def draw(seed: int, name: str, what: str) -> float:
    """A number from 0 to below 1, the same on every machine for the same seed, id and purpose."""
    digest = hashlib.sha256(f"{seed}/{name}/{what}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def parse(text: str) -> Style:
    """A style from its name.

    parse("mix:detailed=0.7,short=0.3").parts -> ((detailed, 0.7), (short, 0.3))

    Raises:
      ConfigError: no such style, or a number or weight that is none.
    """
    kind, _, rest = text.partition(":")
    if kind != "mix":
        return _simple(text)
    parts = []
    for part in rest.split(","):
        name, _, weight = part.rpartition("=")
        try:
            value = float(weight)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ConfigError(
                f"style {text!r}: weight {weight!r} of {name!r}",
                mend="write it like mix:detailed=0.7,short=0.3, weights above 0",
            )
        parts.append((_simple(name), value))
    if len({style.name for style, _ in parts}) < max(2, len(parts)):
        raise ConfigError(f"style {text!r}", mend="mix two or more styles, each once")
    return Mix(text, tuple(parts))


def _simple(text: str) -> Simple:
    kind, colon, number = text.partition(":")
    if kind in _NUMBERED and number.isascii() and number.isdecimal() and 0 < int(number) < 10**9:
        return Simple(f"{kind}:{int(number)}", kind, int(number))
    if kind not in _MAKERS or kind in _NUMBERED or colon:
        raise ConfigError(f"style {text!r} is unknown", mend=f"use one of {KINDS}")
    return Simple(kind, kind)


def slug(name: str) -> str:
    """A style's name as a file's: `mix:detailed=0.7,short=0.3` -> `mix_detailed-0.7_short-0.3`."""
    return re.sub(r"[:,]", "_", name.replace("=", "-"))


def needs_tokenizer(style: Style) -> bool:
    """Whether it, or a part of it, counts tokens."""
    inner = [s for s, _ in style.parts] if isinstance(style, Mix) else [style]
    return any(s.kind == "truncate" for s in inner)


def _detailed(clip: CaptionedClip, number: int, tools: Tools) -> str:
    if not clip.detailed:
        raise RowFault("empty caption", field="detailed")
    return clip.detailed


def _short(clip: CaptionedClip, number: int, tools: Tools) -> str:
    if not clip.short:
        raise RowFault("no short caption", field="short")
    return clip.short


def _first_n(clip: CaptionedClip, number: int, tools: Tools) -> str:
    return sentences.first(_detailed(clip, number, tools), number)


def _truncate(clip: CaptionedClip, number: int, tools: Tools) -> str:
    return tools.tokenizer.cut(_detailed(clip, number, tools), tokens=number)


def _long_static(clip: CaptionedClip, number: int, tools: Tools) -> str:
    if not clip.first_frame:
        raise RowFault("no first-frame caption", field="static")
    wanted = len(_detailed(clip, number, tools).split())
    told: list[str] = []
    for sentence in itertools.cycle(sentences.split(clip.first_frame)):
        told += sentence.split()
        if len(told) >= wanted:
            break
    text = " ".join(told[:wanted])
    return text if text.endswith((".", "!", "?")) else text.rstrip(",;:") + "."


def _shuffled(clip: CaptionedClip, number: int, tools: Tools) -> str:
    told = sentences.split(_detailed(clip, number, tools))
    if len(set(told)) < 2:
        return clip.detailed  # there is no other order
    rng, order = random.Random(f"{tools.seed}/{clip.id}/shuffled"), list(told)
    while order == told:
        rng.shuffle(order)
    return " ".join(order)


_NUMBERED = ("first_n_sentences", "truncate")
_MAKERS = {
    "detailed": _detailed,
    "short": _short,
    "first_n_sentences": _first_n,
    "truncate": _truncate,
    "long_static": _long_static,
    "shuffled": _shuffled,
}
