r"""Chat templates: how turns become one prompt text, which of its tokens are trained, what stops.

    llava_llama_3   Llama 3's blocks under LLaVA's system text: the released 8B model
    llama_3_bare    the same without a system block
    plain           an image and its caption: LLaVA's projector pre-training
    chatml          <|im_start|>ROLE\nTEXT<|im_end|>\n: SmolLM2, Qwen
    internlm2       ShareCaptioner-Video: all images before the whole chat

Another system text is `dataclasses.replace(TEMPLATES["chatml"], name=..., system=...)`. Strings
and rules are those of the original system, sections 1.6, 1.7, 5.5 and 5.6 of its specification.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from sg4v_jax.errors import RecordError
from sg4v_jax.text.control_tokens import (
    BOS,
    END_HEADER,
    END_OF_DOCUMENT,
    END_OF_TEXT,
    EOT,
    IM_END,
    IM_START,
    INTERNLM2_IM_END,
    INTERNLM2_IM_START,
    SENTENCE_END,
    SENTENCE_START,
    START_HEADER,
)
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.text.turns import IMAGE_PLACEHOLDER, IMAGE_TOKEN, Turn, without_images


@dataclasses.dataclass(frozen=True)
class Template:
    """Blocks of Llama 3's kind, `start ROLE header_end TEXT end gap`; other kinds derive from it.

    Attributes:
      name: how configs and checkpoints call it.
      system: text of a block before the first turn, None for no such block.
      begin: what every prompt text begins with.
      start, header_end, end, gap: the parts of a block. `start` and `end` are control tokens,
        which stand in no message; `end` closes an answer and is trained with it, `gap` is not.
      counted: control tokens whose number shows that a message spells one.
      finish: what closes a whole training text (and is trained).
      stops: control tokens that end an answer, of which the vocabulary must have the first.
      tokenizer_bos: whether a tokenizer that adds a bos adds it here too. Llama 3's templates
        spell one themselves, so the released model was trained with two.
    """

    name: str
    system: str | None

    begin: ClassVar[str] = BOS
    start: ClassVar[str] = START_HEADER
    header_end: ClassVar[str] = f"{END_HEADER}\n\n"
    end: ClassVar[str] = EOT
    gap: ClassVar[str] = ""
    counted: ClassVar[tuple[str, ...]] = (EOT,)
    finish: ClassVar[str] = ""
    stops: ClassVar[tuple[str, ...]] = (EOT, END_OF_TEXT)
    tokenizer_bos: ClassVar[bool] = True

    def header(self, role: str) -> str:
        """What opens a block of `role`."""
        return f"{self.start}{role}{self.header_end}"

    def message(self, turn: Turn, *, generation: bool) -> str:
        """The text of `turn` as it stands in the prompt."""
        return turn.content

    def check(self, turns: Sequence[Turn], *, where: str) -> None:
        """Refuses turns that this template cannot write.

        Raises:
          RecordError: naming `where` and what is wrong with them.
        """

    def render(self, turns: Sequence[Turn], *, generation: bool) -> str:
        """The prompt text of `turns`; see `chat.render`."""
        prompt = self.begin
        if self.system is not None:
            prompt += self._block("system", self.system)
        for turn in turns:
            prompt += self._block(turn.role, self.message(turn, generation=generation))
        if not generation:
            return prompt + self.finish
        if turns and turns[-1].role == "assistant":
            return prompt.removesuffix(self.end + self.gap)
        return prompt + self.header("assistant")

    def trained(
        self, ids: Sequence[int], turns: Sequence[Turn], tokenizer: Tokenizer
    ) -> list[bool]:
        """True for the answers' tokens in `ids`, their `end`, and what finishes the text.

        As many tokens are left out of an answer's block as its header has alone; an answer that
        begins with a line end melts with the header's last token and loses it so.
        """
        start, end = tokenizer.id_of(self.start), tokenizer.id_of(self.end)
        header_length = len(tokenizer.encode(self.header("assistant"), special=False))
        trained, at = [False] * len(ids), 0
        for role in ([] if self.system is None else ["system"]) + [t.role for t in turns]:
            block = ids.index(start, at)
            at = ids.index(end, block) + 1
            if role == "assistant":
                trained[block + header_length : at] = [
                    i != IMAGE_TOKEN for i in ids[block + header_length : at]
                ]
        if self.finish:
            trained[at:] = [True] * len(ids[at:])
        return trained

    def control_text(self, ids: Sequence[int], turns: Sequence[Turn], tokenizer: Tokenizer) -> bool:
        """Whether a message spells what only the template may write, judged by `ids`."""
        blocks = len(turns) + (self.system is not None)
        expected = dict.fromkeys(self.counted, blocks)
        if self.finish:
            expected[self.finish] = 1
        header = self.header("assistant").rstrip()
        return any(ids.count(tokenizer.id_of(t)) != n for t, n in expected.items()) or any(
            header in turn.content for turn in turns
        )

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Ids that end an answer; see `stop_ids`."""
        known = [token for token in self.stops[1:] if tokenizer.has(token)]
        return frozenset(tokenizer.id_of(token) for token in (self.stops[0], *known))

    def _block(self, role: str, text: str) -> str:
        # The original leaves the end out where there is no text.
        return self.header(role) + text + (self.end + self.gap if text else "")


@dataclasses.dataclass(frozen=True)
class ChatML(Template):
    r"""`<|im_start|>ROLE\nTEXT<|im_end|>\n`, with no bos of its own."""

    begin: ClassVar[str] = ""
    start: ClassVar[str] = IM_START
    header_end: ClassVar[str] = "\n"
    end: ClassVar[str] = IM_END
    gap: ClassVar[str] = "\n"
    counted: ClassVar[tuple[str, ...]] = (IM_START, IM_END)
    stops: ClassVar[tuple[str, ...]] = (IM_END, END_OF_DOCUMENT)

    def _block(self, role: str, text: str) -> str:
        return self.header(role) + text + self.end + self.gap


@dataclasses.dataclass(frozen=True)
class InternLM2(ChatML):
    r"""ShareCaptioner-Video's: bos, every image, then ChatML in InternLM2's spelling.

    `<image>` is taken out of the messages (with the line end behind it) and put in front.
    Training texts strip their messages and end with `</s>`; trained are answers with their end,
    and the line end and `</s>` after the last:

        <s><image>[UNUSED_TOKEN_146]user\nQ[UNUSED_TOKEN_145]\n
        [UNUSED_TOKEN_146]assistant\nA[UNUSED_TOKEN_145]\n</s>    (in one line)
    """

    begin: ClassVar[str] = SENTENCE_START
    start: ClassVar[str] = INTERNLM2_IM_START
    end: ClassVar[str] = INTERNLM2_IM_END
    counted: ClassVar[tuple[str, ...]] = (INTERNLM2_IM_START, INTERNLM2_IM_END)
    finish: ClassVar[str] = SENTENCE_END
    stops: ClassVar[tuple[str, ...]] = (INTERNLM2_IM_END, SENTENCE_END)
    tokenizer_bos: ClassVar[bool] = False  # `begin` is the one bos that the original has

    def message(self, turn: Turn, *, generation: bool) -> str:
        text = without_images(turn.content)
        return text if generation else text.strip()

    def render(self, turns: Sequence[Turn], *, generation: bool) -> str:
        images = sum(turn.content.count(IMAGE_PLACEHOLDER) for turn in turns)
        chat = super().render(turns, generation=generation).removeprefix(self.begin)
        return self.begin + IMAGE_PLACEHOLDER * images + chat


@dataclasses.dataclass(frozen=True)
class Plain(Template):
    r"""An image and its caption, `<image>CAPTION\n`; the user's words are thrown away.

    All after the image is trained. The only bos is the one that the tokenizer adds.
    """

    begin: ClassVar[str] = ""
    end: ClassVar[str] = "\n"
    stops: ClassVar[tuple[str, ...]] = (END_OF_TEXT, END_OF_DOCUMENT, SENTENCE_END)

    def message(self, turn: Turn, *, generation: bool) -> str:
        return IMAGE_PLACEHOLDER if turn.role == "user" else turn.content

    def check(self, turns: Sequence[Turn], *, where: str) -> None:
        roles = [turn.role for turn in turns]
        if roles not in (["user"], ["user", "assistant"]) or (
            IMAGE_PLACEHOLDER not in turns[0].content
        ):
            raise RecordError(
                f"{where}{': ' if where else ''}template 'plain' is for one <image> and its "
                f"caption, not for turns of {', '.join(roles) or 'nobody'}",
                mend="use a chat template, or give one user turn with <image> and one answer",
            )

    def render(self, turns: Sequence[Turn], *, generation: bool) -> str:
        texts = [self.message(turn, generation=generation) for turn in turns]
        return "".join(texts) + ("" if generation else self.end)

    def trained(
        self, ids: Sequence[int], turns: Sequence[Turn], tokenizer: Tokenizer
    ) -> list[bool]:
        image = ids.index(IMAGE_TOKEN)
        return [i > image and token != IMAGE_TOKEN for i, token in enumerate(ids)]

    def control_text(self, ids: Sequence[int], turns: Sequence[Turn], tokenizer: Tokenizer) -> bool:
        return False  # it writes no control token, so none can be forged

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        r"""The ends of text, and the line end where it is a token of its own.

        A line end can also be melted with what stands before it (Llama 3 has `.\n`).
        """
        known = {tokenizer.id_of(token) for token in self.stops if tokenizer.has(token)}
        line_end = tokenizer.encode(self.end, special=False)
        return frozenset(known | set(line_end if len(line_end) == 1 else []))


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
        Plain(name="plain", system=None),
        ChatML(name="chatml", system=None),
        InternLM2(name="internlm2", system=None),
    )
}


def stop_ids(tokenizer: Tokenizer, template: Template) -> frozenset[int]:
    """Ids at which a model that answers in `template` has said all.

    Llama 3: 128009 and 128001; InternLM2: 92542 and 2.

    Raises:
      CheckpointError: the vocabulary lacks the token that closes an answer.
    """
    return template.stop_ids(tokenizer)
