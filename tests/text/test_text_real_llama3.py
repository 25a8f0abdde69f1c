"""Llama 3's own vocabulary: `tokenizer.model` of llama-models against the Hugging Face json."""

from __future__ import annotations

import json

import pytest
import tokenizers

from sg4v_jax.errors import CheckpointError
from sg4v_jax.text import chat
from sg4v_jax.text import tokenizer as tokenizer_lib

TEXTS = [
    "The camera pans left.",
    "It's 12345 o'clock; we'LL see...\r\n\n\n  indented\ttabs   ",
    "naïve Ελλάδα 日本語 🎬👩‍👩‍👧 x²+y²",
    "def f(x):\n    return x*2  # ok\n",
]
LLAVA = chat.TEMPLATES["llava_llama_3"]


def test_golden_ids(llama3):
    assert llama3.encode("The camera pans left.", special=False) == [791, 6382, 64883, 2163, 13]
    assert llama3.encode("", special=True) == [128000]
    assert llama3.vocab_size == 128256
    assert len(json.loads(llama3._backend.to_str())["model"]["merges"]) == 280_147


def test_texts_come_back(llama3, many_texts):
    for text in many_texts:
        assert llama3.decode(llama3.encode(text, special=False)) == text


def test_ids_equal_the_hugging_face_json(llama3, realtest, many_texts):
    reference = tokenizers.Tokenizer.from_file(str(realtest("llama3")))
    spelled = ["a<|eot_id|>b", "<|begin_of_text|><|reserved_special_token_2|>", "<|eom_id|> c"]
    for text in [*many_texts, *spelled]:
        assert llama3.encode(text, special=False) == reference.encode(text).ids, repr(text)
    assert llama3._backend.get_vocab() == reference.get_vocab()
    merges = [json.loads(t.to_str())["model"]["merges"] for t in (llama3._backend, reference)]
    assert merges[0] == merges[1]
    read = tokenizer_lib.Tokenizer.from_file(realtest("llama3"))
    assert llama3.control_ids == read.control_ids == frozenset(range(128000, 128256))
    assert llama3.adds_bos and not read.adds_bos


def test_ids_equal_the_reference_tokenizer(llama3, many_texts):
    pytest.importorskip("tiktoken", reason="needs tiktoken, which llama-models encodes with")
    reference = pytest.importorskip("llama_models.llama3.tokenizer").Tokenizer.get_instance()
    for text in [*TEXTS, *many_texts]:
        assert llama3.encode(text, special=False) == reference.encode(text, bos=False, eos=False)


def test_control_tokens_answer_to_the_names_of_3_and_of_3_1(llama3):
    ids = {
        "<|begin_of_text|>": 128000,
        "<|end_of_text|>": 128001,
        "<|reserved_special_token_0|>": 128002,
        "<|reserved_special_token_2|>": 128004,  # 128012 in 3.1
        "<|finetune_right_pad_id|>": 128004,
        "<|step_id|>": 128005,
        "<|start_header_id|>": 128006,
        "<|end_header_id|>": 128007,
        "<|reserved_special_token_4|>": 128008,
        "<|eom_id|>": 128008,
        "<|eot_id|>": 128009,
        "<|python_tag|>": 128010,
        "<|image|>": 128011,
        "<|reserved_special_token_250|>": 128255,
    }
    assert {name: llama3.id_of(name) for name in ids} == ids
    assert llama3.token_of(128008) == "<|reserved_special_token_4|>"
    assert llama3.pad_id == 128001, "Llama 3 has no pad; the name of 3.1 must not make one"
    # In a text only Llama 3's own names are control tokens, as in the original.
    assert llama3.encode("<|reserved_special_token_4|>", special=False) == [128008]
    assert max(llama3.encode("<|eom_id|>", special=False)) < 128000


def test_a_vocabulary_with_the_names_of_3_1_keeps_its_own():
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.add_special_tokens(["<|eom_id|>", "<|reserved_special_token_4|>"])
    made = tokenizer_lib.Tokenizer(backend)
    assert made.id_of("<|eom_id|>") == 0
    assert made.id_of("<|reserved_special_token_4|>") == 1


def test_prompt_begins_with_two_bos_and_keeps_the_line_end(llama3):
    turns = [chat.Turn("user", chat.video_query())]
    result = chat.tokenize_chat(turns, llama3, LLAVA, generation=True)
    assert result.ids[:4] == [128000, 128000, 128006, 9125]
    assert result.ids.count(chat.IMAGE_TOKEN) == 1
    assert result.ids[result.images[0] + 1] == 198
    assert result.ids[-4:] == [128006, 78191, 128007, 271]
    assert chat.stop_ids(llama3, LLAVA) == {128001, 128009}


def test_a_json_without_bos_gives_one_unless_told(realtest):
    read = tokenizer_lib.Tokenizer.from_file(realtest("llama3"))
    turns = [chat.Turn("user", "<image>\nWhat?")]
    one = chat.tokenize_chat(turns, read, LLAVA, generation=True)
    two = chat.tokenize_chat(turns, read, LLAVA, generation=True, double_bos=True)
    assert one.ids[:2] == [128000, 128006]
    assert one.ids[one.images[0] + 1] == 198
    assert two.ids == [128000, *one.ids]


def test_answers_are_trained_with_their_eot(llama3):
    turns = [chat.Turn("user", "<image>\nWhat?"), chat.Turn("assistant", "The camera pans left.")]
    result = chat.tokenize_chat(turns, llama3, LLAVA)
    trained = [t for t, is_trained in zip(result.ids, result.trained, strict=True) if is_trained]
    assert trained == [791, 6382, 64883, 2163, 13, 128009]


def test_an_answer_that_begins_with_a_line_end_loses_it(llama3):
    turns = [chat.Turn("user", "<image>\nWhat?"), chat.Turn("assistant", "\nThe camera")]
    result = chat.tokenize_chat(turns, llama3, LLAVA, normalise="llava")
    assert result.drop is None
    first = result.trained.index(True)
    assert llama3.decode([result.ids[first - 1]]) == "\n\n\n"
    assert [t for t, x in zip(result.ids, result.trained, strict=True) if x] == [
        791,
        6382,
        128009,
    ]


def test_plain_captions(llama3):
    turns = [
        chat.Turn("user", "<image>\nDescribe."),
        chat.Turn("assistant", "The camera pans left."),
    ]
    result = chat.tokenize_chat(turns, llama3, chat.TEMPLATES["plain"], normalise="llava")
    assert result.ids == [128000, chat.IMAGE_TOKEN, 791, 6382, 64883, 2163, 627]  # 627 is ".\n"
    assert result.trained == [False, False, *[True] * 5]
    assert chat.stop_ids(llama3, chat.TEMPLATES["plain"]) == {128001, 198}


def test_ranks_of_llama_4_are_refused(llama3_model):
    other = llama3_model.parent.parent / "llama4" / "tokenizer.model"
    with pytest.raises(CheckpointError, match="200000 ranks; Llama 3 has 128000"):
        tokenizer_lib.Tokenizer.from_file(other)


def test_a_folder_with_the_model_alone_is_read(llama3_model, tmp_path):
    lines = llama3_model.read_bytes().splitlines(keepends=True)
    (tmp_path / "tokenizer.model").write_bytes(b"".join(lines[:1000]))
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: 1000 ranks"):
        tokenizer_lib.Tokenizer.from_file(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"".join(lines[:-1]) + lines[-1][:5])
    with pytest.raises(CheckpointError, match="line 128000"):
        tokenizer_lib.Tokenizer.from_file(tmp_path)
