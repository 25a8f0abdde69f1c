"""Rank files: merges worked out from ranks, and damaged files named."""

from __future__ import annotations

import base64
import itertools

import pytest
import tokenizers

from sg4v_jax.errors import CheckpointError
from sg4v_jax.text import byte_level
from sg4v_jax.text.tokenizer import Tokenizer

BYTES = [bytes([b]) for b in range(256)]
WORDS = [b"ab", b" a", b"abc", b"bc", b" abc", b"\n\n"]


def rank_file(tokens: list[bytes]) -> bytes:
    return b"".join(b"%s %d\n" % (base64.b64encode(t), i) for i, t in enumerate(tokens))


def lowest_rank_first(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """Byte pair encoding by its definition: join the pair of lowest rank, leftmost, again."""
    parts = [word[i : i + 1] for i in range(len(word))]
    if word in ranks:
        return [ranks[word]]
    while True:
        pairs = [ranks.get(a + b, 10**9) for a, b in itertools.pairwise(parts)]
        if not pairs or min(pairs) == 10**9:
            return [ranks[p] for p in parts]
        at = pairs.index(min(pairs))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def test_merges_are_all_cuts_in_order_of_rank():
    tokens = [b"ab", b"a", b"b", b"c", b"bc", b"abc", b" "]
    vocabulary, merges = byte_level.merges_of_ranks({t: rank for rank, t in enumerate(tokens)})
    assert vocabulary == {"ab": 0, "a": 1, "b": 2, "c": 3, "bc": 4, "abc": 5, "Ġ": 6}
    assert merges == [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]


def test_encoding_equals_the_definition_over_ranks():
    tokens = [*BYTES, *WORDS, "é".encode(), "日".encode()[:2]]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    model = tokenizers.models.BPE(*byte_level.merges_of_ranks(ranks), ignore_merges=True)
    made = Tokenizer(byte_level.byte_level_tokenizer(model))
    for text in ["abcabc", " abcab bc", "é日", "a\n\n\nb", "cab\x00"]:
        cut = made._backend.pre_tokenizer.pre_tokenize_str(text)
        words = [text[start:end].encode() for _, (start, end) in cut]
        expected = [i for word in words for i in lowest_rank_first(word, ranks)]
        assert made.encode(text, special=False) == expected, text
        assert made.decode(expected) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (rank_file(BYTES), "256 ranks; Llama 3 has 128000"),
        (rank_file(BYTES[:65] + BYTES[66:]), "no rank for byte 65"),
        (rank_file([*BYTES, b"a"]), r"line 257: token b'a' of rank 256"),
        (rank_file(BYTES) + b"YWI= 300\n", r"line 257: token b'ab' of rank 300, expected .* 256"),
        (rank_file(BYTES) + b"YWI=\n", r"line 257: b'YWI='"),
        (rank_file(BYTES) + b"Y*I= 256\n", "line 257"),
        (rank_file(BYTES) + b"YWI 256\n", "line 257"),
        (rank_file(BYTES) + b"\xff\xfe 256\n", "line 257"),
    ],
)
def test_damaged_rank_files_are_named(content, message, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: " + message):
        Tokenizer.from_file(tmp_path / "tokenizer.model")
