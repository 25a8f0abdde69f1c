"""Low-rank branches: what they compute, drop, merge to, and that without them nothing costs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.models import lora
from sg4v_jax.models.layers import REMAT, Linear, scan_layers, stack
from sg4v_jax.models.lora import LoRA
from sg4v_jax.models.params import flatten, skeleton
from sg4v_jax.models.rope import angles
from sg4v_jax.models.video_lm import PRESETS, VideoLM

CONFIG = PRESETS["sg4v-test"]()
PATCHES = CONFIG.tower.patches**2
EVERYWHERE = LoRA(
    rank=3, alpha=6.0, dropout=0.4, targets=("llm", "tower", r"projector\..*", r"tower\.emb.*")
)
Q = "llm.layers.self_attn.q_proj"


def plain(key: jax.Array) -> VideoLM:
    return VideoLM(CONFIG, key=key)


def adapted(key: jax.Array) -> VideoLM:
    return lora.attach(plain(key), EVERYWHERE, key=key)


@pytest.fixture(scope="module")
def model(random_model) -> VideoLM:
    """Branches everywhere, no number of them zero."""
    return random_model(adapted)


@pytest.fixture(scope="module")
def batch() -> Batch:
    rng = np.random.default_rng(0)
    s = PATCHES + 4
    none = np.zeros((1, 1), np.int32)
    return Batch(
        tokens=rng.integers(0, 9, (1, s)),
        visual_index=np.concatenate([np.arange(PATCHES + 1), [-1] * 3])[None],
        positions=np.arange(s)[None],
        segments=np.ones((1, s), np.int32),
        loss_index=none,
        targets=none,
        loss_weights=none.astype(np.float32),
        tiles=rng.integers(0, 256, (1, 1, 16, 16, 3), np.uint8),
    )


@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def hidden(model: VideoLM, batch: Batch, key=None) -> jax.Array:
    return model.hidden(batch, dtype=jnp.float32, key=key)


def one_linear(*, rate: float = 0.0) -> Linear:
    """[2,3] -> [4,5] with a branch of rank 2 whose `lora_b` is not zero."""
    build = lambda key: Linear((2, 3), (4, 5), axes=("none",) * 4, bias=True, key=key)
    settings = LoRA(rank=2, alpha=3.0, dropout=rate, targets=("linear",))
    holder = lora.attach({"linear": build(jax.random.key(0))}, settings, key=jax.random.key(1))
    linear = holder["linear"]
    linear.lora_b[...] = jax.random.normal(jax.random.key(2), (2, 4, 5))
    return linear


SQUARE = dict(alpha=64.0, dropout=0.5, targets=("layers",))


@functools.cache
def square_layers(size: int) -> Linear:
    """A stack of two square layers."""
    build = lambda key: Linear((size,), (size,), axes=("none", "none"), bias=False, key=key)
    return stack(build, layers=2, key=jax.random.key(0))


def identities(size: int) -> Linear:
    """Two layers that are nothing but `dropout(x)`, at rate 0.5."""
    settings = LoRA(rank=size, **SQUARE | {"alpha": float(size)})
    layers = lora.attach({"layers": square_layers(size)}, settings, key=jax.random.key(0))["layers"]
    eye = jnp.broadcast_to(jnp.eye(size), (2, size, size))
    layers.kernel[...], layers.lora_a[...], layers.lora_b[...] = 0 * eye, eye, eye
    return layers


def test_a_branch_adds_its_scaled_product():
    linear = one_linear()
    x = np.random.default_rng(0).standard_normal((7, 2, 3), np.float32)
    product = np.einsum("ijr,rkl->ijkl", linear.lora_a[...], linear.lora_b[...])
    want = np.einsum("bij,ijkl->bkl", x, linear.kernel[...] + 1.5 * product)
    np.testing.assert_allclose(linear(x), want + linear.bias[...], rtol=1e-5, atol=1e-5)


def test_branches_lie_beside_their_kernels():
    shapes, axes = skeleton(adapted).shapes, skeleton(adapted).axes
    assert shapes[f"{Q}.lora_a"].shape == (2, 16, 3)
    assert axes[f"{Q}.lora_a"] == ("layers", "embed", "lora_rank")
    assert shapes[f"{Q}.lora_b"].shape == (2, 3, 2, 8)
    assert axes[f"{Q}.lora_b"] == ("layers", "lora_rank", "heads", "none")
    assert shapes["tower.embeddings.patch_embedding.lora_a"].shape == (8, 8, 3, 3)
    base, branches = lora.split(shapes)
    assert base.keys() == skeleton(plain).shapes.keys()
    assert len(branches) == 2 * (7 + 6 + 2 + 1)


def test_branches_start_as_pefts():
    """`lora_b` is zero and changes nothing; `lora_a` fills +-1/sqrt(inputs), layer by layer anew."""
    linear = lora.attach(
        {"layers": square_layers(8)}, LoRA(rank=50, **SQUARE), key=jax.random.key(0)
    )["layers"]
    x = jnp.linspace(-1, 1, 8)
    assert linear.lora_a.shape == (2, 8, 50) and not np.asarray(linear.lora_b[...]).any()
    for i in range(2):
        layer, before = (jax.tree.map(lambda p, i=i: p[i], m) for m in (linear, square_layers(8)))
        np.testing.assert_array_equal(layer(x), before(x))
    a = np.asarray(linear.lora_a[...]) * np.sqrt(8)
    assert 0.97 < np.abs(a).max() <= 1 and abs(a.mean()) < 0.1
    assert abs((a**2).mean() - 1 / 3) < 0.05 and np.abs(a[0] - a[1]).max() > 0.5


def test_merged_is_unmerged(model, batch):
    flat = flatten(model)
    merged = lora.merge(flat, EVERYWHERE)
    assert merged.keys() == skeleton(plain).shapes.keys()
    want = hidden(model, batch)
    np.testing.assert_allclose(hidden(skeleton(plain).build(merged), batch), want, atol=1e-5)
    without = skeleton(plain).build(lora.split(flat)[0])
    assert np.abs(hidden(without, batch) - want).max() > 0.1, "the branches must matter here"


def test_merging_rounds_once_to_the_kernels_dtype(model):
    flat = {p: v.astype(jnp.bfloat16) for p, v in flatten(model).items() if p.startswith(Q)}
    merged = lora.merge(flat, EVERYWHERE)[f"{Q}.kernel"]
    assert merged.dtype == jnp.bfloat16
    w, a, b = (np.asarray(flat[f"{Q}.{n}"], np.float64) for n in ("kernel", "lora_a", "lora_b"))
    exact = w + EVERYWHERE.scaling * np.einsum("ldr,lrnh->ldnh", a, b)
    np.testing.assert_array_equal(merged, exact.astype(jnp.bfloat16))


def test_half_a_branch_is_named(model):
    flat = flatten(model)
    del flat[f"{Q}.lora_b"]
    with pytest.raises(CheckpointError, match=rf"{Q}\.lora_b is missing"):
        lora.merge(flat, EVERYWHERE)


def test_dropout_is_in_the_branch_alone():
    """With every second number dropped, the mean of many draws is the undropped output."""
    linear, x = one_linear(rate=0.5), jnp.ones((2, 3))
    draws = jax.vmap(lambda key: linear(x, key=key))(jax.random.split(jax.random.key(0), 20000))
    whole = np.asarray(linear(x))
    spread = np.asarray(draws.std(0))
    assert (np.abs(draws.mean(0) - whole) < 5 * spread / np.sqrt(20000)).all()
    assert spread.min() > 0.01
    linear.lora_b[...] = jnp.zeros((2, 4, 5))
    np.testing.assert_array_equal(linear(x, key=jax.random.key(0)), linear(x))


def test_each_layer_drops_its_own():
    def body(seen, layer, key):
        return jnp.concatenate([seen[1:], layer(jnp.ones((1, 64)), key=key)])

    first, second = np.asarray(
        scan_layers(
            identities(64), jnp.ones((2, 64)), body=body, remat="none", key=jax.random.key(3)
        )
    )
    assert set(first) == set(second) == {0.0, 2.0} and (first != second).any()


def test_each_matrix_of_a_block_drops_its_own(model):
    block = jax.tree.map(lambda x: x[0], model.llm.layers)
    k_proj, v_proj = block.self_attn.k_proj, block.self_attn.v_proj
    for name in ("kernel", "lora_a", "lora_b"):
        getattr(v_proj, name)[...] = getattr(k_proj, name)[...]
    turn = angles(jnp.zeros((1, 5), jnp.int32), head_dim=8, theta=1e4)  # no rotation
    x = jnp.ones((1, 5, 16))
    qkv = jax.jit(lambda attend, key: attend.qkv(x, turn, key=key))
    _, k, v = qkv(block.self_attn, None)
    np.testing.assert_allclose(k, v, rtol=1e-6)
    _, k, v = qkv(block.self_attn, jax.random.key(0))
    assert np.abs(k - v).max() > 0.01


def test_keys_choose_the_masks_and_none_is_inference(model, batch):
    key = jax.random.key(1)
    first = hidden(model, batch, key)
    np.testing.assert_array_equal(hidden(model, batch, key), first)
    assert np.abs(hidden(model, batch, jax.random.key(2)) - first).max() > 0.01
    assert np.abs(hidden(model, batch) - first).max() > 0.01


@pytest.mark.parametrize("remat", [r for r in REMAT if r != "none"])
def test_recomputation_drops_the_same(remat):
    layers = identities(8)
    body = lambda x, layer, key: jnp.sin(x + layer(x, key=key))

    def energy(layers, how):
        y = scan_layers(layers, jnp.ones((5, 8)), body=body, remat=how, key=jax.random.key(5))
        return (y**2).sum()

    gradient = jax.jit(jax.grad(energy), static_argnums=1)
    want, got = flatten(gradient(layers, "none")), flatten(gradient(layers, remat))
    assert np.abs(want["lora_a"]).max() > 0.1
    for path, value in want.items():
        np.testing.assert_allclose(got[path], value, atol=1e-5, err_msg=path)


@pytest.mark.parametrize(("build", "products"), [(plain, 22), (adapted, 22 + 2 * 16)])
def test_a_model_without_branches_has_only_its_own_products(batch, build, products):
    """Patches 1, tower block 6 + 2 of attention, projector 2, decoder block 7 + 2 + 2 rotations."""
    program = str(jax.make_jaxpr(lambda m: m.hidden(batch, dtype=jnp.float32))(abstract(build)))
    assert program.count("dot_general[") == products
    assert "random" not in program and "threefry" not in program


def abstract(build) -> VideoLM:
    return jax.eval_shape(build, jax.random.key(0))


def test_a_key_draws_nothing_in_a_plain_model(batch):
    run = lambda m, key: m.hidden(batch, dtype=jnp.float32, key=key)
    programs = [str(jax.make_jaxpr(run)(abstract(b), jax.random.key(0))) for b in (plain, adapted)]
    assert "random_bits[" not in programs[0] and "random_bits[" in programs[1]


@pytest.mark.parametrize(
    ("target", "message", "mend"),
    [
        (r"llm\.layers\.attn\.q_proj", "matches no linear layer", "llm.layers.self_attn.q_proj"),
        ("q_proj", "matches no linear layer", "q_proj"),
        (r"llm\.lm_head", "llm.lm_head, where it has no effect", "llm.layers"),
    ],
)
def test_a_target_without_effect_is_named(target, message, mend):
    settings = LoRA(rank=2, alpha=2.0, dropout=0.0, targets=("llm", target))
    with pytest.raises(ConfigError) as error:
        lora.attach(abstract(plain), settings, key=jax.random.key(0))
    assert message in error.value.message and mend in error.value.mend


@pytest.mark.parametrize(("field", "value"), [("rank", 0), ("dropout", 1.0), ("dropout", -0.1)])
def test_settings_out_of_range_are_named(field, value):
    settings = dict(rank=2, alpha=2.0, dropout=0.0, targets=("llm",)) | {field: value}
    with pytest.raises(ConfigError, match=f"lora.{field} is"):
        LoRA(**settings)
