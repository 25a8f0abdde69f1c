"""cuDNN attention without a GPU: that it lowers, and that what surrounds it is right."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.models.attention import attention
from sg4v_jax.models.cudnn import cudnn

SHAPES = ((2, 4, 577, 64), (2, 2, 577, 64), (2, 2, 577, 64))  # a tower's odd length, grouped heads


def loss(q, k, v):
    return cudnn(q, k, v, causal=False).astype(jnp.float32).sum()


def test_forward_and_backward_lower_for_cuda(monkeypatch):
    # jax asks the installed cuDNN for its version while it lowers; there is none on this machine.
    module = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(module, "check_cudnn_version", lambda: 91000)
    inputs = [jax.ShapeDtypeStruct(s, jnp.bfloat16) for s in SHAPES]
    traced = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(*inputs)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "@__cudnn$fmhaSoftmax(" in text and "@__cudnn$fmhaSoftmaxBackward(" in text


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [7, 8])
def test_layout_and_padding_are_right(monkeypatch, causal, length):
    """The same call, computed by jax's own XLA form."""
    plain = jax.nn.dot_product_attention
    monkeypatch.setattr(
        jax.nn,
        "dot_product_attention",
        lambda *args, **how: plain(*args, **(how | {"implementation": "xla"})),
    )
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.standard_normal((*s[:2], length, 16)), jnp.bfloat16) for s in SHAPES)
    got = attention(q, k, v, causal=causal, impl="cudnn")
    want = attention(q, k, v, causal=causal, impl="xla")
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        got.astype(jnp.float32), want.astype(jnp.float32), rtol=0.02, atol=0.02
    )


def test_auto_on_gpu_takes_it_for_whole_rows_only(monkeypatch):
    monkeypatch.setattr("sg4v_jax.models.attention.platform", lambda: "cuda")
    called = []
    monkeypatch.setattr(
        "sg4v_jax.models.attention.cudnn", lambda q, *rest, **how: called.append(q.shape) or q
    )
    q = jnp.zeros((1, 2, 8, 16), jnp.bfloat16)
    attention(q, q, q, causal=False)
    segments = jnp.ones((1, 8), jnp.int32)
    attention(q, q, q, causal=True, segments=(segments, segments))
    attention(*(x.astype(jnp.float32) for x in (q, q, q)), causal=False)
    assert called == [(1, 2, 8, 16)]
