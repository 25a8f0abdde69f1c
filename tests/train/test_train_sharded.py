"""The same steps on any mesh: one device, all on fsdp, and data x fsdp x tensor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from sg4v_jax import sharding
from sg4v_jax.train import optim, state
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.train.losses import next_token_loss
from sg4v_jax.train.step import make_step

STEPS = 3
pytestmark = pytest.mark.skipif(
    jax.device_count() < 8,
    reason="needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8",
)


def loss(model, batch, key):
    return next_token_loss(model, batch, dtype=jnp.float32, remat="none")


def start_on(mesh, tiny_model, *, optimizer) -> state.TrainState:
    """Step 0, laid out by our rules; AdamW's slots begin as zeros."""
    groups = dict.fromkeys(tiny_model.skeleton.shapes, "all")
    shapes = jax.eval_shape(
        lambda flat: state.create(flat, groups=groups, optimizer=optimizer), tiny_model.params
    )
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    where = state.shardings(shapes, skeleton=tiny_model.skeleton, mesh=mesh)
    return jax.device_put(zeros._replace(trained=tiny_model.params), where)


def adamw(tiny_model):
    labels = dict.fromkeys(tiny_model.skeleton.shapes, "all")
    return optim.build(
        {"all": optim.Group(1e-2, weight_decay=0.1)},
        labels,
        steps=10,
        warmup_ratio=0.0,
        schedule_name="cosine",
        floor=0.0,
        b1=0.9,
        b2=0.99,
        eps=1e-6,
        clip=1.0,
    )[0]


@pytest.fixture(scope="module")
def batches(tiny_model):
    """Three batches of eight rows that differ in length."""
    rng = np.random.default_rng(0)

    def row(seed):
        text = int(rng.integers(6, 16))
        first = tiny_model.sample(seed, tiles=2, text=text, scored=text - 4)
        return [first, tiny_model.sample(seed + 100, tiles=1, text=5, scored=2)]

    return [tiny_model.batch(*(row(8 * step + r) for r in range(8))) for step in range(STEPS)]


@pytest.fixture(scope="module")
def run_on(tiny_model, batches):
    """Mesh shape -> (losses of three steps, the last state); each mesh runs once."""
    done = {}

    def run(*, devices: int = 8, **shape):
        key = (devices, *shape.items())
        if key in done:
            return done[key]
        mesh = sharding.make_mesh(shape, devices=jax.devices()[:devices])
        optimizer = adamw(tiny_model)
        step = jax.jit(
            make_step(loss, skeleton=tiny_model.skeleton, optimizer=optimizer, accumulate=1),
            donate_argnums=0,
            compiler_options=tiny_model.quick,
        )
        losses = []
        with jax.set_mesh(mesh):
            current = start_on(mesh, tiny_model, optimizer=optimizer)
            for batch in batches:
                current, metrics = step(
                    current, sharding.to_global(batch, mesh=mesh), jax.random.key(0)
                )
                losses.append(float(metrics["loss"]))
        done[key] = losses, current
        return done[key]

    return run


@pytest.mark.smoke
def test_a_mesh_of_eight_trains_as_one_device(run_on):
    alone, whole = run_on(devices=1, fsdp=1)
    losses, sharded = run_on(data=2, fsdp=2, tensor=2)
    np.testing.assert_allclose(losses, alone, rtol=1e-5, atol=1e-5)
    assert alone[0] > alone[-1], "three steps must have learned something"

    kernel = sharded.trained["llm.layers.mlp.up_proj.kernel"]  # [layers, embed, ffn]
    assert kernel.sharding.spec == PartitionSpec(None, "fsdp", "tensor")
    assert kernel.addressable_shards[0].data.shape == (2, 8, 16)
    for path, value in whole.trained.items():
        np.testing.assert_allclose(sharded.trained[path], value, rtol=1e-3, atol=1e-4, err_msg=path)


def test_fsdp_alone_trains_as_one_device(run_on):
    alone, _ = run_on(devices=1, fsdp=1)
    losses, sharded = run_on(fsdp=8)
    np.testing.assert_allclose(losses, alone, rtol=1e-5, atol=1e-5)
    assert sharded.trained["llm.embed_tokens"].addressable_shards[0].data.shape == (320, 2)


def test_slots_lie_as_their_parameters(tiny_model):
    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    placed = start_on(mesh, tiny_model, optimizer=adamw(tiny_model))
    path = "llm.lm_head.kernel"
    slots = [
        leaf
        for keys, leaf in jax.tree_util.tree_leaves_with_path(placed.slots)
        if any(getattr(key, "key", None) == path for key in keys)
    ]
    assert len(slots) == 2, "Adam's two moments"
    for slot in slots:
        assert slot.sharding == placed.trained[path].sharding
        assert slot.sharding.spec == PartitionSpec(("fsdp", "tensor"), None)
    assert placed.step.sharding.is_fully_replicated


def test_a_checkpoint_of_one_mesh_goes_on_on_another(run_on, tiny_model, tmp_path):
    _, trained = run_on(data=2, fsdp=2, tensor=2)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(trained, data={"row": 24, "plan": "p"})

    for shape, devices in (({"fsdp": 8}, 8), ({"fsdp": 1}, 1)):
        mesh = sharding.make_mesh(shape, devices=jax.devices()[:devices])
        other = start_on(mesh, tiny_model, optimizer=adamw(tiny_model))
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), other
        )
        restored, data = checkpoints.restore(wanted)
        assert data == {"row": 24, "plan": "p"}
        assert int(restored.step) == STEPS
        jax.tree.map(np.testing.assert_array_equal, restored, trained)
        same = jax.tree.map(lambda x, y: x.sharding == y.sharding, restored, other)
        assert all(jax.tree.leaves(same))
    checkpoints.close()
