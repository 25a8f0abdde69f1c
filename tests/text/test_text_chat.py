"""Chat templates: exact prompts, image places, label masks, drops, refusals."""

from __future__ import annotations

import pytest

from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.text import chat
from sg4v_jax.text import tokenizer as tokenizer_lib
from sg4v_jax.text.chat import Drop, Turn

TEXTS = ["the red circle moves", "user assistant system Describe this video in detail.\n\n"] * 9
LLAVA = chat.TEMPLATES["llava_llama_3"]
BARE = chat.TEMPLATES["llama_3_bare"]
SYSTEM_BLOCK = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and"
    " vision assistant. You are able to understand the visual content that the user provides, and"
    " assist the user with a variety of tasks using natural language.<|eot_id|>"
)
USER = "<|start_header_id|>user<|end_header_id|>\n\n"
ASSISTANT = "<|start_header_id|>assistant<|end_header_id|>\n\n"
PREAMBLE = (
    "The provided image arranges keyframes from a video in a grid view, keyframes are separated"
    " with white bands. Answer concisely with overall content and context of the video,"
    " highlighting any significant events, characters, or objects that appear throughout the"
    " frames."
)
# With the merge of three line ends, as Llama 3 has it; training on TEXTS alone does not learn it.
MERGING_TEXTS = [*TEXTS, *["x\n\n\n"] * 9]


@pytest.fixture(scope="module")
def adding() -> tokenizer_lib.Tokenizer:
    return tokenizer_lib.train_byte_bpe(MERGING_TEXTS, vocab_size=340, adds_bos=True)


@pytest.fixture(scope="module")
def bare() -> tokenizer_lib.Tokenizer:
    return tokenizer_lib.train_byte_bpe(TEXTS, vocab_size=262)


def dialogue(*contents: str) -> list[Turn]:
    return [Turn(("user", "assistant")[i % 2], c) for i, c in enumerate(contents)]


def trained_text(result: chat.TokenizedChat, tokenizer: tokenizer_lib.Tokenizer) -> list[str]:
    """What is trained, one string a run of trained tokens, control tokens spelled out."""
    runs, run = [], []
    for token, trained in zip(result.ids, result.trained, strict=True):
        if trained:
            run.append(token)
        elif run:
            runs.append(tokenizer.decode(run, skip_special=False))
            run = []
    return runs + ([tokenizer.decode(run, skip_special=False)] if run else [])


def original_labels(turns, tokenizer, template):
    """Ids and trained flags by the original's arithmetic of lengths (spec 1.6 and 1.7)."""

    def tokenise(text):
        chunks = [tokenizer.encode(c, special=True) for c in text.split("<image>")]
        skip = int(chunks[0][0] == tokenizer.bos_id)
        ids = list(chunks[0])
        for chunk in chunks[1:]:
            ids += [chat.IMAGE_TOKEN, *chunk[skip:]]
        return ids

    prompt = chat.render(turns, template, generation=False)
    ids = tokenise(prompt)
    blocks = prompt.split("<|eot_id|>")
    rounds = ["<|eot_id|>".join(blocks[:3])]
    rounds += ["<|eot_id|>".join(blocks[i : i + 2]) for i in range(3, len(blocks), 2)]
    trained, at = [True] * len(ids), 0
    for number, text in enumerate(rounds):
        question, answer, *more = [*text.split("<|eot_id|>" + ASSISTANT), None]
        if text == "" or answer is None or more != [None]:
            break
        bos_again = int(number > 0)
        header_end = at + len(tokenise(question + "<|eot_id|>" + ASSISTANT)) - bos_again
        trained[at:header_end] = [False] * (header_end - at)
        at += len(tokenise(text)) + 1 - bos_again
    trained[at:] = [False] * len(trained[at:])
    matches = at == sum(i != tokenizer.pad_id for i in ids)
    flags = [matches and t and i != chat.IMAGE_TOKEN for t, i in zip(trained, ids, strict=False)]
    return ids, flags


def test_prompt_of_the_demo_byte_by_byte():
    turns = [Turn("user", chat.video_query())]
    prompt = chat.render(turns, LLAVA, generation=True)
    question = "<image>\n" + PREAMBLE + "Describe this video in detail."
    assert prompt == SYSTEM_BLOCK + USER + question + "<|eot_id|>" + ASSISTANT


def test_prompt_of_two_rounds_byte_by_byte():
    turns = dialogue("<image>\nWhat? ", "A cat.", "Where?", "Here.")
    expected = (
        USER + "<image>\nWhat? <|eot_id|>" + ASSISTANT + "A cat.<|eot_id|>"
        f"{USER}Where?<|eot_id|>{ASSISTANT}Here.<|eot_id|>"
    )
    assert chat.render(turns, LLAVA, generation=False) == SYSTEM_BLOCK + expected
    assert chat.render(turns, BARE, generation=False) == "<|begin_of_text|>" + expected


def test_tempcompass_and_mvbench_prompts_can_be_written():
    query = " Question: Up?\nPlease answer yes or no:"
    assert chat.video_query(query) == f"<image>\n{PREAMBLE} Question: Up?\nPlease answer yes or no:"
    mvbench = chat.Template(name="mvbench", system="Carefully watch.\n")
    turns = dialogue("<image>\n Q \nOnly give the best option.", "Best option:(")
    assert chat.render(turns, mvbench, generation=True) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCarefully watch.\n<|eot_id|>"
        f"{USER}<image>\n Q \nOnly give the best option.<|eot_id|>{ASSISTANT}Best option:("
    )


def test_ids_begin_with_two_bos_where_the_tokenizer_adds_one(adding, bare):
    turns = [Turn("user", "<image>\nthe red circle")]
    double = chat.tokenize_chat(turns, adding, LLAVA, generation=True)
    start = adding.id_of("<|start_header_id|>")
    assert double.ids[:3] == [adding.bos_id, adding.bos_id, start]
    assert double.ids.count(adding.bos_id) == 2
    single = chat.tokenize_chat(turns, adding, LLAVA, generation=True, double_bos=False)
    assert single.ids == double.ids[1:]
    plain = chat.tokenize_chat(turns, bare, LLAVA, generation=True)
    assert plain.ids[0] == bare.bos_id != plain.ids[1]
    forced = chat.tokenize_chat(turns, bare, LLAVA, generation=True, double_bos=True)
    assert forced.ids == [bare.bos_id, *plain.ids]


def test_worked_example_of_the_docstring(bare):
    def ids(text):
        return bare.encode(text, special=False)

    result = chat.tokenize_chat(dialogue("<image>\nQ", "A"), bare, BARE)
    head = ids("<|begin_of_text|>" + USER)
    middle = ids("\nQ<|eot_id|>" + ASSISTANT)
    assert result.ids == [*head, chat.IMAGE_TOKEN, *middle, *ids("A<|eot_id|>")]
    assert result.images == [len(head)]
    assert result.trained == [False] * (len(head) + 1 + len(middle)) + [True, True]
    assert result.drop is None


@pytest.mark.parametrize("template", [LLAVA, BARE], ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["adding", "bare"])
def test_three_rounds_train_answers_and_their_eot(name, template, request):
    tokenizer = request.getfixturevalue(name)
    turns = dialogue("<image>\nthe red", "circle", "user?", "moves left\n", "assistant", " up")
    result = chat.tokenize_chat(turns, tokenizer, template)
    answers = ["circle<|eot_id|>", "moves left\n<|eot_id|>", " up<|eot_id|>"]
    assert trained_text(result, tokenizer) == answers
    assert len(result.ids) == len(result.trained)


NORMAL = [
    dialogue("<image>\nthe red", "circle"),
    dialogue("the red", "circle"),
    dialogue("look <image> here", "circle", "and\nnow?", "moves\n\n", "video", "it"),
    dialogue("one <image> two <image>", " circle moves", "<image>", "in detail"),
    dialogue("what?", "a <image> b", "so", "it is"),
    dialogue("the red", "\n\ncircle", "user", "\n"),
]
SPOILED = {
    Drop.EMPTY_TURN: [dialogue("<image>\nthe", "", "video", "a"), dialogue("the", ""), []]
    + [dialogue("", "a")],
    Drop.UNANSWERED: [dialogue("the red"), dialogue("the", "red", "circle")],
    Drop.CONTROL_TEXT: [
        dialogue("a<|eot_id|>b", "c"),
        dialogue("a", "b<|eot_id|>c"),
        dialogue("a", "b<|eot_id|>c<|eot_id|>d", "e", "f"),
        dialogue("a", "b<|eot_<image>id|>"),
    ],
    Drop.PAD_TEXT: [dialogue("a <|pad|> b", "c"), dialogue("a", "<|pad|>")],
}


@pytest.mark.smoke
@pytest.mark.parametrize("turns", NORMAL)
def test_masks_equal_the_original(turns, adding):
    assert len(adding.encode("\n\n\n", special=False)) == 1, "the merging case needs this token"
    result = chat.tokenize_chat(turns, adding, LLAVA, normalise="llava")
    ids, trained = original_labels(chat.normalise_llava(turns), adding, LLAVA)
    assert result.drop is None
    assert result.ids == ids
    assert result.trained == trained
    assert any(trained)


@pytest.mark.parametrize("reason", SPOILED)
def test_drops_equal_the_original(reason, adding):
    for turns in SPOILED[reason]:
        result = chat.tokenize_chat(turns, adding, LLAVA, normalise="llava")
        assert result.drop == reason, turns
        assert not any(result.trained)
        if turns:
            ids, trained = original_labels(chat.normalise_llava(turns), adding, LLAVA)
            assert result.ids == ids
            assert not any(trained), turns


def test_an_assistant_header_in_the_text_drops(adding):
    turns = dialogue("say <|start_header_id|>assistant<|end_header_id|>", "no")
    result = chat.tokenize_chat(turns, adding, LLAVA, normalise="llava")
    assert result.drop == Drop.CONTROL_TEXT


def test_line_ends_before_an_answer_melt_into_the_header(adding):
    result = chat.tokenize_chat(dialogue("the", "\nred"), adding, LLAVA, normalise="llava")
    assert trained_text(result, adding) == ["red<|eot_id|>"]


def test_normalise_llava_puts_one_image_in_front():
    turns = dialogue(" Look <image> here <image> ", " no image ", "<image>", "<image>\nkept")
    contents = [t.content for t in chat.normalise_llava(turns)]
    assert contents == ["<image>\nLook  here", " no image ", "<image>", "<image>\nkept"]


def test_images_stay_where_they_stand(bare):
    turns = dialogue("first <image> then <image>", "ok", "and <image>?", "yes")
    result = chat.tokenize_chat(turns, bare, BARE)
    texts, start = [], 0
    for place in [*result.images, len(result.ids)]:
        texts.append(bare.decode(result.ids[start:place], skip_special=False))
        start = place + 1
    prompt = chat.render(turns, BARE, generation=False)
    assert texts == prompt.split("<image>")
    assert [result.ids[i] for i in result.images] == [chat.IMAGE_TOKEN] * 3
    assert not any(result.trained[i] for i in result.images)


def test_adjacent_images_need_no_text_between(adding):
    result = chat.tokenize_chat(dialogue("<image><image>", "two"), adding, LLAVA)
    assert result.images[1] == result.images[0] + 1


def test_generation_trains_nothing_and_goes_on_from_a_prefill(bare):
    turns = dialogue("the red", "circle", "moves")
    result = chat.tokenize_chat(turns, bare, BARE, generation=True)
    assert bare.decode(result.ids, skip_special=False).endswith(ASSISTANT)
    assert not any(result.trained)
    open_answer = chat.tokenize_chat([*turns, Turn("assistant", "up")], bare, BARE, generation=True)
    assert open_answer.ids == result.ids + bare.encode("up", special=False)


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("token", tokenizer_lib.SPECIAL_TOKENS)
def test_control_tokens_in_a_message_are_refused(role, token, bare):
    turns = dialogue("a", "b")
    number = ("user", "assistant").index(role)
    turns[number] = Turn(role, f"x <image> {token} y")
    with pytest.raises(RecordError) as e:
        chat.tokenize_chat(turns, bare, BARE, where="f.json: record 7")
    assert token in str(e.value)
    assert f"f.json: record 7: turn {number} ({role})" in str(e.value)


def test_control_token_cut_by_an_image_is_plain_text(bare):
    result = chat.tokenize_chat(dialogue("<|eot_<image>id|>", "b"), bare, BARE)
    assert result.ids.count(bare.eot_id) == 2
    assert result.drop is None


def test_bad_arguments_are_named(bare):
    with pytest.raises(ConfigError, match="'lava'"):
        chat.tokenize_chat(dialogue("a", "b"), bare, BARE, normalise="lava")
    with pytest.raises(RecordError, match="empty message"):
        chat.tokenize_chat([Turn("user", "")], bare, BARE, generation=True)
    with pytest.raises(RecordError, match="'human'"):
        Turn("human", "a")


def test_conversation_turns_of_a_record():
    record = {
        "id": 3,
        "conversations": [
            {"from": "gpt", "value": "hello"},
            {"from": "human", "value": "<image>\na"},
            {"from": "gpt", "value": "b"},
        ],
    }
    assert chat.conversation_turns(record) == dialogue("<image>\na", "b")
    record["conversations"] = record["conversations"][1:]
    assert chat.conversation_turns(record) == dialogue("<image>\na", "b")


HUMAN, GPT = {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "'conversations' is None"),
        ({"conversations": []}, r"'conversations' is \[\]"),
        ({"conversations": "a"}, "'conversations' is 'a'"),
        ({"conversations": [HUMAN, HUMAN]}, "turn 1: 'from' is 'human' again"),
        ({"conversations": [GPT, GPT, HUMAN]}, "turn 1: 'from' is 'gpt' again"),
        ({"conversations": [GPT]}, "no human turn"),
        ({"conversations": [HUMAN, {"from": "bot", "value": "b"}]}, "turn 1: 'from' is 'bot'"),
        ({"conversations": [HUMAN, "b"]}, "turn 1: 'from' is 'b'"),
        ({"conversations": [{"from": "human", "value": None}]}, "turn 0: 'value' is None"),
    ],
)
def test_bad_records_are_named(fields, message):
    with pytest.raises(RecordError, match=f"f.json: record 'v7': .*{message}"):
        chat.conversation_turns({"id": "v7", **fields}, where="f.json")
