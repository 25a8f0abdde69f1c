"""InternLM2's own vocabulary: its json, and the same written as a SentencePiece model."""

from __future__ import annotations

import json

import tokenizers

from sg4v_jax.text import sentencepiece_model as sp
from sg4v_jax.text import tokenizer as tokenizer_lib


def test_ids_of_texts_are_those_of_the_file(internlm2, realtest, many_texts):
    raw = tokenizers.Tokenizer.from_file(str(realtest("internlm2")))
    for text in many_texts:
        assert internlm2.encode(text, special=True) == raw.encode(text).ids
    assert (
        internlm2.encode("The camera pans left.", special=False)
        == raw.encode("The camera pans left.", add_special_tokens=False).ids
    )


def test_control_tokens_stand_whole_under_both_spellings(internlm2):
    names = ["plugin", "interpreter", "action_end", "action_start", "im_end", "im_start"]
    for token, name in enumerate(names, 92538):
        own = f"[UNUSED_TOKEN_{141 + token - 92538}]"
        assert internlm2.id_of(f"<|{name}|>") == internlm2.id_of(own) == token
        assert internlm2.encode(f"a<|{name}|>{own}", special=True)[-2:] == [token, token]
    assert internlm2.encode("<s></s><unk>", special=False) == [1, 2, 0]
    assert internlm2.control_ids == {0, 1, 2, *range(92538, 92544)}


def test_merges_of_scores_equal_the_merges_of_the_json(realtest):
    """The json's merges are in order of their pieces' scores; from these all must come back."""
    value = json.loads(realtest("internlm2").read_text())["model"]
    merges = [tuple(merge.split(" ")) for merge in value["merges"]]
    order = {text: -float(i) for i, text in enumerate(dict.fromkeys(a + b for a, b in merges))}
    pieces = []
    for number, text in enumerate(sorted(value["vocab"], key=value["vocab"].get)):
        kind = sp.PieceType.NORMAL
        if number < 3:
            kind = sp.PieceType.CONTROL if number else sp.PieceType.UNKNOWN
        elif text.startswith("<0x"):
            kind = sp.PieceType.BYTE
        pieces.append(sp.Piece(text, order.get(text, -1e6), kind))
    made = tokenizers.Tokenizer(sp._bpe(sp.Model(pieces, model_type=2, byte_fallback=True)))
    found = [tuple(merge) for merge in json.loads(made.to_str())["model"]["merges"]]
    # `<s>` is a control piece, which is never merged; the json merges it from its letters.
    assert found == [merge for merge in merges if merge != ("<s", ">")]
    assert len(found) == 165_111


def test_texts_come_back_but_for_a_space_in_front(internlm2, many_texts):
    for text in many_texts:
        if "▁" not in text:
            ids = internlm2.encode(text, special=False)
            assert internlm2.decode(ids, skip_special=False) in (text, text.removeprefix(" "))


def test_it_is_read_again_from_what_it_saves(internlm2, tmp_path):
    internlm2.save(tmp_path / "tokenizer.json")
    again = tokenizer_lib.Tokenizer.from_file(tmp_path)
    text = "<|im_start|>user\nhi<|im_end|>"
    assert again.encode(text, special=True) == [1, 92543, 1008, 364, 6176, 92542]
    assert again.vocab_size == 92544
