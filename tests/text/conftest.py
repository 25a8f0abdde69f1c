"""Tokenizers and texts that several tests of this room need."""

from __future__ import annotations

import importlib.util
import pathlib
import random
from collections.abc import Callable

import pytest
import tokenizers

from sg4v_jax.text import tokenizer as tokenizer_lib
from sg4v_jax.text.byte_level import add_bos

ROOT = pathlib.Path(__file__).parent.parent.parent
LLAMA_MODELS = importlib.util.find_spec("llama_models")  # found, not imported


@pytest.fixture(scope="session")
def realtest() -> Callable[[str], pathlib.Path]:
    """`realtest("llama3")`: the tokenizer.json that launch/fetch_realtest.sh fetched, or a skip."""

    def find(name: str) -> pathlib.Path:
        path = ROOT / ".cache" / "realtest" / name / "tokenizer.json"
        if not path.exists():
            pytest.skip(f"needs .cache/realtest/{name}: run launch/fetch_realtest.sh")
        return path

    return find


@pytest.fixture(scope="session")
def llama3_model() -> pathlib.Path:
    """Llama 3's tokenizer.model, from the package llama-models (extra [realtest])."""
    if LLAMA_MODELS is None:
        pytest.skip("needs llama-models: pip install -e '.[realtest]'")
    return pathlib.Path(LLAMA_MODELS.submodule_search_locations[0]) / "llama3" / "tokenizer.model"


@pytest.fixture(scope="session")
def llama3(llama3_model) -> tokenizer_lib.Tokenizer:
    return tokenizer_lib.Tokenizer.from_file(llama3_model)


@pytest.fixture(scope="session")
def internlm2(realtest) -> tokenizer_lib.Tokenizer:
    return tokenizer_lib.Tokenizer.from_file(realtest("internlm2"))


@pytest.fixture(scope="session", params=["small", "real"])
def captioner(request) -> tokenizer_lib.Tokenizer:
    """InternLM2's control tokens: over a small byte-level vocabulary, and the real one."""
    if request.param == "real":
        return request.getfixturevalue("internlm2")
    made = tokenizer_lib.train_byte_bpe(["user assistant\nthe cat"] * 9, vocab_size=300)
    backend = tokenizers.Tokenizer.from_str(made._backend.to_str())
    names = [f"[UNUSED_TOKEN_{n}]" for n in range(141, 147)]
    backend.add_special_tokens(["<s>", "</s>", *names])
    add_bos(backend, "<s>")
    return tokenizer_lib.Tokenizer(backend)


@pytest.fixture(scope="session")
def chatml_tokenizer() -> tokenizer_lib.Tokenizer:
    """A byte-level vocabulary with ChatML's control tokens, which adds no bos."""
    texts = ["user assistant system\nthe red circle moves up"] * 9
    made = tokenizer_lib.train_byte_bpe(texts, vocab_size=320)
    backend = tokenizers.Tokenizer.from_str(made._backend.to_str())
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tokenizer_lib.Tokenizer(backend)


@pytest.fixture(scope="session")
def many_texts() -> list[str]:
    """300 texts: prose, code, scripts, white space, numbers, emoji, and any Unicode at all."""
    parts = [
        "The camera pans left.",
        " It's 12345.678 o'clock; we'LL see…",
        "\r\n\n\n  indented\ttabs   ",
        "naïve Ελλάδα русский עברית हिन्दी ไทย",
        "日本語と中文和한국어",
        "🎬👩‍👩‍👧🏳️‍🌈 ﷽ x²+y²≤√π",
        "def f(x):\n    return x*2  # ok\n",
        '{"key": [1, 2.5e-3, null]}',
        "ﬁ①Å e\u0301 \u00a0\u3000\u200b",
        "\x00\x1f\x7f\u0085\ufeff",
        "aaaaaaaaaaaaaaaaaaaaaaaa!!!!!????",
        "https://example.com/a_b-c?d=%20&e#f",
    ]
    rng = random.Random(0)
    texts = [*parts, ""]
    while len(texts) < 200:
        texts.append("".join(rng.choice(["", " ", "\n"]) + p for p in rng.choices(parts, k=3)))
    while len(texts) < 300:
        codes = (rng.randrange(1, 0x110000) for _ in range(rng.randrange(1, 40)))
        texts.append("".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000))
    return texts
