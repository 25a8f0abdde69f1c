"""The formula of a step's operations against the products that jax really traces."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params

from sg4v_jax.data.packing import Budget
from sg4v_jax.models.lora import LoRA, attach
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM
from sg4v_jax.tasks.step_of import batch_shapes
from sg4v_jax.train import flops, modes, optim
from sg4v_jax.train.flops import Speed
from sg4v_jax.train.losses import next_token_loss

CONFIG = PRESETS["sg4v-test"]()
ROTATION = (CONFIG.llm.head_dim,) * 2
BUDGET = Budget(positions=192, tiles=3, scored=64)


def counted(jaxpr) -> float:
    """Operations of all matrix products in a jaxpr, loops run through.

    But for products with a constant [H,H]: rotary positions may be written so, or otherwise.
    """
    total = 0.0
    for eqn in jaxpr.eqns:
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        for inner in jaxprs_in_params(eqn.params):
            total += times * counted(inner)
        if eqn.primitive.name == "dot_general" and eqn.invars[1].aval.shape != ROTATION:
            (contracted, _), _ = eqn.params["dimension_numbers"]
            shared = math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
            total += 2.0 * math.prod(eqn.outvars[0].aval.shape) * shared
        assert "conv_general" not in eqn.primitive.name, "the formula knows no convolution"
    return total


def traced(build, trained, *, gradient: bool) -> float:
    """Operations of one row's loss, and of its gradient for the paths that `trained` keeps."""
    shape = skeleton(build)
    batch = batch_shapes(BUDGET, rows=1, accumulate=1, side=CONFIG.tower.image_size)
    flat = dict(shape.shapes)

    def loss(some, rest, batch):
        return next_token_loss(
            shape.build({**some, **rest}), batch, dtype=jnp.float32, remat="none"
        )[0]

    some = {p: flat.pop(p) for p in list(flat) if trained(p)}
    function = jax.grad(loss) if gradient else loss
    return counted(jax.make_jaxpr(function)(some, flat, batch).jaxpr)


def plain(key):
    return VideoLM(CONFIG, key=key)


def with_lora(key):
    made = LoRA(rank=4, alpha=8.0, dropout=0.0, targets=("llm",))
    return attach(VideoLM(CONFIG, key=key), made, key=jax.random.fold_in(key, 1))


def formula(build, **parts) -> float:
    shape = skeleton(build)
    groups = optim.assign(list(shape.shapes), list(modes.mode_rules(**parts)))
    found = flops.step(CONFIG, BUDGET, skeleton=shape, groups=groups, causal=False)
    return sum(found.step.values())


def test_forward_is_counted_to_the_last_product():
    want = traced(plain, lambda path: True, gradient=False)
    assert sum(flops.forward(CONFIG, BUDGET, causal=False).values()) == want
    halved = flops.forward(CONFIG, BUDGET)
    llm = CONFIG.llm
    pairs = 2 * BUDGET.positions**2 * llm.num_attention_heads * llm.head_dim
    assert want - sum(halved.values()) == llm.num_hidden_layers * pairs


WAYS = {
    "all": (plain, dict(llm="full", projector="full", tower="full"), lambda p: True),
    "decoder and projector": (
        plain,
        dict(llm="full", projector="full", tower="frozen"),
        lambda p: not p.startswith("tower."),
    ),
    "projector": (
        plain,
        dict(llm="frozen", projector="full", tower="frozen"),
        lambda p: p.startswith(("projector.", "separators")),
    ),
    "low rank": (
        with_lora,
        dict(llm="lora", projector="full", tower="frozen"),
        lambda p: p.startswith(("projector.", "separators")) or "lora" in p,
    ),
}


TOWER, LLM = CONFIG.tower, CONFIG.llm
PATCHES = BUDGET.tiles * TOWER.patches**2
# The gradient of what enters the first product that trains: the formula has it, nobody needs it.
PIXELS = 2 * PATCHES * 3 * TOWER.patch_size**2 * TOWER.hidden_size
FEATURES = 2 * PATCHES * TOWER.hidden_size * LLM.hidden_size
# The vocabulary head's backward computes its logits again, which does not count.
LOGITS = 2 * BUDGET.scored * LLM.hidden_size * LLM.vocab_size


@pytest.mark.parametrize("way", WAYS)
def test_a_step_is_counted_to_the_last_product(way):
    build, parts, trained = WAYS[way]
    unneeded = PIXELS if way == "all" else FEATURES
    got, want = formula(build, **parts), traced(build, trained, gradient=True)
    assert got - unneeded + LOGITS == want


def test_speed():
    speed = Speed(flops=4e12, chips=2, peak=None)
    values = speed.of(steps=5, tokens=3000.0, seconds=2.0)
    assert values == {"speed/tokens_per_second_chip": 750.0}
    assert flops.said(values) == "750 tokens/s/chip, MFU n/a"
    values = Speed(flops=4e12, chips=2, peak=1e13).of(steps=5, tokens=3000.0, seconds=2.0)
    assert flops.said(values) == "750 tokens/s/chip, MFU 50.0%"
    assert speed.of(steps=0, tokens=0.0, seconds=0.0) == {}


def test_the_paper_s_step_is_what_was_computed_by_hand():
    """12,374 TFLOP for 128 rows of 2048 tokens and one image, everything trained."""
    model = PRESETS["sg4v-8b"]()
    shape = skeleton(lambda key: VideoLM(model, key=key))
    groups = dict.fromkeys(shape.shapes, "all")
    row = flops.step(model, Budget(2048, 1, 2048), skeleton=shape, groups=groups).step
    assert 128 * sum(row.values()) / 1e12 == pytest.approx(12_374, rel=0.02)
    assert row["llm"] / sum(row.values()) == pytest.approx(0.97, abs=0.02)
