r"""Chat: turns to prompt text, and to token ids with image places and a label mask.

A prompt is blocks, here of Llama 3's kind, each `header + text + <|eot_id|>`:

    <|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n...<|eot_id|>
    <|start_header_id|>user<|end_header_id|>\n\n<image>\nWhat moves?<|eot_id|>
    <|start_header_id|>assistant<|end_header_id|>\n\nA ball.<|eot_id|>

(one line here is one block; the prompt has no line ends between them). Strings and rules are
those of the original system, sections 1.6, 1.7 and 1.9 of its specification; `templates.py` has
the blocks, `turns.py` the messages.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.text.templates import TEMPLATES, ChatML, InternLM2, Plain, Template, stop_ids
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.text.turns import (
    IMAGE_PLACEHOLDER,
    IMAGE_TOKEN,
    Turn,
    conversation_turns,
    normalise_llava,
    without_images,
)

__all__ = [
    "DEFAULT_QUERY",
    "GRID_PREAMBLE",
    "IMAGE_PLACEHOLDER",
    "IMAGE_TOKEN",
    "TEMPLATES",
    "ChatML",
    "Drop",
    "InternLM2",
    "Plain",
    "Template",
    "TokenizedChat",
    "Turn",
    "conversation_turns",
    "normalise_llava",
    "render",
    "stop_ids",
    "tokenize_chat",
    "video_query",
    "without_images",
]

GRID_PREAMBLE = (
    "The provided image arranges keyframes from a video in a grid view, keyframes are separated "
    "with white bands. Answer concisely with overall content and context of the video, "
    "highlighting any significant events, characters, or objects that appear throughout the "
    "frames."
)
DEFAULT_QUERY = "Describe this video in detail."


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

    Llama 3's: a message with no text has a header and no `<|eot_id|>`, as in the original, and
    messages are not stripped.

    Args:
      turns: messages in order.
      template: which blocks to write.
      generation: leave the last answer open for a model to go on: a bare assistant header
        after a user's turn, or the start of an answer where the last turn is the assistant's.

    Example: `render([Turn("user", "Hi")], TEMPLATES["llama_3_bare"], generation=True)` is

        <|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>
        <|start_header_id|>assistant<|end_header_id|>\n\n

    in one line, with real line ends for `\n`.
    """
    return template.render(turns, generation=generation)


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
      template: which blocks to write.
      generation: a prompt with its answer left open; nothing is trained, nothing dropped.
      normalise: 'llava' for the original's training text (`normalise_llava`); None leaves
        every `<image>` where it stands and refuses control tokens spelled in a message.
      double_bos: whether the tokenizer's bos stands before the prompt text. Llama 3's
        templates spell one already, so this makes two, and the released model was trained so.
        None: where the tokenizer adds one (never for InternLM2, whose template knows that it
        does). With a tokenizer that adds none, the original loses the token after each image
        (the line end) and drops chats of several rounds; here nothing is lost.
      where: file and record, for messages.

    Raises:
      RecordError: (normalise None) a message spells a control token, which would let text from
        outside end its turn and speak for another role; or (generation) the user's turn to
        answer is empty; or the template cannot write such turns.
      ConfigError: an unknown `normalise`.
    """
    if normalise == "llava":
        turns = normalise_llava(turns)
    elif normalise is None:
        _refuse_control_tokens(turns, tokenizer, template, generation=generation, where=where)
    else:
        raise ConfigError(f"normalise {normalise!r} is unknown", mend="use 'llava' or None")

    template.check(turns, where=where)
    if double_bos is None:
        double_bos = template.tokenizer_bos and tokenizer.adds_bos
    ids = [tokenizer.bos_id] if double_bos else []
    for number, chunk in enumerate(
        template.render(turns, generation=generation).split(IMAGE_PLACEHOLDER)
    ):
        ids += [IMAGE_TOKEN] * (number > 0) + tokenizer.encode(chunk, special=False)

    images = [i for i, token in enumerate(ids) if token == IMAGE_TOKEN]
    if generation:
        if any(t.role == "user" and not t.content for t in turns):
            raise RecordError(f"{_at(where)}empty message", mend="ask something")
        return TokenizedChat(ids, [False] * len(ids), images)
    drop = _drop_reason(ids, turns, tokenizer, template)
    trained = [False] * len(ids) if drop else template.trained(ids, turns, tokenizer)
    return TokenizedChat(ids, trained, images, drop)


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _refuse_control_tokens(
    turns: Sequence[Turn],
    tokenizer: Tokenizer,
    template: Template,
    *,
    generation: bool,
    where: str,
) -> None:
    for number, turn in enumerate(turns):
        text = template.message(turn, generation=generation)
        for chunk in text.split(IMAGE_PLACEHOLDER):
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
    if template.control_text(ids, turns, tokenizer):
        return Drop.CONTROL_TEXT
    # Where the text is finished with the pad token, `control_text` has counted it.
    finish = tokenizer.id_of(template.finish) if template.finish else None
    if tokenizer.pad_id != finish and tokenizer.pad_id in ids:
        return Drop.PAD_TEXT
    return None
