"""Turns: the messages of a conversation, and how LLaVA's records and training texts hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sg4v_jax.errors import RecordError

IMAGE_PLACEHOLDER = "<image>"
IMAGE_TOKEN = -200  # stands among token ids for one image; never in a vocabulary

_ROLES = {"human": "user", "gpt": "assistant"}


@dataclasses.dataclass(frozen=True)
class Turn:
    """One message: `role` is 'user' or 'assistant'; `content` may hold `<image>` anywhere."""

    role: str
    content: str

    def __post_init__(self):
        if self.role not in _ROLES.values():
            raise RecordError(f"turn of unknown role {self.role!r}", mend="use user or assistant")


def normalise_llava(turns: Sequence[Turn]) -> list[Turn]:
    r"""`turns` as the original trains on them: at most one image a message, in front.

    In a message with `<image>`, all of them are taken out, the rest is stripped, and one
    `<image>` and a line end are put before it: `"Look <image> here <image>"` becomes
    `"<image>\nLook  here"`. Other messages stay as they are.
    """
    return [
        dataclasses.replace(turn, content=_image_in_front(turn.content))
        if IMAGE_PLACEHOLDER in turn.content
        else turn
        for turn in turns
    ]


def without_images(text: str) -> str:
    """`text` with no `<image>` left (nor the line end behind it).

    Not even one that closes up around another taken out: `"<ima<image>ge>a"` becomes `"a"`.
    """
    while IMAGE_PLACEHOLDER in text:
        text = text.replace(f"{IMAGE_PLACEHOLDER}\n", "").replace(IMAGE_PLACEHOLDER, "")
    return text


def conversation_turns(record: Mapping, *, where: str = "") -> list[Turn]:
    """The turns of a LLaVA record: `{"conversations": [{"from": "human"|"gpt", "value"}]}`.

    A first turn that is not human is skipped, as in the original.

    Args:
      record: one object of an annotation file.
      where: the file, for messages.

    Raises:
      RecordError: no conversations, an unknown speaker, a value that is not text, or turns
        that do not alternate; names file, record, turn and value.
    """
    at = f"{where}: " if where else ""
    at += f"record {record.get('id', '(no id)')!r}: "
    turns = record.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise RecordError(
            f"{at}field 'conversations' is {turns!r:.40}, not a list of turns",
            mend='give it as [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]',
        )
    parsed = [_parse_turn(turn, at=f"{at}turn {number}: ") for number, turn in enumerate(turns)]
    first = 0 if parsed[0].role == "user" else 1
    if len(parsed) == first:
        raise RecordError(f"{at}no human turn", mend="add a human turn before the gpt turn")
    for number, turn in enumerate(parsed[first:]):
        if turn.role != ("user", "assistant")[number % 2]:
            raise RecordError(
                f"{at}turn {number + first}: 'from' is {turns[number + first]['from']!r} again",
                mend="make the turns alternate: human, gpt, human, gpt",
            )
    return parsed[first:]


def _image_in_front(text: str) -> str:
    rest = text.replace(IMAGE_PLACEHOLDER, "").strip()
    return f"{IMAGE_PLACEHOLDER}\n{rest}".strip()


def _parse_turn(turn: object, *, at: str) -> Turn:
    if not isinstance(turn, Mapping) or turn.get("from") not in _ROLES:
        speaker = turn.get("from") if isinstance(turn, Mapping) else turn
        raise RecordError(f"{at}'from' is {speaker!r:.40}", mend="use 'human' or 'gpt'")
    if not isinstance(turn.get("value"), str):
        raise RecordError(f"{at}'value' is {turn.get('value')!r:.40}", mend="give it as text")
    try:
        turn["value"].encode()
    except UnicodeEncodeError as e:
        raise RecordError(
            f"{at}'value' has a half of a character at place {e.start} ({e.object[e.start]!r})",
            mend="write the character whole; json escapes those beyond U+FFFF as two halves",
        ) from e
    return Turn(_ROLES[turn["from"]], turn["value"])
