r"""Chat: turns to prompt text, and to token ids with image places and a label mask.

A prompt is blocks of Llama 3's kind, each `header + text + <|eot_id|>`:

    <|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n...<|eot_id|>
    <|start_header_id|>user<|end_header_id|>\n\n<image>\nWhat moves?<|eot_id|>
    <|start_header_id|>assistant<|end_header_id|>\n\nA ball.<|eot_id|>

(one line here is one block; the prompt has no line ends between them). Strings and rules are
those of the original system, sections 1.6, 1.7 and 1.9 of its specification.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence

from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.text.tokenizer import BOS, END_HEADER, EOT, START_HEADER, Tokenizer

IMAGE_PLACEHOLDER = "<image>"
IMAGE_TOKEN = -200  # stands in `ids` for one image; never in a vocabulary

GRID_PREAMBLE = (
    "The provided image arranges keyframes from a video in a grid view, keyframes are separated "
    "with white bands. Answer concisely with overall content and context of the video, "
    "highlighting any significant events, characters, or objects that appear throughout the "
    "frames."
)
DEFAULT_QUERY = "Describe this video in detail."

_ROLES = {"human": "user", "gpt": "assistant"}


@dataclasses.dataclass(frozen=True)
class Template:
    """How turns become one string: Llama 3 blocks, with a system text or without."""

    name: str
    system: str | None


TEMPLATES: Mapping[str, Template] = {
    t.name: t
    for t in (
        Template(
            name="llava_llama_3",
            system="You are a helpful language and vision assistant. You are able to understand "
            "the visual content that the user provides, and assist the user with a variety of "
            "tasks using natural language.",
        ),
        Template(name="llama_3_bare", system=None),
    )
}


@dataclasses.dataclass(frozen=True)
class Turn:
    """One message: `role` is 'user' or 'assistant'; `content` may hold `<image>` anywhere."""

    role: str
    content: str

    def __post_init__(self):
        if self.role not in _ROLES.values():
            raise RecordError(f"turn of unknown role {self.role!r}", mend="use user or assistant")


class Drop(enum.StrEnum):
    """Why a sample must not be trained on: what makes the original mask the whole of it."""

    EMPTY_TURN = "empty turn"
    UNANSWERED = "last turn is not an answer"
    CONTROL_TEXT = "end of turn or assistant header spelled in the text"
    PAD_TEXT = "pad token spelled in the text"


@dataclasses.dataclass(frozen=True)
class TokenizedChat:
    """A chat as token ids; three parallel views of one sequence.

    Attributes:
      ids: token ids; `IMAGE_TOKEN` where an image stands (one place an image, widened later).
      trained: same length; True for the tokens that a model learns to say.
      images: positions in `ids` where images stand, ascending.
      drop: None, or why the sample must be dropped and counted (then nothing is trained).
    """

    ids: list[int]
    trained: list[bool]
    images: list[int]
    drop: Drop | None = None


def video_query(query: str = DEFAULT_QUERY) -> str:
    """The user message of a question about one grid image.

    The original puts no space between preamble and query; the released model knows it so.
    """
    return f"{IMAGE_PLACEHOLDER}\n{GRID_PREAMBLE}{query}"


def render(turns: Sequence[Turn], template: Template, *, generation: bool) -> str:
    r"""The prompt text of `turns`.

    A message with no text has a header and no `<|eot_id|>`, as in the original. Messages are
    not stripped.

    Args:
      turns: messages in order.
      template: which system block to begin with.
      generation: leave the last answer open for a model to go on: a bare assistant header
        after a user's turn, or the start of an answer where the last turn is the assistant's.

    Example: `render([Turn("user", "Hi")], TEMPLATES["llama_3_bare"], generation=True)` is

        <|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>
        <|start_header_id|>assistant<|end_header_id|>\n\n

    in one line, with real line ends for `\n`.
    """
    prompt = BOS
    if template.system is not None:
        prompt += _header("system") + template.system + EOT
    for turn in turns:
        prompt += _header(turn.role) + turn.content + (EOT if turn.content else "")
    if not generation:
        return prompt
    if turns and turns[-1].role == "assistant":
        return prompt.removesuffix(EOT)
    return prompt + _header("assistant")


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


def tokenize_chat(
    turns: Sequence[Turn],
    tokenizer: Tokenizer,
    template: Template,
    *,
    generation: bool = False,
    normalise: str | None = None,
    double_bos: bool | None = None,
    where: str = "",
) -> TokenizedChat:
    r"""Token ids, image places and label mask of a chat.

    The text is cut at each `<image>` and every piece is tokenised on its own. Trained are each
    answer's tokens and its closing `<|eot_id|>`; headers with their two line ends are not. An
    answer that begins with a line end melts with its header's into one token, which is then
    not trained either (all as in the original).

    Worked example, one letter a token, `llama_3_bare`, for `<image>\nQ` answered by `A`
    (`b` bos, `<` `>` header ends, `u` `a` role names, `n` two line ends, `e` eot):

        ids      b  <  u  >  n  -200  \n  Q  e  <  a  >  n  A  e
        trained  .  .  .  .  .  .     .   .  .  .  .  .  .  x  x
        images   [5]

    Args:
      turns: messages in order, any number of images in any of them.
      tokenizer: gives the ids.
      template: which system block to begin with.
      generation: a prompt with its answer left open; nothing is trained, nothing dropped.
      normalise: 'llava' for the original's training text (`normalise_llava`); None leaves
        every `<image>` where it stands and refuses control tokens spelled in a message.
      double_bos: whether `ids` begin with two bos tokens. The template spells one; a tokenizer
        whose post-processor adds another gives two, and the released model was trained so.
        None: two where the tokenizer adds one. With a tokenizer that adds none, the original
        loses the token after each image (the line end); here nothing is lost.
      where: file and record, for messages.

    Raises:
      RecordError: (normalise None) a message spells a control token, which would let text from
        outside end its turn and speak for another role; or (generation) the user's turn to
        answer is empty.
      ConfigError: an unknown `normalise`.
    """
    if normalise == "llava":
        turns = normalise_llava(turns)
    elif normalise is None:
        _refuse_control_tokens(turns, tokenizer, where)
    else:
        raise ConfigError(f"normalise {normalise!r} is unknown", mend="use 'llava' or None")

    if double_bos is None:
        double_bos = tokenizer.adds_bos
    ids = [tokenizer.bos_id] if double_bos else []
    for number, chunk in enumerate(
        render(turns, template, generation=generation).split(IMAGE_PLACEHOLDER)
    ):
        ids += [IMAGE_TOKEN] * (number > 0) + tokenizer.encode(chunk, special=False)

    images = [i for i, token in enumerate(ids) if token == IMAGE_TOKEN]
    if generation:
        if any(t.role == "user" and not t.content for t in turns):
            raise RecordError(f"{_at(where)}empty message", mend="ask something")
        return TokenizedChat(ids, [False] * len(ids), images)
    drop = _drop_reason(ids, turns, tokenizer, template)
    trained = [False] * len(ids) if drop else _answer_mask(ids, turns, tokenizer, template)
    return TokenizedChat(ids, trained, images, drop)


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
    at = f"{_at(where)}record {record.get('id', '(no id)')!r}: "
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


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _header(role: str) -> str:
    return f"{START_HEADER}{role}{END_HEADER}\n\n"


def _image_in_front(text: str) -> str:
    rest = text.replace(IMAGE_PLACEHOLDER, "").strip()
    return f"{IMAGE_PLACEHOLDER}\n{rest}".strip()


def _parse_turn(turn: object, *, at: str) -> Turn:
    if not isinstance(turn, Mapping) or turn.get("from") not in _ROLES:
        speaker = turn.get("from") if isinstance(turn, Mapping) else turn
        raise RecordError(f"{at}'from' is {speaker!r:.40}", mend="use 'human' or 'gpt'")
    if not isinstance(turn.get("value"), str):
        raise RecordError(f"{at}'value' is {turn.get('value')!r:.40}", mend="give it as text")
    return Turn(_ROLES[turn["from"]], turn["value"])


def _refuse_control_tokens(turns: Sequence[Turn], tokenizer: Tokenizer, where: str) -> None:
    for number, turn in enumerate(turns):
        for chunk in turn.content.split(IMAGE_PLACEHOLDER):
            found = tokenizer.control_ids.intersection(tokenizer.encode(chunk, special=False))
            if found:
                token = tokenizer.token_of(min(found))
                raise RecordError(
                    f"{_at(where)}turn {number} ({turn.role}): the text holds the control token "
                    f"{token!r}",
                    mend="take it out of the text; only the chat template may write it",
                )


def _drop_reason(
    ids: list[int], turns: Sequence[Turn], tokenizer: Tokenizer, template: Template
) -> Drop | None:
    if not turns or any(not turn.content for turn in turns):
        return Drop.EMPTY_TURN
    if turns[-1].role != "assistant":
        return Drop.UNANSWERED
    blocks = len(turns) + (template.system is not None)
    header = _header("assistant").rstrip()
    if ids.count(tokenizer.eot_id) != blocks or any(header in turn.content for turn in turns):
        return Drop.CONTROL_TEXT
    if tokenizer.pad_id in ids:
        return Drop.PAD_TEXT
    return None


def _answer_mask(
    ids: list[int], turns: Sequence[Turn], tokenizer: Tokenizer, template: Template
) -> list[bool]:
    """True for answers and their eot; there is one eot a block, so blocks are found by it."""
    header_length = len(tokenizer.encode(_header("assistant"), special=False))
    trained = [False] * len(ids)
    start = 0
    for role in ([] if template.system is None else ["system"]) + [t.role for t in turns]:
        end = ids.index(tokenizer.eot_id, start)
        if role == "assistant":
            for i in range(start + header_length, end + 1):
                trained[i] = ids[i] != IMAGE_TOKEN
        start = end + 1
    return trained
