"""Decoding with a KV cache, and packed rows: the same numbers as each sample alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.models.llama import KVCache, Llama, LlamaConfig

CONFIG = LlamaConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    rope_theta=10000.0,
    rms_norm_eps=1e-5,
    max_position_embeddings=512,
    tie_word_embeddings=False,
)
PROMPTS, NEW, BUCKET = (9, 4, 1), 6, 10  # the prompts' lengths, tokens to decode, slots
WIDTH = sum(PROMPTS) + NEW * len(PROMPTS) + 5  # all samples packed, and some padding


@pytest.fixture(scope="module")
def model(random_model) -> Llama:
    return random_model(lambda key: Llama(CONFIG, key=key))


@pytest.fixture(scope="module")
def samples() -> list[np.ndarray]:
    """Decoder inputs [n,D], one for each prompt and its continuation."""
    rng = np.random.default_rng(1)
    return [rng.standard_normal((n + NEW, 32), np.float32) for n in PROMPTS]


@jax.jit
def whole(model: Llama, x: jax.Array, positions: jax.Array, segments: jax.Array) -> jax.Array:
    return model(x, positions=positions, segments=segments)


@jax.jit
def extend(model: Llama, x, positions, segments, cache: KVCache):
    return model.extend(x, positions=positions, segments=segments, cache=cache)


def padded(x: np.ndarray):
    """One sample in a row of `WIDTH`: (inputs, positions, segments); one width compiles once."""
    n = len(x)
    row, positions = np.zeros((1, WIDTH, 32), np.float32), np.zeros((1, WIDTH), np.int32)
    row[0, :n], positions[0, :n] = x, np.arange(n)
    return row, positions, (np.arange(WIDTH) < n).astype(np.int32)[None]


@pytest.fixture(scope="module")
def alone(model, samples) -> list[np.ndarray]:
    """Hidden states of each sample in a row of its own."""
    return [np.asarray(whole(model, *padded(x)))[0, : len(x)] for x in samples]


def right_aligned(samples: list[np.ndarray]):
    """Prompts at the right end of a bucket: (inputs, positions, segments)."""
    x = np.full((len(samples), BUCKET, 32), 7.0, np.float32)  # what stands in padding is no matter
    positions, segments = np.zeros((2, len(samples), BUCKET), np.int32)
    for row, (sample, n) in enumerate(zip(samples, PROMPTS, strict=True)):
        x[row, -n:] = sample[:n]
        positions[row, -n:] = np.arange(n)
        segments[row, -n:] = 1
    return x, positions, segments


def empty_cache() -> KVCache:
    slots = BUCKET + NEW + 3  # more than are ever filled
    return KVCache.empty(CONFIG, batch=len(PROMPTS), slots=slots, dtype=jnp.float32)


@pytest.mark.smoke
def test_token_by_token_equals_the_whole_row(model, samples, alone):
    hidden, cache = extend(model, *right_aligned(samples), empty_cache())
    for row, n in enumerate(PROMPTS):
        np.testing.assert_allclose(hidden[row, -n:], alone[row][:n], rtol=1e-5, atol=1e-5)
    for step in range(NEW):
        at = np.array(PROMPTS)[:, None] + step
        x = np.stack([s[n + step][None] for s, n in zip(samples, PROMPTS, strict=True)])
        hidden, cache = extend(model, x, at, np.ones_like(at), cache)
        assert cache.slot == BUCKET + step + 1
        for row, n in enumerate(PROMPTS):
            np.testing.assert_allclose(hidden[row, 0], alone[row][n + step], rtol=1e-5, atol=1e-5)


def test_a_prompt_in_two_pieces_equals_one(model, samples):
    x, positions, segments = right_aligned(samples)
    once, filled = extend(model, x, positions, segments, empty_cache())
    _, half = extend(model, x[:, :5], positions[:, :5], segments[:, :5], empty_cache())
    rest, twice = extend(model, x[:, 5:], positions[:, 5:], segments[:, 5:], half)
    kept = segments[:, 5:, None] == 1
    np.testing.assert_allclose(rest * kept, once[:, 5:] * kept, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(twice.k, filled.k, rtol=1e-5, atol=1e-5)


def test_padding_and_unwritten_slots_are_never_read(model, samples):
    # The same prompts with other rubbish in the padding and in the slots to come.
    x, positions, segments = right_aligned(samples)
    clean, _ = extend(model, x, positions, segments, empty_cache())
    x = np.where(segments[..., None] == 1, x, -50.0).astype(np.float32)
    cache = empty_cache()
    dirty = cache._replace(k=cache.k + 100.0, v=cache.v + 100.0)
    again, _ = extend(model, x, positions, segments, dirty)
    kept = segments[..., None] == 1
    np.testing.assert_array_equal(again * kept, clean * kept)


def packed(samples):
    """All samples in one row, then padding: (inputs, positions, segments)."""
    lengths = [len(x) for x in samples] + [5]
    row = np.concatenate([*samples, np.full((5, 32), 7.0, np.float32)])
    positions = np.concatenate([np.arange(n) for n in lengths])
    segments = np.repeat([1, 2, 3, 0], lengths).astype(np.int32)
    return row[None], positions[None].astype(np.int32), segments[None]


@pytest.mark.smoke
def test_packed_samples_are_as_alone(model, samples, alone):
    row, positions, segments = packed(samples)
    hidden = np.asarray(whole(model, row, positions, segments))[0]
    ends = np.cumsum([len(x) for x in samples])
    for got, want in zip(np.split(hidden, ends)[:-1], alone, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert np.isfinite(hidden).all()
    # Without the borders it is another computation, so that this test can fail.
    merged = np.asarray(whole(model, row, positions, np.ones_like(segments)))[0]
    assert np.abs(merged[ends[0] : ends[1]] - alone[1]).max() > 1e-2


def test_packed_gradients_are_the_sum_of_those_alone(model, samples):
    def energy(model, x, positions, segments):
        hidden = model(x, positions=positions, segments=segments)
        return ((segments > 0)[..., None] * hidden**3).sum()

    gradient = jax.jit(jax.grad(energy))
    together = gradient(model, *packed(samples))
    summed = jax.tree.map(lambda *g: sum(g), *[gradient(model, *padded(x)) for x in samples])
    for got, want in zip(jax.tree.leaves(together), jax.tree.leaves(summed), strict=True):
        scale = max(np.abs(want).max(), 1.0)
        np.testing.assert_allclose(got / scale, want / scale, rtol=1e-5, atol=1e-5)
