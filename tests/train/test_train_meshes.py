"""Sharding changes nothing: ten steps on every kind of mesh are those of one device."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax import sharding
from sg4v_jax.models import lora
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import VideoLM
from sg4v_jax.train import optim, state
from sg4v_jax.train.losses import next_token_loss
from sg4v_jax.train.step import make_step

STEPS, ROWS = 10, 8
LORA = lora.LoRA(rank=2, alpha=4.0, dropout=0.0, targets=("llm", "tower"))
MESHES = {
    "data": dict(data=8),
    "fsdp": dict(fsdp=8),
    "tensor": dict(fsdp=4, tensor=2),
    "copied heads": dict(fsdp=2, tensor=4),  # two kv heads on four devices
    "context": dict(fsdp=4, context=2),
}
pytestmark = pytest.mark.skipif(
    jax.device_count() < 8,
    reason="needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8",
)


def loss(model, batch, key):
    return next_token_loss(model, batch, dtype=jnp.float32, remat="full", vocab_chunks=2)


class Trainer:
    """Ten steps of the tiny model with four heads, in full or of low-rank branches."""

    def __init__(self, tiny_model):
        config = tiny_model.config
        llm = dataclasses.replace(
            config.llm, num_attention_heads=4, num_key_value_heads=2, head_dim=4
        )
        self.config, self.tiny = dataclasses.replace(config, llm=llm), tiny_model
        self.alone = {}

    def build(self, key, *, adapted: bool) -> VideoLM:
        model = VideoLM(self.config, key=key)
        return lora.attach(model, LORA, key=key) if adapted else model

    def parts(self, *, adapted: bool):
        """(skeleton, group of each path, parameters as numpy)."""
        shape = skeleton(lambda key: self.build(key, adapted=adapted))
        trains = lambda path: lora.is_lora(path) or not adapted or path.startswith("projector")
        groups = {path: "all" if trains(path) else optim.FROZEN for path in shape.shapes}
        rng = np.random.default_rng(0)
        draw = lambda path, s: 0.2 * rng.standard_normal(s.shape) + path.endswith("scale")
        flat = {path: draw(path, s).astype(np.float32) for path, s in shape.shapes.items()}
        return shape, groups, flat

    def batches(self, accumulate: int):
        """Ten batches of rows of different lengths, [A,B/A,...] where A is more than 1."""
        rng = np.random.default_rng(1)
        for number in range(STEPS):
            rows = []
            for row in range(ROWS * accumulate):
                text, seed = int(rng.integers(6, 16)), 1000 * number + row
                first = self.tiny.sample(seed, tiles=2, text=text, scored=text - 4)
                rows.append([first, self.tiny.sample(seed + 500, tiles=1, text=5, scored=2)])
            batch = self.tiny.batch(*rows)
            split = lambda x: x.reshape(accumulate, ROWS, *x.shape[1:])
            yield batch if accumulate == 1 else jax.tree.map(split, batch)

    def prepare(self, mesh, *, adapted: bool, accumulate: int):
        """(jitted step, state at step 0 laid out on `mesh`)."""
        shape, groups, flat = self.parts(adapted=adapted)
        labels = {path: group for path, group in groups.items() if group != optim.FROZEN}
        optimizer, _ = optim.build(
            {"all": optim.Group(1e-3, weight_decay=0.1)},
            labels,
            steps=STEPS,
            warmup_ratio=0.0,
            schedule_name="cosine",
            floor=0.0,
            b1=0.9,
            b2=0.99,
            eps=1e-4,  # smaller would turn the last bit of a tiny gradient into a whole update
            clip=1.0,
        )
        how = dict(groups=groups, optimizer=optimizer)
        abstract = state.abstract(shape, **how)
        where = state.shardings(abstract, skeleton=shape, mesh=mesh)
        zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), abstract)
        pick = lambda part: {path: flat[path] for path in part}
        start = zeros._replace(trained=pick(zeros.trained), frozen=pick(zeros.frozen))
        step = make_step(loss, skeleton=shape, optimizer=optimizer, accumulate=accumulate)
        compiled = jax.jit(step, donate_argnums=0, compiler_options=self.tiny.quick)
        return compiled, jax.device_put(start, where)

    def run(self, mesh, *, adapted: bool, accumulate: int):
        """(loss of each step, trained parameters)."""
        losses = []
        with jax.set_mesh(mesh):
            step, current = self.prepare(mesh, adapted=adapted, accumulate=accumulate)
            for batch in self.batches(accumulate):
                axis = 1 if accumulate > 1 else 0
                placed = sharding.to_global(batch, mesh=mesh, batch_axis=axis)
                current, metrics = step(current, placed, jax.random.key(0))
                losses.append(float(metrics["loss"]))
        return losses, {path: np.asarray(x) for path, x in current.trained.items()}

    def run_alone(self, **how):
        key = tuple(how.items())
        if key not in self.alone:
            self.alone[key] = self.run(sharding.make_mesh(devices=jax.devices()[:1]), **how)
        return self.alone[key]


@pytest.fixture(scope="module")
def trainer(tiny_model) -> Trainer:
    return Trainer(tiny_model)


# The quick ones: the meshes that do more than split rows, in full and with branches.
QUICK = {("copied heads", False, 1), ("context", True, 2), ("tensor", False, 1)}
CASES = [
    pytest.param(
        name,
        adapted,
        accumulate,
        marks=() if (name, adapted, accumulate) in QUICK else pytest.mark.slow,
        id=f"{name}-{'lora' if adapted else 'full'}-{accumulate}",
    )
    for name in MESHES
    for adapted in (False, True)
    for accumulate in (1, 2)
]


@pytest.mark.parametrize(("name", "adapted", "accumulate"), CASES)
def test_ten_steps_are_those_of_one_device(trainer, name, adapted, accumulate):
    how = dict(adapted=adapted, accumulate=accumulate)
    losses, params = trainer.run_alone(**how)
    start = trainer.parts(adapted=adapted)[2]
    assert max(np.abs(value - start[path]).max() for path, value in params.items()) > 1e-3
    got, got_params = trainer.run(sharding.make_mesh(MESHES[name]), **how)
    np.testing.assert_allclose(got, losses, rtol=1e-5, atol=1e-5)
    assert set(got_params) == set(params)
    for path, value in params.items():
        np.testing.assert_allclose(got_params[path], value, rtol=1e-5, atol=1e-5, err_msg=path)


def gathers(text: str) -> list[str]:
    """The all-gathers of a compiled step."""
    return [line for line in text.splitlines() if re.search(r" all-gather(-start)?\(", line)]


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_tiles_stay_where_they_were_loaded(trainer, accumulate):
    mesh = sharding.make_mesh(dict(data=2, fsdp=2, tensor=2))
    with jax.set_mesh(mesh):
        step, current = trainer.prepare(mesh, adapted=True, accumulate=accumulate)
        batch = next(trainer.batches(accumulate))
        placed = sharding.to_global(batch, mesh=mesh, batch_axis=int(accumulate > 1))
        text = step.lower(current, placed, jax.random.key(0)).compile().as_text()
    found = gathers(text)
    assert found, "weights are gathered, so there is something to look at"
    side = trainer.config.tower.image_size
    assert not [line for line in found if re.search(rf"{side},{side},3\]", line)]
    assert not [line for line in found if " u8[" in line]


@pytest.mark.parametrize("adapted", [False, True])
def test_frozen_matrices_have_no_gradient(trainer, adapted):
    """In the step as it is written: a product of a frozen matrix's shape would be its gradient."""
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    step, current = trainer.prepare(mesh, adapted=adapted, accumulate=1)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), current)
    text = str(step.trace(shapes, next(trainer.batches(1)), jax.random.key(0)).jaxpr)
    llm = trainer.config.llm
    gate = f"f32[{llm.hidden_size},{llm.intermediate_size}] = dot_general"
    head = f"f32[{llm.hidden_size},256] = dot_general"  # a chunk of the 320 in whole lanes
    assert (gate in text, head in text) == ((False, False) if adapted else (True, True))
