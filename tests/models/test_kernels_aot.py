"""Kernels through the TPU compiler, without a TPU: a training step and a decode step of a decoder."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sg4v_jax import sharding
from sg4v_jax.models.kv_cache import KVCache
from sg4v_jax.models.llama import Llama, LlamaConfig
from sg4v_jax.models.params import skeleton

pytestmark = pytest.mark.tpu_aot
CONFIG = LlamaConfig(
    vocab_size=1000,
    hidden_size=256,
    intermediate_size=512,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=128,
    rope_theta=10000.0,
    rms_norm_eps=1e-5,
    max_position_embeddings=2048,
    tie_word_embeddings=False,
)
SHAPE = skeleton(lambda key: Llama(CONFIG, key=key))


@pytest.fixture(autouse=True)
def exact_matmuls():
    """Not here: products of bf16 in a kernel have one precision."""


@pytest.fixture
def mesh_of(monkeypatch):
    """`mesh_of("v5e:2x2", fsdp=2, tensor=2)`: a mesh of chips that are not there."""
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")  # else the compiler asks a metadata server
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    def make(name: str, **shape):
        chips = topologies.get_topology_desc(name, platform="tpu").devices
        return sharding.make_mesh(shape, devices=chips)

    return make


def params_on(mesh, dtype):
    return {
        path: jax.ShapeDtypeStruct(
            s.shape,
            dtype,
            sharding=sharding.sharding_for(SHAPE.axes[path], shape=s.shape, mesh=mesh),
        )
        for path, s in SHAPE.shapes.items()
    }


def train_text(mesh, *, remat: str, rows: int = 4, length: int = 1024) -> str:
    """The compiled gradient of a decoder over packed rows."""

    def loss(flat, x, segments):
        hidden = SHAPE.build(flat)(x, positions=segments, segments=segments, remat=remat)
        return (hidden.astype(jnp.float32) ** 2).sum()

    at = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))
    batch = ("data", "fsdp")
    x = jax.ShapeDtypeStruct(
        (rows, length, CONFIG.hidden_size), jnp.bfloat16, sharding=at(batch, "context")
    )
    ids = jax.ShapeDtypeStruct((rows, length), jnp.int32, sharding=at(batch, "context"))
    with jax.set_mesh(mesh):
        gradient = jax.jit(jax.grad(loss))
        return gradient.lower(params_on(mesh, jnp.float32), x, ids).compile().as_text()


def calls_of(text: str, phase: str) -> int:
    """Kernels in a compiled program, in which all layers are one loop."""
    return len(re.findall(rf"^ *(?:ROOT )?%splash_mha_{phase}\S* = ", text, re.MULTILINE))


@pytest.mark.parametrize("rows", [4, 8])  # one and two a chip
def test_kernels_take_their_blocks_from_the_batch(mesh_of, rows):
    text = train_text(mesh_of("v5e:2x2", fsdp=4), remat="projections", rows=rows)
    # What a row's kernel gave is kept, so that none runs twice.
    assert [calls_of(text, phase) for phase in ("fwd", "dq", "dkv")] == [rows // 4] * 3
    assert "S(5)" not in text  # the host's memory
    masks = re.findall(r" = s8\[1,2,2\]\S* ([\w-]+)\(", text)
    assert masks and "constant" not in masks  # which blocks to compute, and what to fetch


@pytest.mark.parametrize(
    ("topology", "shape"),
    [
        ("v5e:2x2", dict(fsdp=2, tensor=2)),
        ("v5e:2x2", dict(fsdp=2, context=2)),
        ("v6e:2x2", dict(tensor=4)),  # more than there are kv heads
    ],
)
def test_training_compiles_with_the_kernel(mesh_of, topology, shape):
    text = train_text(mesh_of(topology, **shape), remat="full")
    for phase in ("fwd", "dq", "dkv"):
        assert f"splash_mha_{phase}_segmented" in text
    assert "f32[4,1024,1024]" not in text, "a dense mask or logits"


def test_offload_keeps_in_the_hosts_memory(mesh_of):
    assert "S(5)" in train_text(mesh_of("v5e:2x2", fsdp=4), remat="offload")


@pytest.mark.parametrize("kv_dtype", ["bfloat16", "int8"])
def test_decoding_streams_the_cache(mesh_of, kv_dtype):
    mesh, batch, slots = mesh_of("v6e:2x2", tensor=4), 8, 1024
    at = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))
    place = lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)

    def step(flat, x, cache):
        ones = jnp.ones(x.shape[:2], jnp.int32)
        return SHAPE.build(flat).extend(x, positions=ones, segments=ones, cache=cache)

    with jax.set_mesh(mesh):
        empty = functools.partial(KVCache.empty, CONFIG, batch=batch, slots=slots, dtype=kv_dtype)
        cache = jax.eval_shape(lambda: empty()._replace(slot=jnp.int32(5)))
        heads = at(None, None, "tensor")
        cache = jax.tree.map(lambda s: place(s, heads if s.ndim == 5 else at()), cache)
        x = jax.ShapeDtypeStruct((batch, 1, CONFIG.hidden_size), jnp.bfloat16, sharding=at())
        run = jax.jit(step, donate_argnums=2)
        text = run.lower(params_on(mesh, jnp.bfloat16), x, cache).compile().as_text()
    assert "decode_attention" in text
    kind = {"bfloat16": "bf16", "int8": "s8"}[kv_dtype]
    layer = f"{kind}[{batch},1,{slots},128]"
    assert layer not in text and f"{kind}[1,{layer[len(kind) + 1 :]}" not in text, "a copied layer"
