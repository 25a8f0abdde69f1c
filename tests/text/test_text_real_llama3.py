"""Llama 3's own vocabulary, from the package `llama-models` (extra [realtest])."""

from __future__ import annotations

import base64
import importlib.util
import pathlib

import pytest
import tokenizers

from sg4v_jax.text import chat
from sg4v_jax.text import tokenizer as tokenizer_lib

SPEC = importlib.util.find_spec("llama_models")
pytestmark = [
    pytest.mark.slow,  # 280,147 merges are worked out from the ranks
    pytest.mark.skipif(SPEC is None, reason="needs llama-models: pip install '.[realtest]'"),
]

NAMES = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    9: "<|eot_id|>",
}
TEXTS = [
    "The camera pans left.",
    "It's 12345 o'clock; we'LL see...\r\n\n\n  indented\ttabs   ",
    "naïve Ελλάδα 日本語 🎬👩‍👩‍👧 x²+y²",
    "def f(x):\n    return x*2  # ok\n",
]


def byte_letters() -> dict[int, str]:
    """Byte-level BPE writes each byte as a letter: printable ones as they are, others moved up."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    moved = {b: chr(256 + i) for i, b in enumerate(others)}
    return {b: chr(b) for b in printable} | moved


@pytest.fixture(scope="module")
def llama3() -> tokenizer_lib.Tokenizer:
    """Ranks -> vocabulary and merges, under our own cut pattern and control tokens."""
    folder = pathlib.Path(SPEC.submodule_search_locations[0])
    lines = (folder / "llama3" / "tokenizer.model").read_text().splitlines()
    letters = byte_letters()
    ranks = {base64.b64decode(word): int(rank) for word, rank in map(str.split, lines)}
    spelled = {token: "".join(letters[b] for b in token) for token in ranks}
    merges = []
    for token in ranks:  # in order of rank
        cuts = ((token[:i], token[i:]) for i in range(1, len(token)))
        known = [(a, b) for a, b in cuts if a in ranks and b in ranks]
        known.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [(spelled[a], spelled[b]) for a, b in known]
    vocab = {spelled[token]: rank for token, rank in ranks.items()}

    backend = tokenizer_lib.train_byte_bpe([], vocab_size=262)._backend
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges, ignore_merges=True))
    made.pre_tokenizer, made.decoder = backend.pre_tokenizer, backend.decoder
    made.add_special_tokens([NAMES.get(i, f"<|reserved_{i}|>") for i in range(256)])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 128000)]
    )
    return tokenizer_lib.Tokenizer(made)


def test_ids_equal_the_reference_tokenizer(llama3):
    reference = pytest.importorskip("llama_models.llama3.tokenizer").Tokenizer.get_instance()
    assert llama3.encode(TEXTS[0], special=False) == [791, 6382, 64883, 2163, 13]
    for text in TEXTS:
        ids = llama3.encode(text, special=False)
        assert ids == reference.encode(text, bos=False, eos=False)
        assert llama3.decode(ids) == text


def test_prompt_begins_with_two_bos_and_keeps_the_line_end(llama3):
    turns = [chat.Turn("user", chat.video_query())]
    template = chat.TEMPLATES["llava_llama_3"]
    result = chat.tokenize_chat(turns, llama3, template, generation=True)
    assert result.ids[:4] == [128000, 128000, 128006, 9125]
    assert result.ids.count(chat.IMAGE_TOKEN) == 1
    assert result.ids[result.images[0] + 1] == 198
    assert result.ids[-4:] == [128006, 78191, 128007, 271]
    assert llama3.eos_ids == {128001, 128009}


def test_answers_are_trained_with_their_eot(llama3):
    turns = [chat.Turn("user", "<image>\nWhat?"), chat.Turn("assistant", "The camera pans left.")]
    result = chat.tokenize_chat(turns, llama3, chat.TEMPLATES["llava_llama_3"])
    trained = [t for t, is_trained in zip(result.ids, result.trained, strict=True) if is_trained]
    assert trained == [791, 6382, 64883, 2163, 13, 128009]
