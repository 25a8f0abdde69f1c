"""What lmms-eval asks -> requests of our engine: turns, pictures, lengths, ends.

lmms-eval gives a text and pictures or video paths; how they become a chat is ours to say. Its
`generation_kwargs` always hold `until`; where a task says nothing that is a blank line, which
would cut a caption after its first paragraph. So a blank line alone is not obeyed, any other
`until` is.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax.data.record import Visual
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.infer.engine import Engine, Request, Shown
from sg4v_jax.infer.generate import Sampling
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER, Turn

DEFAULT_UNTIL = ("\n\n",)
STYLES = ("question", "demo", "plain")
LONGEST_ANSWER = 1024


@dataclasses.dataclass(frozen=True)
class Generation:
    """How an answer is made: its length, the sampling, and the texts that end it."""

    max_new_tokens: int
    temperature: float
    top_p: float
    until: tuple[str, ...]

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p)

    def cut(self, said: str) -> str:
        """`said` up to the first of `until`."""
        ends = [at for stop in self.until if stop and (at := said.find(stop)) >= 0]
        return said[: min(ends)] if ends else said


def generation(kwargs: Mapping[str, Any], *, longest: int = LONGEST_ANSWER) -> Generation:
    """`generation_kwargs` of a task; greedy unless it asks for sampling.

        {"max_new_tokens": 16, "until": ["\\n\\n"], "temperature": 0}
          -> 16 tokens, greedy, nothing ends it early

    Raises:
      ConfigError: beams, which the engine has not.
    """
    if int(kwargs.get("num_beams") or 1) > 1:
        raise ConfigError(
            f"num_beams={kwargs['num_beams']}: only greedy and sampled decoding is there",
            mend="add --gen_kwargs num_beams=1",
        )
    until = kwargs.get("until") or ()
    until = (until,) if isinstance(until, str) else tuple(until)
    sampled = bool(kwargs.get("do_sample", float(kwargs.get("temperature") or 0) > 0))
    tokens = int(kwargs.get("max_new_tokens") or kwargs.get("max_gen_toks") or longest)
    return Generation(
        max_new_tokens=min(tokens, longest),
        temperature=float(kwargs.get("temperature") or 0) if sampled else 0.0,
        top_p=float(kwargs.get("top_p") or 1.0),
        until=() if until == DEFAULT_UNTIL else until,
    )


def wrap(text: str, *, style: str, preamble: str, pictures: int) -> str:
    """The user's words: places of the pictures, the preamble, the text.

    question  as ShareGPT4Video's TempCompass script asks: PREAMBLE + " Question: " + text
    demo      as its demo asks: PREAMBLE + text
    plain     the text alone

    Raises:
      ConfigError: another style.
    """
    if style not in STYLES:
        raise ConfigError(f"prompt={style}", mend=f"use one of {', '.join(STYLES)}")
    text = text.replace(IMAGE_PLACEHOLDER, "").strip()
    # A preamble about a grid makes no sense where no grid is shown.
    before = preamble if pictures else ""
    if style == "plain" or not before:
        before = ""
    elif style == "question":
        before = f"{before.rstrip()} Question: "
    return "".join([f"{IMAGE_PLACEHOLDER}\n"] * pictures) + before + text


def picture(visual: Any, engine: Engine) -> Shown:
    """A video's path, a PIL image or an array, as the model sees it.

    Raises:
      VideoError: the video cannot be read. RecordError: something else than these.
    """
    if isinstance(visual, str | os.PathLike):
        return engine.show(engine.settings.inputs.load(Visual("video", os.fspath(visual))).pixels)
    if hasattr(visual, "convert"):
        return engine.show(np.asarray(visual.convert("RGB")))
    if isinstance(visual, np.ndarray) and visual.ndim == 3 and visual.shape[2] == 3:
        return engine.show(visual.astype(np.uint8))
    raise RecordError(
        f"a visual of type {type(visual).__name__} cannot be shown",
        mend="give a path of a video, or an image",
    )


def simple_request(
    text: str, visuals: Sequence[Any] | None, engine: Engine, *, style: str
) -> Request:
    """The request of a task's text and its videos or images."""
    shown = [picture(v, engine) for v in flat(visuals)]
    preamble = engine.settings.inputs.preamble
    words = wrap(text, style=style, preamble=preamble, pictures=len(shown))
    return Request([Turn("user", words)], shown)


def chat_request(messages: Sequence[Mapping[str, Any]], engine: Engine, *, style: str) -> Request:
    """The request of a chat: messages of `role` and `content`, a text or parts of it.

    The preamble stands before the text of the first user's turn. A message of the system replaces
    the template's system text; one of the assistant at the end opens the answer.

    Raises:
      RecordError: a part that is neither text nor image nor video.
    """
    turns, shown, system = [], [], None
    for message in messages:
        texts, visuals = _parts(message["content"])
        if message["role"] == "system":
            system = "\n".join(texts)
            continue
        pictures = [picture(v, engine) for v in visuals]
        words = "\n".join(texts)
        if message["role"] == "user":
            own = style if not turns else "plain"
            preamble = engine.settings.inputs.preamble
            words = wrap(words, style=own, preamble=preamble, pictures=len(pictures))
        turns.append(Turn(message["role"], words))
        shown += pictures
    return Request(turns, shown, system=system)


def _parts(content: Any) -> tuple[list[str], list[Any]]:
    """Texts and visuals of a message."""
    if isinstance(content, str):
        return [content], []
    texts, visuals = [], []
    for part in content:
        kind = part.get("type")
        if kind == "text":
            texts.append(part["text"])
        elif kind in ("image", "video"):
            visuals.append(part.get("url", part.get(kind)))
        else:
            raise RecordError(f"a message part of type {kind!r}", mend="use text, image or video")
    return texts, visuals


def flat(visuals: Any) -> list[Any]:
    """Visuals as one list; tasks give None, one visual, a list, or lists of lists."""
    if visuals is None:
        return []
    if isinstance(visuals, list | tuple):
        return [v for inner in visuals for v in flat(inner)]
    return [visuals]
