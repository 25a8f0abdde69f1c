"""Byte-level BPE as Llama 3 has it: the cut pattern, and `tokenizer.model` files of ranks.

Such a file has one token a line, `BASE64 RANK`; merges are not written down, they follow from
the ranks. (A SentencePiece model has the same file name: see `sentencepiece_model.py`.)
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from sg4v_jax.errors import CheckpointError
from sg4v_jax.text.control_tokens import BOS, END_HEADER, END_OF_TEXT, EOT, START_HEADER

# How Llama 3 cuts text before merging bytes: contractions, words with at most one leading
# non-letter, numbers of up to three digits, punctuation runs, line ends, other white space.
_LLAMA_3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)
LLAMA_3_RANKS = 128_000
_CONTROL_TOKENS = 256
_NAMED = {0: BOS, 1: END_OF_TEXT, 6: START_HEADER, 7: END_HEADER, 9: EOT}


def byte_level_tokenizer(model: models.Model) -> tokenizers.Tokenizer:
    """`model` over bytes (spelled as letters), behind Llama 3's cut pattern."""
    backend = tokenizers.Tokenizer(model)
    split = pre_tokenizers.Split(tokenizers.Regex(_LLAMA_3_SPLIT), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    backend.decoder = decoders.ByteLevel()
    return backend


def add_bos(backend: tokenizers.Tokenizer, bos: str) -> None:
    """Gives `backend` a post-processor that puts `bos` before every text."""
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
    )


def read_llama3_ranks(content: bytes, *, source: str) -> tokenizers.Tokenizer:
    """Llama 3's `tokenizer.model` -> the tokenizer of its `tokenizer.json`.

    The 256 control tokens get the names of Llama 3 (not of 3.1, which share the file). The file
    cannot say whether a bos is added; this one adds it, as the released models were trained.

    Raises:
      CheckpointError: a line that is not `BASE64 RANK`, missing bytes or ranks, or another
        number of ranks than Llama 3's (Llama 4 cuts text in another way).
    """
    ranks = _parse(content, source=source)
    if len(ranks) != LLAMA_3_RANKS:
        raise CheckpointError(
            f"{source}: {len(ranks)} ranks; Llama 3 has {LLAMA_3_RANKS}",
            mend="use Llama 3's tokenizer.model, or the tokenizer.json of the other model",
        )
    vocabulary, merges = merges_of_ranks(ranks)
    backend = byte_level_tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    unnamed = (i for i in range(_CONTROL_TOKENS) if i not in _NAMED)
    names = _NAMED | {i: f"<|reserved_special_token_{k}|>" for k, i in enumerate(unnamed)}
    backend.add_special_tokens([names[i] for i in range(_CONTROL_TOKENS)])
    add_bos(backend, BOS)
    return backend


def merges_of_ranks(ranks: Mapping[bytes, int]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges, spelled in byte letters, of tokens in the order of their ranks.

    Every way to cut a token into two tokens is a merge, as important as the token's rank; the
    cuts of one token are ordered by the ranks of their parts.

    Example: ranks {b"a": 0, b"b": 1, b"ab": 2, b"aba": 3} -> merges [("a", "b"), ("ab", "a")].
    """
    letters = _byte_letters()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = []
    for token in ranks:
        cuts = [
            (ranks[token[:i]], ranks[token[i:]], token[:i], token[i:])
            for i in range(1, len(token))
            if token[:i] in ranks and token[i:] in ranks
        ]
        merges += [(spelled[left], spelled[right]) for _, _, left, right in sorted(cuts)]
    return {spelled[token]: rank for token, rank in ranks.items()}, merges


def _parse(content: bytes, *, source: str) -> dict[bytes, int]:
    """Token -> rank, in the order of ranks 0, 1, 2, ..."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        try:
            word, rank = line.split()
            token, value = base64.b64decode(word, validate=True), int(rank)
        except (ValueError, binascii.Error) as e:
            raise CheckpointError(
                f"{source}: line {number}: {line[:60]!r} is not a base64 token and its rank",
                mend="fetch the file again",
            ) from e
        if value != len(ranks) or token in ranks or not token:
            raise CheckpointError(
                f"{source}: line {number}: token {token!r} of rank {value}, expected a new token "
                f"of rank {len(ranks)}",
                mend="fetch the file again",
            )
        ranks[token] = value
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise CheckpointError(
            f"{source}: no rank for byte {missing[0]}", mend="fetch the file again"
        )
    return ranks


def _byte_letters() -> dict[int, str]:
    """How byte-level BPE spells bytes: printable ones as they are, others from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (byte for byte in range(256) if byte not in printable)
    moved = {byte: chr(256 + place) for place, byte in enumerate(others)}
    return {byte: chr(byte) for byte in printable} | moved
