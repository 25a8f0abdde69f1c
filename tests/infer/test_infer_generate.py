"""Prefill and decode with a cache against whole rows; how tokens are chosen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.infer.generate import decode, decode_one, prefill, right_align, sample

BUCKET, TILES, NEW = 72, 9, 8
F32 = dict(dtype=jnp.float32)
GREEDY = dict(
    key=jax.random.key(0),
    greedy=True,
    temperature=jnp.float32(1),
    top_p=jnp.float32(1),
    **F32,
)
NO_EOS = (-1, -1, -1, -1)  # no token has this id


@jax.jit
def say_one(model, state, eos):
    return decode_one(model, state, eos=eos, **GREEDY)


@jax.jit
def say_all(model, state, eos):
    return decode(model, state, eos=eos, **GREEDY)


@pytest.fixture(scope="module")
def batch(requests, place) -> Batch:
    """Prompts of four lengths, right-aligned in one bucket."""
    rows = [place(r, positions=BUCKET, tiles=TILES) for r in requests]
    return right_align(Batch(*(np.concatenate(field) for field in zip(*rows, strict=True))))


@pytest.fixture(scope="module")
def state(model, batch):
    """After the prompts, before the first new token."""
    run = jax.jit(lambda model, batch: prefill(model, batch, slots=BUCKET + NEW, **F32))
    return run(model, batch)


@pytest.fixture(scope="module")
def greedy_tokens(slow, requests) -> list[list[int]]:
    return [slow.greedy(r, NEW) for r in requests]


def test_right_align_moves_each_row_to_the_end_of_its_bucket():
    row = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    values = np.array([[5, 6, 0, 0], [5, 6, 7, 8], [5, 0, 0, 0]])
    loss = np.array([[3], [2], [1]])
    batch = Batch(values, values - 1, values + 1, row, loss, loss, loss, np.zeros((3, 0)))
    moved = right_align(batch)
    assert moved.segments.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]]
    assert moved.tokens.tolist() == [[0, 0, 5, 6], [5, 6, 7, 8], [0, 0, 0, 5]]
    np.testing.assert_array_equal(moved.visual_index, moved.tokens - 1)
    np.testing.assert_array_equal(moved.positions, moved.tokens + 1)
    assert moved.loss_index is loss


def test_token_by_token_equals_whole_rows(model, state, requests, slow, greedy_tokens):
    for count in range(NEW):
        for row, request in enumerate(requests):
            expected = slow.next_logits(request, greedy_tokens[row][:count])
            np.testing.assert_allclose(state.logits[row], expected, rtol=1e-4, atol=1e-4)
        state = say_one(model, state, NO_EOS)
        assert state.tokens[:, count].tolist() == [tokens[count] for tokens in greedy_tokens]
    assert state.count == NEW and not state.done.any()


def test_the_logits_compared_are_not_all_alike(slow, requests):
    # Otherwise the test above could not fail.
    logits = [slow.next_logits(r, []) for r in requests]
    for first in range(len(logits)):
        for second in range(first):
            assert np.abs(logits[first] - logits[second]).max() > 0.1


def test_the_loop_says_the_same_and_fills_its_room(model, state, greedy_tokens):
    assert say_all(model, state, NO_EOS).tolist() == greedy_tokens


def test_each_row_stops_at_either_eos_and_the_others_go_on(model, state, greedy_tokens):
    eos = (greedy_tokens[0][1], greedy_tokens[2][4], -1, -1)
    said = say_all(model, state, eos).tolist()
    for got, whole in zip(said, greedy_tokens, strict=True):
        ends = [i for i, token in enumerate(whole) if token in eos]
        stop = ends[0] + 1 if ends else NEW
        assert got == whole[:stop] + [0] * (NEW - stop)
    assert said[0][2:] == [0] * (NEW - 2) and said[2][5:] == [0] * (NEW - 5)
    assert 0 not in said[1] or set(said[1]) & set(eos)


def test_the_loop_ends_when_every_row_has(model, state, greedy_tokens):
    eos = tuple(tokens[0] for tokens in greedy_tokens)
    after = say_one(model, state, eos)
    assert after.done.all()
    np.testing.assert_array_equal(say_all(model, state, eos), after.tokens)


def test_sampled_answers_repeat_with_their_key_alone(model, state, greedy_tokens):
    options = GREEDY | dict(greedy=False, temperature=jnp.float32(3), eos=NO_EOS)
    run = jax.jit(lambda model, state, key: decode(model, state, **(options | {"key": key})))
    first = run(model, state, jax.random.key(1))
    np.testing.assert_array_equal(run(model, state, jax.random.key(1)), first)
    assert (run(model, state, jax.random.key(2)) != first).any()
    assert first.tolist() != greedy_tokens
    # Each token has its own draw: one draw for all of them would repeat the same quantile.
    assert len(set(first[0].tolist())) > 1


LOGITS = np.array([1.0, 3.0, 0.0, 2.5, -4.0])
DRAWS = 40_000


def expected_shares(temperature: float, top_p: float) -> np.ndarray:
    """Softmax, then the most likely tokens until their mass reaches `top_p`, by a plain loop."""
    p = np.exp(LOGITS / temperature)
    p /= p.sum()
    kept, mass = np.zeros_like(p), 0.0
    for token in np.argsort(-p):
        kept[token] = p[token]
        mass += p[token]
        if mass >= top_p:
            break
    return kept / kept.sum()


def draw(temperature: float, top_p: float, *, seed: int = 0) -> np.ndarray:
    """Shares of each token in many draws, one a row."""
    tokens = jax.jit(sample)(
        jnp.tile(jnp.asarray(LOGITS, jnp.float32), (DRAWS, 1)),
        key=jax.random.key(seed),
        temperature=jnp.float32(temperature),
        top_p=jnp.float32(top_p),
    )
    assert tokens.dtype == jnp.int32 and tokens.shape == (DRAWS,)
    return np.bincount(np.asarray(tokens), minlength=len(LOGITS)) / DRAWS


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (3.0, 1.0), (1.0, 0.8), (2.0, 0.85)]
)
def test_draws_have_the_shares_of_the_cut_softmax(temperature, top_p):
    expected, got = expected_shares(temperature, top_p), draw(temperature, top_p)
    assert (got[expected == 0] == 0).all()
    error = np.sqrt(expected * (1 - expected) / DRAWS)
    assert (np.abs(got - expected) <= 4 * error + 1e-9).all(), (got, expected)


def test_the_cases_above_cut_and_differ():
    assert (expected_shares(1.0, 0.8) > 0).sum() == 2
    assert (expected_shares(2.0, 0.85) > 0).sum() == 3
    assert np.abs(expected_shares(0.5, 1) - expected_shares(3, 1)).max() > 0.2


@pytest.mark.parametrize("top_p", [0.0, 1e-6, 0.3])
def test_a_tiny_mass_leaves_the_most_likely_token(top_p):
    assert draw(1.0, top_p).tolist() == [0, 1, 0, 0, 0]


def test_a_tiny_temperature_leaves_the_most_likely_token():
    assert draw(1e-3, 1.0).tolist() == [0, 1, 0, 0, 0]
