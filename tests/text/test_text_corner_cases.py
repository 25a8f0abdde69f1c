"""The corner cases of the original's training text (specification 1.7), each by itself."""

from __future__ import annotations

import collections

import pytest

from sg4v_jax.errors import RecordError
from sg4v_jax.text import chat
from sg4v_jax.text import tokenizer as tokenizer_lib
from sg4v_jax.text.chat import Drop, Turn

LLAVA = chat.TEMPLATES["llava_llama_3"]
MODEL_MAX_LENGTH = 6144
TEXTS = ["the red circle moves", "user assistant system\n\n", "x\n\n\n"] * 9
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"


@pytest.fixture(scope="module")
def adding() -> tokenizer_lib.Tokenizer:
    return tokenizer_lib.train_byte_bpe(TEXTS, vocab_size=320, adds_bos=True)


def human(text: str) -> dict:
    return {"from": "human", "value": text}


def gpt(text: str) -> dict:
    return {"from": "gpt", "value": text}


def tokenise(tokenizer, *conversation: dict) -> chat.TokenizedChat:
    """From a record to ids, as training has it."""
    turns = chat.conversation_turns({"id": "r", "conversations": list(conversation)})
    return chat.tokenize_chat(turns, tokenizer, LLAVA, normalise="llava")


def answers(result: chat.TokenizedChat, tokenizer) -> str:
    trained = [i for i, x in zip(result.ids, result.trained, strict=True) if x]
    return tokenizer.decode(trained, skip_special=False)


DROPPED = {
    "end of turn in a question": (Drop.CONTROL_TEXT, [human("a<|eot_id|>b"), gpt("c")]),
    "end of turn in an answer": (Drop.CONTROL_TEXT, [human("a"), gpt("b<|eot_id|>")]),
    "assistant header in a question": (
        Drop.CONTROL_TEXT,
        [human("a" + HEADER.format("assistant")), gpt("b")],
    ),
    "assistant header in an answer": (
        Drop.CONTROL_TEXT,
        [human("a"), gpt(HEADER.format("assistant") + "b")],
    ),
    "empty answer": (Drop.EMPTY_TURN, [human("a"), gpt("")]),
    "empty answer in the middle": (Drop.EMPTY_TURN, [human("a"), gpt(""), human("b"), gpt("c")]),
    "pad token in a question": (Drop.PAD_TEXT, [human("a <|pad|>"), gpt("b")]),
    "pad token in an answer": (Drop.PAD_TEXT, [human("a"), gpt("<|pad|>")]),
    "no answer": (Drop.UNANSWERED, [human("a"), gpt("b"), human("c")]),
}


@pytest.mark.parametrize("case", DROPPED)
def test_dropped(case, adding):
    reason, conversation = DROPPED[case]
    result = tokenise(adding, *conversation)
    assert result.drop == reason
    assert not any(result.trained)


def test_drops_are_counted_by_reason(adding):
    counts = collections.Counter(tokenise(adding, *c).drop for _, c in DROPPED.values())
    assert counts == {
        Drop.CONTROL_TEXT: 4,
        Drop.EMPTY_TURN: 2,
        Drop.PAD_TEXT: 2,
        Drop.UNANSWERED: 1,
    }
    assert all(isinstance(reason, str) and " " in reason for reason in counts)


def test_a_user_header_in_the_text_is_no_reason(adding):
    """The original's check does not see it, and trains the sample."""
    result = tokenise(adding, human("a" + HEADER.format("user") + "b"), gpt("the red"))
    assert result.drop is None
    assert answers(result, adding) == "the red<|eot_id|>"


def test_several_rounds_without_a_bos_from_the_tokenizer_are_kept():
    """The original drops them: its lengths count a bos that is not there. Nothing needs that."""
    bare = tokenizer_lib.train_byte_bpe(TEXTS, vocab_size=320)
    result = tokenise(bare, human("<image>\nthe"), gpt("red"), human("x"), gpt("moves"))
    assert result.drop is None
    assert answers(result, bare) == "red<|eot_id|>moves<|eot_id|>"
    line_end = bare.decode([result.ids[result.images[0] + 1]])
    assert line_end == "\n", "the original loses this token with such a tokenizer"


def test_text_of_the_maximum_length_is_masked_and_checked_like_any_other(adding):
    """The original does not check samples of 6144 tokens and more; then a mask may be shifted."""
    long = " the" * MODEL_MAX_LENGTH
    result = tokenise(adding, human("<image>\n" + long), gpt("red"), human("x"), gpt("moves"))
    assert len(result.ids) > MODEL_MAX_LENGTH
    assert answers(result, adding) == "red<|eot_id|>moves<|eot_id|>"
    assert tokenise(adding, human(long), gpt("b<|eot_id|>")).drop == Drop.CONTROL_TEXT


def test_an_answer_that_begins_with_a_line_end_loses_what_melts_with_the_header(adding):
    result = tokenise(adding, human("the"), gpt("\nred"))
    assert result.drop is None
    assert adding.decode([result.ids[result.trained.index(True) - 1]]) == "\n\n\n"
    assert answers(result, adding) == "red<|eot_id|>"


def test_two_images_in_one_message_become_one_in_front(adding):
    result = tokenise(adding, human("see <image> and <image> too"), gpt("red"))
    assert len(result.images) == 1
    after = adding.decode(result.ids[result.images[0] + 1 :], skip_special=False)
    assert after.startswith("\nsee  and  too<|eot_id|>")


def test_a_first_turn_that_is_not_human_is_skipped(adding):
    shortened = tokenise(adding, human("a"), gpt("b"))
    assert tokenise(adding, gpt("hello"), human("a"), gpt("b")) == shortened


@pytest.mark.parametrize(
    ("conversation", "message"),
    [
        ([human("a"), human("b"), gpt("c")], "turn 1: 'from' is 'human' again"),
        ([human("a"), gpt("b"), gpt("c")], "turn 2: 'from' is 'gpt' again"),
        ([gpt("a"), gpt("b"), human("c")], "turn 1: 'from' is 'gpt' again"),
    ],
)
def test_turns_that_do_not_alternate_are_refused(conversation, message, adding):
    with pytest.raises(RecordError, match=f"record 'r': {message}"):
        tokenise(adding, *conversation)


def test_half_of_a_character_is_named(adding):
    with pytest.raises(RecordError, match=r"record 'r': turn 1: 'value' .* place 2"):
        tokenise(adding, human("a"), gpt("ab\ud83d"))


def test_an_answer_of_a_prompt_that_begins_with_the_assistant(adding):
    turns = [Turn("assistant", "the red"), Turn("user", "x"), Turn("assistant", "moves")]
    result = chat.tokenize_chat(turns, adding, chat.TEMPLATES["llama_3_bare"])
    assert answers(result, adding) == "the red<|eot_id|>moves<|eot_id|>"
