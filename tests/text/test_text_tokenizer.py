"""The tokenizer: round trips, ids by name, files, determinism."""

from __future__ import annotations

import json
import pickle

import pytest
import tokenizers

from sg4v_jax.errors import CheckpointError, ConfigError, RecordError
from sg4v_jax.text import tokenizer as tokenizer_lib

TEXTS = ["the red circle moves to the left", "the blue square grows, then it moves up\n"] * 20
ODD_TEXTS = [
    "",
    "the red circle",
    "  two  spaces \t tab\r\n\n\nlines   ",
    "naïve Ελλάδα 日本語 🎬👩‍👩‍👧 \x00\x7f",
    "it's 12345 3.14 don't",
]


@pytest.fixture(scope="module")
def trained() -> tokenizer_lib.Tokenizer:
    return tokenizer_lib.train_byte_bpe(TEXTS, vocab_size=290)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_comes_back(trained, text):
    assert trained.decode(trained.encode(text, special=False)) == text


def test_vocabulary_has_bytes_then_merges_then_control_tokens(trained):
    assert trained.vocab_size == 290
    assert [trained.id_of(t) for t in tokenizer_lib.SPECIAL_TOKENS] == list(range(284, 290))
    assert trained.control_ids == frozenset(range(284, 290))
    assert len(trained.encode("the red circle", special=False)) < len("the red circle")
    assert max(trained.encode("Ж", special=False)) < 256


def test_training_twice_gives_the_same_file(trained, tmp_path):
    again = tokenizer_lib.train_byte_bpe(iter(TEXTS), vocab_size=290)
    trained.save(tmp_path / "a.json")
    again.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_small_texts_give_a_smaller_vocabulary():
    small = tokenizer_lib.train_byte_bpe(["ab"], vocab_size=1000)
    assert small.vocab_size == 256 + 1 + 6
    assert small.id_of("ab") == 256


def test_vocabulary_below_the_bytes_is_refused():
    with pytest.raises(ConfigError, match="vocab_size 261"):
        tokenizer_lib.train_byte_bpe(TEXTS, vocab_size=261)


def test_cut_pattern_of_llama_3(trained):
    pieces = trained._backend.pre_tokenizer.pre_tokenize_str("Don't go 12345!\n\n  now")
    cut = [text.replace("Ġ", " ").replace("Ċ", "\n") for text, _ in pieces]
    assert cut == ["Don", "'t", " go", " ", "123", "45", "!\n\n", " ", " now"]


def test_ids_by_name(trained):
    assert trained.pad_id == trained.id_of("<|pad|>")
    text = "<|begin_of_text|><|start_header_id|>a<|end_header_id|>"
    ids = trained.encode(text, special=False)
    assert ids == [
        trained.bos_id,
        trained.start_header_id,
        trained.id_of("a"),
        trained.end_header_id,
    ]
    assert trained.decode(ids) == "a"
    assert trained.decode(ids, skip_special=False) == text
    assert trained.token_of(trained.bos_id) == "<|begin_of_text|>"
    assert trained.token_of(10**6) is None


def test_bos_is_found_by_encoding(trained):
    adding = tokenizer_lib.train_byte_bpe(TEXTS, vocab_size=290, adds_bos=True)
    assert not trained.adds_bos
    assert adding.adds_bos
    plain = trained.encode("red", special=True)
    assert adding.encode("red", special=True) == [adding.bos_id, *plain]
    assert adding.encode("red", special=False) == plain


def test_file_round_trip_and_pickle(trained, tmp_path):
    trained.save(tmp_path / "sub" / "tokenizer.json")
    loaded = tokenizer_lib.Tokenizer.from_file(tmp_path / "sub" / "tokenizer.json")
    copied = pickle.loads(pickle.dumps(loaded))
    for text in ODD_TEXTS:
        expected = trained.encode(text, special=True)
        assert loaded.encode(text, special=True) == expected
        assert copied.encode(text, special=True) == expected


def test_stored_truncation_is_switched_off(trained):
    backend = tokenizers.Tokenizer.from_str(trained._backend.to_str())
    backend.enable_truncation(max_length=2)
    backend.enable_padding(length=50)
    text = "the red circle moves"
    expected = trained.encode(text, special=False)
    assert tokenizer_lib.Tokenizer(backend).encode(text, special=False) == expected


def test_pad_falls_back_to_other_names():
    def with_tokens(*names):
        backend = tokenizers.Tokenizer(tokenizers.models.BPE())
        backend.add_special_tokens(list(names))
        return tokenizer_lib.Tokenizer(backend)

    assert with_tokens("<|end_of_text|>", "<pad>").pad_id == 1
    assert with_tokens("x", "<|end_of_text|>").pad_id == 1


def test_missing_control_token_is_named(tmp_path):
    tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, [])).save(str(tmp_path / "t.json"))
    loaded = tokenizer_lib.Tokenizer.from_file(tmp_path / "t.json")
    with pytest.raises(CheckpointError, match=r"t\.json.*<\|begin_of_text\|>"):
        _ = loaded.bos_id
    with pytest.raises(CheckpointError, match=r"<\|eot_id\|>"):
        _ = loaded.eot_id


def test_a_folder_is_read_by_its_file(trained, tmp_path):
    trained.save(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.model").write_text("not looked at where there is a json")
    text = "the red circle"
    expected = trained.encode(text, special=False)
    assert tokenizer_lib.Tokenizer.from_file(tmp_path).encode(text, special=False) == expected
    # The kind is read from the content, not from the name.
    (tmp_path / "tokenizer.json").rename(tmp_path / "tokenizer.model")
    assert tokenizer_lib.Tokenizer.from_file(tmp_path).encode(text, special=False) == expected


def test_half_of_a_character_is_refused(trained):
    with pytest.raises(RecordError, match="half of a character"):
        trained.encode("a\ud83d", special=False)


def internlm2_json(*added: dict) -> str:
    """A vocabulary of single characters with InternLM2's names at 92538 and on (here: 7..12)."""
    names = ["<unk>", "<s>", "</s>", *"ab]<", *(f"[UNUSED_TOKEN_{n}]" for n in range(141, 147))]
    model = tokenizers.models.BPE({n: i for i, n in enumerate(names)}, [], unk_token="<unk>")
    value = json.loads(tokenizers.Tokenizer(model).to_str())
    value["added_tokens"] = list(added)
    return json.dumps(value)


@pytest.mark.parametrize("declared", [False, True])
def test_internlm2_control_tokens_have_two_spellings(declared, tmp_path):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = {"id": 12, "content": "<|im_start|>", "special": True, **flags}
    file = tmp_path / "tokenizer.json"
    file.write_text(internlm2_json(*([added] if declared else [])))
    made = tokenizer_lib.Tokenizer.from_file(file)
    again = pickle.loads(pickle.dumps(made))
    made.save(tmp_path / "again.json")
    for one in (made, again, tokenizer_lib.Tokenizer.from_file(tmp_path / "again.json")):
        assert one.vocab_size == 13
        assert one.id_of("<|im_start|>") == one.id_of("[UNUSED_TOKEN_146]") == 12
        assert one.id_of("<|plugin|>") == 7 and one.has("<|plugin|>")
        assert one.encode("a<|im_end|>b[UNUSED_TOKEN_145]", special=False) == [3, 11, 4, 11]
        assert one.control_ids == {0, 1, 2, *range(7, 13)}
        assert not one.has("<|eom_id|>")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.json.*cannot read"):
        tokenizer_lib.Tokenizer.from_file(tmp_path / "none.json")
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json or tokenizer\.model"):
        tokenizer_lib.Tokenizer.from_file(tmp_path)
    contents = {
        "text.json": b"not json",
        "other.json": b'{"a": 1}',
        "cut.json": internlm2_json()[:-9].encode(),
        "wrong.json": b'{"model": {"vocab": "[UNUSED_TOKEN_146]"}, "added_tokens": [3]}',
        "latin.json": b'{"a": "\xff"}',
        "empty.json": b"",
        "zip.json": b"PK\x03\x04 and so on",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{name}: not a tokenizer file"):
            tokenizer_lib.Tokenizer.from_file(tmp_path / name)
