"""SentencePiece `tokenizer.model` files (InternLM2) -> a tokenizer of the `tokenizers` library.

A small reader of our own for the few protobuf fields that BPE needs, so that no library is
needed for it. Field numbers are those of SentencePiece's `sentencepiece_model.proto`.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Iterator

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers

from sg4v_jax.errors import CheckpointError
from sg4v_jax.text.byte_level import add_bos

_SPACE = "\u2581"  # how SentencePiece spells a space
_BPE = 2  # of TrainerSpec.ModelType
_VARINT, _LENGTH = 0, 2  # wire types; the two others have a fixed size
_FIXED_SIZE = {1: 8, 5: 4}


class PieceType(enum.IntEnum):
    """SentencePiece's kinds of pieces."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclasses.dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; its id is its place in the file."""

    text: str
    score: float
    type: PieceType


@dataclasses.dataclass(frozen=True)
class Model:
    """What a file says; the defaults are those of the format."""

    pieces: list[Piece]
    model_type: int = 1
    byte_fallback: bool = False
    whitespace_as_suffix: bool = False
    bos_id: int = 1
    charsmap: bytes = b""
    dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


def read_sentencepiece(content: bytes, *, source: str) -> tokenizers.Tokenizer:
    """A SentencePiece BPE model -> its tokenizer, which adds the bos piece (`<s>`) in front.

    Unknown and control pieces become special tokens, user-defined ones are kept whole. Text
    between control tokens is normalised piece by piece, as the wrappers of the Llama family do.

    Raises:
      CheckpointError: a damaged file; or a model that is no BPE model, spells spaces in another
        way, or wants a space in front together with user-defined pieces: these cannot be
        converted exactly.
    """
    try:
        model = parse(content)
    except (ValueError, TypeError, IndexError, struct.error) as e:
        raise CheckpointError(
            f"{source}: not a whole SentencePiece model: {e}", mend="fetch the file again"
        ) from e
    _check(model, source=source)
    backend = tokenizers.Tokenizer(_bpe(model))
    backend.normalizer = normalizers.Sequence(_normalizers(model))
    backend.decoder = _decoder(model)
    special = (PieceType.UNKNOWN, PieceType.CONTROL)
    backend.add_special_tokens([p.text for p in model.pieces if p.type in special])
    whole = [p.text for p in model.pieces if p.type == PieceType.USER_DEFINED]
    backend.add_tokens([AddedToken(text, special=False, normalized=True) for text in whole])
    if model.bos_id >= 0:
        add_bos(backend, model.pieces[model.bos_id].text)
    return backend


def parse(content: bytes) -> Model:
    """The fields of a model file that decide about BPE.

    Raises:
      ValueError, TypeError, IndexError, struct.error: the bytes are no such file, or end early.
    """
    pieces, known = [], {}
    for number, value in _fields(content):
        if number == 1:
            pieces.append(_piece(_bytes(value)))
        elif number == 2:
            trainer = dict(_fields(_bytes(value)))
            known |= _chosen(
                trainer, model_type=3, whitespace_as_suffix=24, byte_fallback=35, bos_id=41
            )
        elif number == 3:
            normalizer = dict(_fields(_bytes(value)))
            known |= _chosen(
                normalizer,
                charsmap=2,
                dummy_prefix=3,
                remove_extra_whitespaces=4,
                escape_whitespaces=5,
            )
    model = Model(pieces, **known)
    if not pieces:
        raise ValueError("it has no pieces")
    if len({piece.text for piece in pieces}) < len(pieces):
        raise ValueError("a piece stands twice in it")
    if not -(2**31) <= model.bos_id < len(pieces):
        raise ValueError(f"its bos id {model.bos_id} is outside {len(pieces)} pieces")
    return model


def _chosen(fields: dict[int, int | bytes], **numbers: int) -> dict[str, int | bytes]:
    return {name: fields[number] for name, number in numbers.items() if number in fields}


def _piece(content: bytes) -> Piece:
    fields = dict(_fields(content))
    [score] = struct.unpack("<f", _bytes(fields.get(2, b"\0\0\0\0")))
    return Piece(
        _bytes(fields.get(1, b"")).decode(), score, PieceType(fields.get(3, PieceType.NORMAL))
    )


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError("a field has another type than expected")
    return value


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protobuf message: int for varints, bytes for the rest."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(content, at)
            yield number, value
            continue
        if wire == _LENGTH:
            size, at = _varint(content, at)
        elif wire in _FIXED_SIZE:
            size = _FIXED_SIZE[wire]
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + size > len(content):
            raise ValueError(f"it ends early: {at + size - len(content)} bytes are missing")
        yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The signed 64-bit number at `at` (seven bits a byte, lowest first), and where it ends."""
    value = 0
    for place in range(10):
        byte = content[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value - (1 << 64 if value >> 63 else 0), at + place + 1
    raise ValueError(f"a number of more than 64 bits at byte {at}")


def _check(model: Model, *, source: str) -> None:
    user_defined = any(p.type == PieceType.USER_DEFINED for p in model.pieces)
    problems = {
        f"it is of model type {model.model_type}, not BPE (2)": model.model_type != _BPE,
        "it puts spaces behind words": model.whitespace_as_suffix,
        "it does not escape spaces": not model.escape_whitespaces,
        "it has a dummy prefix and user-defined pieces": model.dummy_prefix and user_defined,
    }
    found = [text for text, wrong in problems.items() if wrong]
    if found:
        raise CheckpointError(
            f"{source}: this SentencePiece model cannot be converted: {'; '.join(found)}",
            mend="use the model's tokenizer.json",
        )


def _bpe(model: Model) -> models.BPE:
    """Merges from scores: each piece that two others make up, best score first."""
    vocabulary = {piece.text: number for number, piece in enumerate(model.pieces)}
    mergeable = (PieceType.NORMAL, PieceType.USER_DEFINED)
    merges = []
    for piece in sorted(model.pieces, key=lambda p: -p.score):  # a stable sort
        text = piece.text
        if piece.type in mergeable:
            cuts = ((text[:i], text[i:]) for i in range(1, len(text)))
            known = [pair for pair in cuts if pair[0] in vocabulary and pair[1] in vocabulary]
            merges += sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    unknown = [p.text for p in model.pieces if p.type == PieceType.UNKNOWN]
    return models.BPE(
        vocabulary,
        merges,
        unk_token=unknown[0] if unknown else None,
        fuse_unk=True,
        byte_fallback=bool(model.byte_fallback),
    )


def _normalizers(model: Model) -> list[normalizers.Normalizer]:
    steps: list[normalizers.Normalizer] = []
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.remove_extra_whitespaces:
        # Not normalizers.Strip, which takes every white space for a space.
        for spaces, one in ((r"\A +| +\z", ""), (r" {2,}", " ")):
            steps.append(normalizers.Replace(Regex(spaces), one))
    if model.dummy_prefix:
        steps.append(normalizers.Prepend(_SPACE))
    return [*steps, normalizers.Replace(" ", _SPACE)]


def _decoder(model: Model) -> decoders.Decoder:
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if model.dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)
