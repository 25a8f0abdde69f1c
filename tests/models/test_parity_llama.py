"""The decoder against `transformers.LlamaForCausalLM`, layer by layer, up to position 8191.

Rotary attention depends on distances alone, so a block of positions near 8191 says little about
the angles: `SPREAD` has distances of every size up to 8191 in one sequence.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.models import llama as model
from sg4v_jax.models import rope
from sg4v_jax.models.attention import attention
from sg4v_jax.models.llama import Llama, LlamaConfig
from sg4v_jax.weights import llama

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

CONFIG = LlamaConfig(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    rope_theta=500000.0,
    rms_norm_eps=1e-5,
    max_position_embeddings=8192,
    tie_word_embeddings=False,
)
S = 32
SPREAD = np.concatenate(
    [np.arange(8), np.linspace(100, 8180, S - 12).astype(int), range(8188, 8192)]
)
POSITIONS = {"start": np.arange(S), "end": np.arange(8192 - S, 8192), "spread": SPREAD}
TOKENS = np.random.default_rng(2).integers(0, CONFIG.vocab_size, (2, S))


def reference_of(config: LlamaConfig, randomise):
    c = config
    return randomise(
        transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=c.vocab_size,
                hidden_size=c.hidden_size,
                intermediate_size=c.intermediate_size,
                num_hidden_layers=c.num_hidden_layers,
                num_attention_heads=c.num_attention_heads,
                num_key_value_heads=c.num_key_value_heads,
                head_dim=c.head_dim,
                rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
                rms_norm_eps=c.rms_norm_eps,
                max_position_embeddings=c.max_position_embeddings,
                tie_word_embeddings=c.tie_word_embeddings,
            )
        )
    )


@pytest.fixture(scope="module")
def reference(randomise):
    return reference_of(CONFIG, randomise)


@pytest.fixture(scope="module")
def ours(reference, load):
    return load(lambda k: Llama(CONFIG, key=k), reference.state_dict(), llama.table(tied=False))


def run_reference(reference, positions):
    """(every hidden state, logits); without the mask HF would cut the row where positions jump."""
    with torch.no_grad():
        out = reference(
            torch.from_numpy(TOKENS),
            position_ids=torch.from_numpy(positions)[None].expand(2, -1),
            attention_mask=torch.ones(TOKENS.shape, dtype=torch.long),
            output_hidden_states=True,
        )
    return [h.numpy() for h in out.hidden_states], out.logits.numpy()


def run_layer(block, x, positions, *, config=CONFIG):
    positions = jnp.broadcast_to(jnp.asarray(positions), x.shape[:2])
    turn = model.angles(positions, head_dim=config.head_dim, theta=config.rope_theta)
    q, k, v = block.self_attn.qkv(block.input_layernorm(x), turn)
    return block.feed_forward(x + block.self_attn.o_proj(attention(q, k, v, causal=True)))


@jax.jit
def run_whole(ours, positions):
    x = ours.embed(jnp.asarray(TOKENS), dtype=jnp.float32)
    positions = jnp.broadcast_to(positions, TOKENS.shape)
    hidden = ours(x, positions=positions, segments=jnp.ones(TOKENS.shape, jnp.int32))
    return hidden, ours.logits(hidden)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_angles_of_all_positions(theta, compiled):
    # One f32 step in a frequency is 5e-4 radians at position 8191: compiled or not, on any
    # backend, the frequencies must be the same ones.
    config = transformers.LlamaConfig(
        head_dim=128, rope_parameters={"rope_type": "default", "rope_theta": theta}
    )
    positions = np.arange(8192)[None]
    embedding = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    expected = embedding(torch.zeros(1), torch.from_numpy(positions))

    def ours(positions):
        return rope.angles(positions, head_dim=128, theta=theta)

    for got, want in zip((jax.jit(ours) if compiled else ours)(positions), expected, strict=True):
        np.testing.assert_allclose(got[:, :, 0], want[..., :64].numpy(), atol=1e-6)


@pytest.mark.parametrize("name", POSITIONS)
def test_every_layer(reference, ours, layer_of, name):
    expected, _ = run_reference(reference, POSITIONS[name])
    x = ours.embed(jnp.asarray(TOKENS), dtype=jnp.float32)
    np.testing.assert_array_equal(x, expected[0])
    for i in range(CONFIG.num_hidden_layers):
        x = run_layer(layer_of(ours.layers, i), x, POSITIONS[name])
        if i + 1 == CONFIG.num_hidden_layers:
            x = ours.norm(x)  # the last hidden state of transformers is normalised
        np.testing.assert_allclose(x, expected[i + 1], rtol=1e-5, atol=1e-5, err_msg=f"layer {i}")


@pytest.mark.smoke
@pytest.mark.parametrize("name", POSITIONS)
def test_logits(reference, ours, name):
    expected_hidden, expected = run_reference(reference, POSITIONS[name])
    hidden, logits = run_whole(ours, POSITIONS[name])
    assert logits.dtype == jnp.float32 and np.abs(expected).max() > 1
    np.testing.assert_allclose(hidden, expected_hidden[-1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_tied_head(randomise, load):
    config = dataclasses.replace(CONFIG, tie_word_embeddings=True, num_hidden_layers=1)
    reference = reference_of(config, randomise)
    tensors = reference.state_dict()
    assert "lm_head.weight" in tensors  # repeated in memory, absent from files
    tied = load(lambda k: Llama(config, key=k), tensors, llama.table(tied=True))
    _, expected = run_reference(reference, SPREAD)
    np.testing.assert_allclose(run_whole(tied, SPREAD)[1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 1), (8, 2)])
def test_other_head_groups(randomise, load, heads, kv_heads):
    config = dataclasses.replace(
        CONFIG, num_attention_heads=heads, num_key_value_heads=kv_heads, num_hidden_layers=1
    )
    reference = reference_of(config, randomise)
    grouped = load(lambda k: Llama(config, key=k), reference.state_dict(), llama.table(tied=False))
    _, expected = run_reference(reference, SPREAD)
    np.testing.assert_allclose(run_whole(grouped, SPREAD)[1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("theta", [10000.0, 499000.0])
def test_a_wrong_rope_base_would_be_seen(reference, ours, layer_of, theta):
    expected, _ = run_reference(reference, SPREAD)
    wrong = dataclasses.replace(CONFIG, rope_theta=theta)
    x = run_layer(layer_of(ours.layers, 0), jnp.asarray(expected[0]), SPREAD, config=wrong)
    assert np.abs(np.asarray(x) - expected[1]).max() > 1e-3


def test_interleaved_rotation_would_be_seen(reference, ours, layer_of, monkeypatch):
    def interleaved(x: jax.Array, cos_sin) -> jax.Array:
        cos, sin = (turn.swapaxes(1, 2) for turn in cos_sin)
        even, odd = x[..., ::2], x[..., 1::2]
        pairs = jnp.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)
        return pairs.reshape(x.shape)

    expected, _ = run_reference(reference, SPREAD)
    monkeypatch.setattr(model, "rotate", interleaved)
    x = run_layer(layer_of(ours.layers, 0), jnp.asarray(expected[0]), SPREAD)
    assert np.abs(np.asarray(x) - expected[1]).max() > 1e-2


def test_positions_in_half_precision_would_be_seen(reference, ours, layer_of, monkeypatch):
    def rounded(positions, **kwargs):
        return rope.angles(positions.astype(jnp.bfloat16), **kwargs)

    expected, _ = run_reference(reference, SPREAD)
    monkeypatch.setattr(model, "angles", rounded)
    x = run_layer(layer_of(ours.layers, 0), jnp.asarray(expected[0]), SPREAD)
    assert np.abs(np.asarray(x) - expected[1]).max() > 1e-2
