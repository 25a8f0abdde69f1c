"""Templates beside Llama 3's: exact prompts, ids, label masks and stop ids."""

from __future__ import annotations

import dataclasses

import pytest

from sg4v_jax.errors import CheckpointError, RecordError
from sg4v_jax.text import chat
from sg4v_jax.text import tokenizer as tokenizer_lib
from sg4v_jax.text.chat import TEMPLATES, Drop, Turn

CHATML, PLAIN, INTERNLM2 = TEMPLATES["chatml"], TEMPLATES["plain"], TEMPLATES["internlm2"]
IMAGE = chat.IMAGE_TOKEN


def dialogue(*contents: str) -> list[Turn]:
    return [Turn(("user", "assistant")[i % 2], c) for i, c in enumerate(contents)]


def trained_ids(result: chat.TokenizedChat) -> list[int]:
    return [i for i, x in zip(result.ids, result.trained, strict=True) if x]


def test_every_template_goes_by_its_name():
    assert {name: t.name for name, t in TEMPLATES.items()} == {name: name for name in TEMPLATES}
    assert set(TEMPLATES) == {"llava_llama_3", "llama_3_bare", "plain", "chatml", "internlm2"}


# ChatML


def test_chatml_prompt_byte_by_byte():
    named = dataclasses.replace(CHATML, name="named", system="Be brief.")
    turns = dialogue("<image>\nWhat?", "A cat.", "Where <image>?")
    expected = (
        "<|im_start|>user\n<image>\nWhat?<|im_end|>\n"
        "<|im_start|>assistant\nA cat.<|im_end|>\n"
        "<|im_start|>user\nWhere <image>?<|im_end|>\n"
    )
    opened = "<|im_start|>assistant\n"
    assert chat.render(turns, CHATML, generation=True) == expected + opened
    system = "<|im_start|>system\nBe brief.<|im_end|>\n"
    assert chat.render(turns, named, generation=True) == system + expected + opened
    prefilled = chat.render([*turns, Turn("assistant", "On")], CHATML, generation=True)
    assert prefilled == expected + opened + "On"


def test_chatml_trains_answers_and_their_end(chatml_tokenizer):
    t = chatml_tokenizer
    system = dataclasses.replace(CHATML, name="named", system="red")
    for template in (CHATML, system):
        result = chat.tokenize_chat(dialogue("<image>\nthe", "red", "up?", "moves"), t, template)
        end = [t.id_of("<|im_end|>")]
        answers = (t.encode(a, special=False) + end for a in ("red", "moves"))
        assert trained_ids(result) == [i for answer in answers for i in answer]
        text = t.decode([i for i in result.ids if i != IMAGE], skip_special=False)
        prompt = chat.render(
            dialogue("<image>\nthe", "red", "up?", "moves"), template, generation=False
        )
        assert text == prompt.replace("<image>", "")
        assert result.ids[0] == t.id_of("<|im_start|>")


def test_chatml_refuses_and_drops_control_text(chatml_tokenizer):
    for token in ("<|im_start|>", "<|im_end|>"):
        turns = dialogue(f"a {token} b", "c")
        with pytest.raises(RecordError, match="turn 0"):
            chat.tokenize_chat(turns, chatml_tokenizer, CHATML)
        result = chat.tokenize_chat(turns, chatml_tokenizer, CHATML, normalise="llava")
        assert result.drop == Drop.CONTROL_TEXT
    empty = chat.tokenize_chat(dialogue("a", ""), chatml_tokenizer, CHATML)
    assert empty.drop == Drop.EMPTY_TURN and not any(empty.trained)


# InternLM2


def test_internlm2_prompt_byte_by_byte():
    turns = dialogue("<image>\nWhat? ", "A cat.", "And <image>here?\n")
    asked = "[UNUSED_TOKEN_146]user\n{}[UNUSED_TOKEN_145]\n"
    said = "[UNUSED_TOKEN_146]assistant\n{}[UNUSED_TOKEN_145]\n"
    expected = asked.format("What? ") + said.format("A cat.") + asked.format("And here?\n")
    prompt = chat.render(turns, INTERNLM2, generation=True)
    assert prompt == "<s><image><image>" + expected + "[UNUSED_TOKEN_146]assistant\n"
    closed = chat.render([*turns, Turn("assistant", " Yes. ")], INTERNLM2, generation=False)
    stripped = asked.format("What?") + said.format("A cat.") + asked.format("And here?")
    assert closed == "<s><image><image>" + stripped + said.format("Yes.") + "</s>"


def test_internlm2_golden_ids(internlm2):
    query = "This is the first frame of a video, describe it in detail."
    result = chat.tokenize_chat(
        [Turn("user", f"<image>\n{query}")], internlm2, INTERNLM2, generation=True
    )
    words = internlm2.encode(query, special=False)
    start, end = [92543], [92542]
    user, line, assistant = [1008], [364], [525, 11353]
    assert result.ids == [
        *(1, IMAGE),
        *(start + user + line + words + end + line),
        *(start + assistant + line),
    ]
    assert result.images == [1]
    assert chat.stop_ids(internlm2, INTERNLM2) == {92542, 2}
    assert internlm2.adds_bos and internlm2.bos_id == 1 and internlm2.vocab_size == 92544
    for one, other in (
        ("<|im_start|>", "[UNUSED_TOKEN_146]"),
        ("<|im_end|>", "[UNUSED_TOKEN_145]"),
    ):
        assert internlm2.encode(one, special=False) == internlm2.encode(other, special=False)
        assert len(internlm2.encode(one, special=False)) == 1


def xcomposer_labels(ids: list[int], *, end: int, eos: int, span: int) -> list[bool]:
    """The label rule of the released training code (specification 5.6), on ids with `</s>`.

    `span` counts a question's end and what follows to the answer: 6 with the real vocabulary.
    """
    trained, asked, open_from = [True] * len(ids), True, 0
    for i, token in enumerate(ids):
        if token == end and asked:
            trained[open_from : i + span] = [False] * (i + span - open_from)
            asked = False
        elif token == end:
            open_from, asked = i + 1, True
        elif token == eos:
            trained[i + 1 :] = [False] * len(trained[i + 1 :])
    return [t and i != IMAGE for t, i in zip(trained, ids, strict=True)]


@pytest.mark.parametrize(
    "contents",
    [
        ("<image>\nDescribe.", "A cat sits."),
        ("one", "two", "three <image>", " four\n", "five", "six"),
    ],
)
def test_internlm2_labels_equal_the_original(contents, captioner):
    t = captioner
    result = chat.tokenize_chat(dialogue(*contents), t, INTERNLM2)
    assert result.drop is None
    start, end, eos = (t.id_of(n) for n in ("<|im_start|>", "<|im_end|>", "</s>"))
    line, words = t.encode("\n", special=False), t.encode("assistant\n", special=False)
    span = len([end, *line, start, *words])
    assert span == 6 or t.vocab_size < 1000
    assert result.trained == xcomposer_labels(result.ids, end=end, eos=eos, span=span)
    last = t.encode(contents[-1].strip(), special=False)
    assert trained_ids(result)[-len(last) - 3 :] == [*last, end, *line, eos]
    assert result.ids[:2] == [t.bos_id, IMAGE]
    assert result.ids.count(t.bos_id) == 1


def test_internlm2_drops_text_that_spells_a_control_token(captioner):
    for token in ("<|im_end|>", "[UNUSED_TOKEN_146]", "</s>"):
        turns = dialogue("a", f"b{token}")
        with pytest.raises(RecordError, match=r"turn 1 \(assistant\)"):
            chat.tokenize_chat(turns, captioner, INTERNLM2)
        result = chat.tokenize_chat(turns, captioner, INTERNLM2, normalise="llava")
        assert result.drop == Drop.CONTROL_TEXT


def test_internlm2_images_cannot_hide_control_tokens(captioner):
    with pytest.raises(RecordError, match="UNUSED_TOKEN_145"):
        chat.tokenize_chat(dialogue("<|im_<image>end|>", "b"), captioner, INTERNLM2)
    nested = chat.tokenize_chat(dialogue("<ima<image>ge>a", "b"), captioner, INTERNLM2)
    assert nested.images == [1]


def test_internlm2_bos_as_told(captioner):
    turns = dialogue("<image>\nWhat?")
    one = chat.tokenize_chat(turns, captioner, INTERNLM2, generation=True)
    two = chat.tokenize_chat(turns, captioner, INTERNLM2, generation=True, double_bos=True)
    assert captioner.adds_bos and two.ids == [captioner.bos_id, *one.ids]


# Plain captions


def test_plain_trains_all_after_the_image(chatml_tokenizer):
    turns = dialogue("Describe <image> this", "the red circle")
    assert chat.render(turns, PLAIN, generation=False) == "<image>the red circle\n"
    result = chat.tokenize_chat(turns, chatml_tokenizer, PLAIN)
    words = chatml_tokenizer.encode("the red circle\n", special=False)
    assert result.ids == [IMAGE, *words]
    assert trained_ids(result) == words
    assert result.images == [0] and result.drop is None


def test_plain_begins_with_the_bos_of_the_tokenizer_or_as_told():
    texts = ["the red circle moves"] * 9
    adding = tokenizer_lib.train_byte_bpe(texts, vocab_size=280, adds_bos=True)
    turns = dialogue("<image>", "red")
    plain = chat.tokenize_chat(turns, adding, PLAIN)
    assert plain.ids[:2] == [adding.bos_id, IMAGE] and plain.trained[:2] == [False, False]
    bare = chat.tokenize_chat(turns, adding, PLAIN, double_bos=False)
    assert bare.ids == plain.ids[1:]


def test_plain_generation_is_the_image_and_what_is_said_so_far(chatml_tokenizer):
    turns = dialogue("<image>\nDescribe.", "the")
    first = chat.tokenize_chat(turns[:1], chatml_tokenizer, PLAIN, generation=True)
    assert first.ids == [IMAGE]
    on = chat.tokenize_chat(turns, chatml_tokenizer, PLAIN, generation=True)
    assert on.ids == [IMAGE, *chatml_tokenizer.encode("the", special=False)]
    assert not any(on.trained)


@pytest.mark.parametrize(
    "turns",
    [
        [],
        dialogue("no picture", "red"),
        dialogue("<image>", "red", "more", "blue"),
        [Turn("assistant", "<image>")],
    ],
)
def test_plain_refuses_other_turns(turns, chatml_tokenizer):
    with pytest.raises(RecordError, match="f.json: record 3: template 'plain'"):
        chat.tokenize_chat(turns, chatml_tokenizer, PLAIN, where="f.json: record 3")


def test_plain_drops(chatml_tokenizer):
    empty = chat.tokenize_chat(dialogue("<image>", ""), chatml_tokenizer, PLAIN)
    assert empty.drop == Drop.EMPTY_TURN and not any(empty.trained)
    unanswered = chat.tokenize_chat(dialogue("<image>"), chatml_tokenizer, PLAIN)
    assert unanswered.drop == Drop.UNANSWERED


# Stop ids


def test_stop_ids(chatml_tokenizer):
    t = chatml_tokenizer
    assert chat.stop_ids(t, CHATML) == {t.id_of("<|im_end|>"), t.id_of("<|endoftext|>")}
    ends = {t.id_of("<|end_of_text|>"), t.eot_id}
    assert chat.stop_ids(t, TEMPLATES["llava_llama_3"]) == ends
    line_end = set(t.encode("\n", special=False))
    ends = {t.id_of("<|end_of_text|>"), t.id_of("<|endoftext|>")}
    assert chat.stop_ids(t, PLAIN) == ends | line_end
    llama = tokenizer_lib.train_byte_bpe(["a"], vocab_size=262)
    with pytest.raises(CheckpointError, match=r"<\|im_end\|>"):
        chat.stop_ids(llama, CHATML)
