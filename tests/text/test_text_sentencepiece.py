"""SentencePiece models: reading the file, merges by score, byte fallback, damaged files."""

from __future__ import annotations

import io
import itertools
import random
import struct

import pytest

from sg4v_jax.errors import CheckpointError
from sg4v_jax.text.sentencepiece_model import PieceType
from sg4v_jax.text.tokenizer import Tokenizer

RESERVED = [
    ("<unk>", 0.0, PieceType.UNKNOWN),
    ("<s>", 0.0, PieceType.CONTROL),
    ("</s>", 0.0, PieceType.CONTROL),
    *((f"<0x{b:02X}>", 0.0, PieceType.BYTE) for b in range(256)),
]
WORDS = ["▁▁", "th", "▁t", "he", "the", "▁the", "re", "red", "▁red", "▁a", "\n\n", "日本"]
LETTERS = ["▁", *"abcdehirst", "\n", "日", "本", "é"]


def varint(value: int) -> bytes:
    value %= 1 << 64
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def piece(text: str, score: float, kind: PieceType) -> bytes:
    fixed = varint(2 << 3 | 5) + struct.pack("<f", score)
    normal = b"" if kind == PieceType.NORMAL else number(3, kind)
    return block(1, block(1, text.encode()) + fixed + normal)


def model_file(
    *, extra=(), model_type=2, prefix=0, extra_spaces=0, bos=None, escape=None, suffix=None
) -> bytes:
    """A model whose pieces merge in the order of WORDS."""
    words = [(w, -float(i), PieceType.NORMAL) for i, w in enumerate([*WORDS, *LETTERS])]
    trainer = number(3, model_type) + number(35, 1)
    trainer += b"" if bos is None else number(41, bos)
    trainer += b"" if suffix is None else number(24, suffix)
    normaliser = number(3, prefix) + number(4, extra_spaces)
    normaliser += b"" if escape is None else number(5, escape)
    ignored = varint(99 << 3 | 1) + bytes(8)  # fields of later versions are stepped over
    parts = [piece(*p) for p in [*RESERVED, *words, *extra]]
    return b"".join(parts) + block(2, trainer) + block(3, normaliser) + ignored


def load(content: bytes, folder) -> Tokenizer:
    (folder / "tokenizer.model").write_bytes(content)
    return Tokenizer.from_file(folder)


def best_score_first(text: str) -> list[str]:
    """SentencePiece's BPE by its definition: join the pair of best score, leftmost, again."""
    scores = {w: -i for i, w in enumerate([*WORDS, *LETTERS])}
    parts = list(text.replace(" ", "▁"))
    while True:
        pairs = [scores.get(a + b, -(10**9)) for a, b in itertools.pairwise(parts)]
        if not pairs or max(pairs) == -(10**9):
            break
        at = pairs.index(max(pairs))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    known = [[p] if p in scores else [f"<0x{b:02X}>" for b in p.encode()] for p in parts]
    return [p for part in known for p in part]


def test_ids_equal_the_definition_over_scores(tmp_path):
    made = load(model_file(), tmp_path)
    rng = random.Random(1)
    texts = ["the red there", " the  red\n\n\nred", "日本日 éx🎬", ""]
    texts += ["".join(rng.choices(" \ntherda日本éx", k=rng.randrange(30))) for _ in range(200)]
    ids = {text: i for i, (text, *_) in enumerate([*RESERVED, *((w,) for w in WORDS + LETTERS)])}
    for text in texts:
        expected = [ids[p] for p in best_score_first(text)]
        assert made.encode(text, special=False) == expected, repr(text)
        assert made.decode(expected) == text


def test_bos_is_added_and_control_pieces_are_special(tmp_path):
    made = load(model_file(), tmp_path)
    assert made.adds_bos and made.bos_id == 1 and made.pad_id == 2
    assert made.encode("<s>a</s>", special=True)[:2] == [1, 1]
    assert made.control_ids == {0, 1, 2}
    other = load(model_file(bos=2), tmp_path)
    assert other.encode("", special=True) == [2]
    assert load(model_file(bos=-1), tmp_path).encode("", special=True) == []


def test_internlm2_control_tokens_are_made_special(tmp_path):
    names = [f"[UNUSED_TOKEN_{n}]" for n in range(141, 147)]
    extra = [(n, -100.0 - i, PieceType.NORMAL) for i, n in enumerate(names)]
    made = load(model_file(extra=extra), tmp_path)
    last = made.vocab_size - 1
    assert made.id_of("<|im_start|>") == made.id_of("[UNUSED_TOKEN_146]") == last
    assert made.encode("<|im_end|>a[UNUSED_TOKEN_145]", special=False)[::2] == [last - 1] * 2
    assert {last, last - 5, 1} <= made.control_ids
    assert len(made.encode("<|eot_id|>", special=False)) > 5


def test_dummy_prefix_and_extra_spaces(tmp_path):
    plain = load(model_file(), tmp_path)
    spaced = load(model_file(prefix=1, extra_spaces=1), tmp_path)
    expected = plain.encode(" the red", special=False)
    assert spaced.encode("  the   red ", special=False) == expected
    assert spaced.decode(expected) == "the red"


def test_user_defined_pieces_are_kept_whole(tmp_path):
    extra = [("ttt", 0.0, PieceType.USER_DEFINED)]
    made = load(model_file(extra=extra), tmp_path)
    last = made.vocab_size - 1
    assert made.encode("attthe", special=False).count(last) == 1
    assert last not in made.control_ids


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": 1}, "it is of model type 1, not BPE"),
        ({"escape": 0}, "it does not escape spaces"),
        ({"suffix": 1}, "it puts spaces behind words"),
        (
            {"prefix": 1, "extra": [("ttt", 0.0, PieceType.USER_DEFINED)]},
            "a dummy prefix and user-defined pieces",
        ),
    ],
)
def test_models_that_cannot_be_converted_exactly_are_refused(changes, message, tmp_path):
    with pytest.raises(CheckpointError, match=f"tokenizer.model.*{message}"):
        load(model_file(**changes), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (model_file()[:-3], "ends early|early"),
        (model_file()[:5], "ends early"),
        (model_file(bos=5000), "bos id 5000"),
        (model_file(extra=[("the", 0.0, PieceType.NORMAL)]), "stands twice"),
        (piece("<unk>", 0.0, PieceType.UNKNOWN) + b"\x0b", "wire type 3"),
        (b"\n" + b"\xff" * 11, "64 bits"),
        (piece("a", 0.0, 9), "9 is not a valid PieceType"),
    ],
)
def test_damaged_models_are_named(content, message, tmp_path):
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: .*(" + message + ")"):
        load(content, tmp_path)


def test_mutated_files_never_crash(tmp_path):
    whole = model_file(extra_spaces=1)
    rng = random.Random(2)
    outcomes = set()
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            made = load(
                bytes(content[: rng.choice([len(content), rng.randrange(len(content))])]), tmp_path
            )
            made.encode("the red 日本", special=True)
            outcomes.add("read")
        except CheckpointError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("normaliser", ["identity", "nmt_nfkc"])
@pytest.mark.parametrize("prefix", [False, True])
def test_ids_equal_the_library(normaliser, prefix, tmp_path, many_texts):
    library = pytest.importorskip("sentencepiece", reason="needs sentencepiece")
    written = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(many_texts[:200] * 4),
        model_writer=written,
        model_type="bpe",
        vocab_size=700,
        byte_fallback=True,
        character_coverage=0.99,
        normalization_rule_name=normaliser,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=normaliser != "identity",
        minloglevel=2,
    )
    oracle = library.SentencePieceProcessor(model_proto=written.getvalue())
    made = load(written.getvalue(), tmp_path)
    for text in many_texts:
        expected = oracle.encode(text)
        assert made.encode(text, special=False) == expected, repr(text)
        assert made.encode(text, special=True) == [1, *expected]
