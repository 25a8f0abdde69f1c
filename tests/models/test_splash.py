"""The splash kernel, interpreted, against the XLA reference: values, gradients, meshes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax import sharding
from sg4v_jax.errors import ConfigError
from sg4v_jax.models import splash as module
from sg4v_jax.models import splash_blocks
from sg4v_jax.models.attention import attention

N, K, H = 4, 1, 16


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 128, so that short rows have several."""
    monkeypatch.setattr(module, "SMALLEST_KNOWN", 128)


def inputs(*, batch: int, length: int, kv_heads: int = K):
    rng = np.random.default_rng(0)
    heads = (N, kv_heads, kv_heads)
    q, k, v = (rng.standard_normal((batch, n, length, H), np.float32) for n in heads)
    cuts = np.sort(rng.integers(1, length, (batch, 2)), axis=1)
    segments = (np.arange(length) >= cuts[:, :1]).astype(np.int32) + 1
    segments[np.arange(length) >= cuts[:, 1:]] = 0  # the rest is padding
    return q, k, v, segments


def packed(*rows, length: int):
    """As `inputs`, of rows that hold samples of these lengths; what is left is padding."""
    q, k, v, segments = inputs(batch=len(rows), length=length, kv_heads=2)
    for segment, samples in zip(segments, rows, strict=True):
        ids = np.repeat(np.arange(len(samples)) + 1, samples)
        segment[:] = np.pad(ids, (0, length - len(ids)))
    return q, k, v, segments


def values(q, k, v, segments, weights, *, impl, causal=True):
    """The output, and the gradients of a weighted sum of it."""

    def run(q, k, v):
        pair = None if segments is None else (segments, segments)
        out = attention(q, k, v, causal=causal, segments=pair, impl=impl)
        return (out * weights).sum(), out

    gradients, out = jax.grad(run, argnums=(0, 1, 2), has_aux=True)(q, k, v)
    return out, *gradients


def compare(q, k, v, segments, *, mesh=None, causal=True):
    weights = np.random.default_rng(1).standard_normal(q.shape, np.float32)
    if segments is not None:  # what stands in padding is no matter
        weights = weights * (segments > 0)[:, None, :, None]
    run = lambda impl: jax.jit(functools.partial(values, impl=impl, causal=causal))
    want = run("xla")(q, k, v, segments, weights)
    if mesh is None:
        got = run("splash")(q, k, v, segments, weights)
    else:
        with jax.set_mesh(mesh):
            got = run("splash")(q, k, v, segments, weights)
    keep = np.float32(1) if segments is None else (segments > 0)[:, None, :, None]
    for name, a, b in zip(("out", "dq", "dk", "dv"), got, want, strict=True):
        np.testing.assert_allclose(a * keep, b * keep, rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_packed_rows_with_grouped_heads(kv_heads):
    compare(*inputs(batch=2, length=256, kv_heads=kv_heads))


@pytest.mark.parametrize("causal", [True, False])
def test_lengths_that_no_block_divides(causal):
    q, k, v, segments = inputs(batch=1, length=201)
    compare(q, k, v, segments, causal=causal)
    compare(q, k, v, None, causal=causal)


@pytest.mark.parametrize(
    "shape",
    [
        dict(fsdp=4, tensor=2),
        pytest.param(dict(data=2, fsdp=2, context=2), marks=pytest.mark.slow),
        dict(fsdp=2, context=4),
        pytest.param(dict(tensor=2, context=2, fsdp=2), marks=pytest.mark.slow),
    ],
)
def test_every_mesh_gives_the_same(shape):
    # Two kv heads, so that tensor=2 splits them; 512 positions: a block or more on each device.
    compare(*inputs(batch=4, length=512, kv_heads=2), mesh=sharding.make_mesh(shape))


def test_rows_that_a_mesh_does_not_divide():
    # 201 positions over two devices: padded to a block on each, and the mask knows.
    q, k, v, segments = inputs(batch=2, length=201, kv_heads=2)
    compare(q, k, v, segments, mesh=sharding.make_mesh(dict(data=2, tensor=2, context=2)))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("rows", "length"),
    [
        ([[400]], 400),
        ([[128, 256], [60, 70, 20, 233]], 384),  # samples end with blocks, and inside
        ([[300, 1, 99], [100]], 400),  # more than two blocks of padding; rows end inside a block
        ([[], [1, 127, 128, 129]], 385),  # one that is empty
    ],
)
def test_blocks_between_samples_are_skipped(rows, length):
    compare(*packed(*rows, length=length))


@pytest.mark.usefixtures("small_blocks")
def test_many_rows_are_a_loop(monkeypatch):
    monkeypatch.setattr(module, "UNROLLED", 1)
    compare(*packed([300, 1, 83], [128, 100], length=384))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "shape",
    [
        dict(fsdp=4, tensor=2),  # a row on each chip
        pytest.param(dict(fsdp=2, tensor=2, context=2), marks=pytest.mark.slow),  # two, in parts
    ],
)
def test_every_mesh_skips_the_same(shape):
    rows = [[512], [128, 384], [100, 200, 150], [60] * 8]
    compare(*packed(*rows, length=512), mesh=sharding.make_mesh(shape))


@pytest.mark.usefixtures("small_blocks")
def test_skipped_blocks_are_not_read(monkeypatch):
    # Two samples of two blocks. A masked NaN is a NaN all the same: 0 * NaN in the product.
    q, k, v, segments = packed([256, 256], length=512)
    ones, nan = np.ones_like(q), np.float32(np.nan)
    clean = lambda x, part: bool(np.isfinite(x[:, :, part]).all())
    first, second = slice(256), slice(256, 512)
    of_first = lambda x: np.where(segments[:, None, :, None] == 1, nan, x)
    of_second = lambda x: np.where(segments[:, None, :, None] == 2, nan, x)

    run = jax.jit(functools.partial(values, impl="splash"))
    out, dq, dk, dv = run(q, k, of_first(v), segments, ones)  # forward and dq: keys of the first
    assert clean(out, second) and clean(dq, second) and clean(dk, second) and clean(dv, second)
    assert not clean(out, first)
    _, dq, dk, dv = run(q, k, v, segments, of_second(ones))  # dkv: queries of the second
    assert clean(dq, first) and clean(dk, first) and clean(dv, first) and not clean(dv, second)

    monkeypatch.setattr(splash_blocks, "only_meeting", lambda kernel, *_, block: kernel)
    out, *_ = jax.jit(functools.partial(values, impl="splash"))(q, k, of_first(v), segments, ones)
    assert not clean(out, second)  # of a kernel that masks them


def test_padded_rows_are_whole_blocks_on_every_device():
    for length in range(1, 7000, 61):
        for parts in (1, 2, 4):
            block, size = module.blocks_of(length, parts=parts, packed=length % 2 == 0)
            assert size >= length and size % (block * parts) == 0, (length, parts)
            assert size - length < max(128 * parts, length // 4), (length, parts)


def test_blocks_divide_what_they_are_for():
    sizes = [module.block_size(n, largest=512) for n in (1, 128, 577, 640, 2048, 2176, 6144)]
    assert sizes == [128, 128, 640, 640, 512, 256, 512]
    for length in range(1, 4097, 57):
        block = module.block_size(length, largest=1024)
        assert block % 128 == 0 and -(-length // block) * block - length < max(128, length // 7)


def test_what_a_kernel_cannot_do_is_refused():
    q, k, v, segments = inputs(batch=1, length=128)
    with pytest.raises(ConfigError, match="takes whole rows, not a cache"):
        attention(q[:, :, :1], k, v, causal=True, impl="splash")
    with pytest.raises(ConfigError, match="cannot keep packed samples apart"):
        attention(q, k, v, causal=True, segments=(segments, segments), impl="cudnn")
    with pytest.raises(ConfigError, match="cannot compute in float32"):
        attention(q, k, v, causal=True, impl="cudnn")


def test_auto_follows_the_mesh_not_the_host(monkeypatch):
    q = jax.ShapeDtypeStruct((1, N, 256, H), jnp.bfloat16)
    chosen = lambda: str(jax.make_jaxpr(lambda q: attention(q, q, q, causal=True))(q))
    assert "pallas_call" not in chosen()
    monkeypatch.setattr("sg4v_jax.models.attention.platform", lambda: "tpu")
    assert "pallas_call" in chosen()
