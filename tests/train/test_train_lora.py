"""Training low-rank branches: masks of each step, and the same step on any mesh."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from sg4v_jax import sharding
from sg4v_jax.models import lora
from sg4v_jax.models.params import skeleton
from sg4v_jax.train import optim, state
from sg4v_jax.train.losses import next_token_loss
from sg4v_jax.train.modes import mode_rules
from sg4v_jax.train.step import make_step

LORA = lora.LoRA(rank=4, alpha=8.0, dropout=0.3, targets=("llm", "clip_qkv"))
RATE = 0.1
KEY = jax.random.key(7)


def loss(model, batch, key):
    return next_token_loss(model, batch, dtype=jnp.float32, remat="none", key=key)


@pytest.fixture(scope="module")
def shapes(tiny_model):
    return skeleton(lambda key: lora.attach(tiny_model.build(key), LORA, key=key))


@pytest.fixture(scope="module")
def start(tiny_model, shapes):
    """`start(optimizer)`: the tiny model with branches that are not zero, at step 0."""
    rng = np.random.default_rng(1)
    branches = {
        path: 0.3 * rng.standard_normal(spec.shape, np.float32)
        for path, spec in shapes.shapes.items()
        if lora.is_lora(path)
    }
    flat = {path: {**tiny_model.params, **branches}[path] for path in shapes.shapes}
    groups = optim.assign(list(flat), mode_rules(llm="lora", tower="lora", projector="full"))
    return lambda optimizer: state.create(flat, groups=groups, optimizer=optimizer)


@pytest.fixture(scope="module")
def compiled(tiny_model, shapes):
    """`compiled(rate, accumulate)`: the jitted step of plain gradient descent, and its optimizer."""

    @functools.cache
    def build(rate: float, accumulate: int = 1):
        optimizer = optax.sgd(rate)
        step = make_step(loss, skeleton=shapes, optimizer=optimizer, accumulate=accumulate)
        return jax.jit(step, compiler_options=tiny_model.quick), optimizer

    return build


def test_each_step_drops_anew_and_repeats_exactly(tiny_model, three, compiled, start):
    """At rate 0 nothing moves, so the loss differs by the masks alone."""
    step, optimizer = compiled(0.0)
    batch, current, losses = tiny_model.batch(three), start(optimizer), []
    for _ in range(3):
        current, metrics = step(current, batch, KEY)
        losses.append(float(metrics["loss"]))
    assert len(set(losses)) == 3
    again = step(start(optimizer), batch, KEY)[1]
    assert float(again["loss"]) == losses[0]
    assert float(step(start(optimizer), batch, jax.random.key(8))[1]["loss"]) != losses[0]


def test_each_micro_batch_drops_its_own(tiny_model, three, compiled, start):
    """The same row twice: with one mask for both the mean would be the loss of one."""
    one, optimizer = compiled(0.0)
    two, _ = compiled(0.0, 2)
    batch = tiny_model.batch(three)
    alone = one(start(optimizer), batch, KEY)[1]["loss"]
    both = two(start(optimizer), jax.tree.map(lambda x: np.stack([x, x]), batch), KEY)[1]["loss"]
    assert abs(float(both - alone)) > 1e-4


@pytest.mark.slow
@pytest.mark.skipif(
    jax.device_count() < 8,
    reason="needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8",
)
def test_a_mesh_takes_the_step_of_one_device(tiny_model, three, shapes, compiled, start):
    """Masks too do not depend on where a row lies."""
    rows = [[three[i % 3]] for i in range(4)]
    step, optimizer = compiled(RATE)
    begin, batch = start(optimizer), tiny_model.batch(*rows)
    alone, metrics = step(begin, batch, KEY)

    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    with jax.set_mesh(mesh):
        placed = jax.device_put(begin, state.shardings(begin, skeleton=shapes, mesh=mesh))
        a = placed.trained["llm.layers.mlp.down_proj.lora_a"]
        b = placed.trained["llm.layers.mlp.down_proj.lora_b"]
        assert a.sharding.spec == PartitionSpec(None, "tensor", None)
        assert b.sharding.spec == PartitionSpec(None, None, "fsdp")
        sharded, sharded_metrics = step(placed, sharding.to_global(batch, mesh=mesh), KEY)
    np.testing.assert_allclose(sharded_metrics["loss"], metrics["loss"], rtol=1e-5)
    np.testing.assert_allclose(sharded_metrics["grad_norm"], metrics["grad_norm"], rtol=1e-4)
    for path, value in alone.trained.items():
        moved = np.abs(value - begin.trained[path]).max()
        assert moved > 0, path
        np.testing.assert_allclose(
            sharded.trained[path], value, atol=1e-6 + 1e-3 * moved, err_msg=path
        )
