"""Groups by path, rates by group, and an AdamW whose every setting shows."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.train import optim, state
from sg4v_jax.train.optim import Group

PATHS = ["tower.embed.kernel", "tower.norm.scale", "projector.bias", "llm.head.kernel"]
PLAIN = dict(
    steps=10, warmup_ratio=0.0, schedule_name="constant", floor=0.0, b1=0.0, b2=0.0, eps=1e-8
)


def updates(optimizer, params, gradients):
    return optimizer.update(gradients, optimizer.init(params), params)[0]


def test_the_first_rule_that_matches_wins():
    rules = [("tower.*norm", "norms"), ("tower", "frozen"), (".*", "rest")]
    assert optim.assign(PATHS, rules) == {
        "tower.embed.kernel": "frozen",
        "tower.norm.scale": "norms",
        "projector.bias": "rest",
        "llm.head.kernel": "rest",
    }


def test_a_pattern_matches_from_the_start_of_a_path():
    with pytest.raises(ConfigError, match="'norm' matches no parameter"):
        optim.assign(PATHS, [("norm", "a"), (".*", "b")])


def test_a_parameter_without_a_rule_is_named():
    with pytest.raises(ConfigError, match=r"no rule covers projector\.bias \(2 parameters\)"):
        optim.assign(PATHS, [("tower", "frozen")])


def test_a_rule_without_a_parameter_is_named_with_the_nearest_path():
    with pytest.raises(ConfigError) as error:
        optim.assign(PATHS, [("projectr", "a"), (".*", "b")])
    assert "'projectr' matches no parameter" in error.value.message
    assert "projector.bias" in error.value.mend


def test_a_rule_after_one_that_takes_all_is_unused():
    with pytest.raises(ConfigError, match="'llm' matches no parameter that an earlier rule left"):
        optim.assign(PATHS, [(".*", "a"), ("llm", "b")])


def test_an_unknown_group_is_named_with_the_known_ones():
    with pytest.raises(ConfigError) as error:
        optim.build({"language": Group(1e-3)}, {"llm.head.kernel": "langage"}, clip=0.0, **PLAIN)
    assert "'langage'" in error.value.message
    assert "language" in error.value.mend and "frozen" in error.value.mend


def test_an_unknown_schedule_is_named():
    with pytest.raises(ConfigError, match="'linear' is unknown"):
        optim.schedule(1.0, steps=10, warmup_ratio=0.0, name="linear")


def hugging_face_cosine(step: int, *, steps: int, warmup: int) -> float:
    """transformers.get_cosine_schedule_with_warmup with half a cycle."""
    if step < warmup:
        return step / max(1, warmup)
    progress = (step - warmup) / max(1, steps - warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))


@pytest.mark.parametrize(("steps", "ratio"), [(100, 0.03), (7, 0.5), (12, 0.0), (1, 0.03)])
def test_the_schedule_is_hugging_faces(steps, ratio):
    rate = optim.schedule(2e-5, steps=steps, warmup_ratio=ratio)
    warmup = math.ceil(steps * ratio)
    want = [2e-5 * hugging_face_cosine(s, steps=steps, warmup=warmup) for s in range(steps)]
    np.testing.assert_allclose([rate(s) for s in range(steps)], want, rtol=1e-5, atol=1e-12)
    assert (rate(0) == 0) == (warmup > 0)


@pytest.mark.torch
@pytest.mark.parametrize(("steps", "warmup"), [(1195, 36), (1414, 43)])
def test_the_originals_schedules_at_every_step(steps, warmup):
    """The two released runs: 153 k and 181 k samples in batches of 128."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    adamw = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-4)
    reference = transformers.get_cosine_schedule_with_warmup(adamw, warmup, steps)
    want = []
    for _ in range(steps):
        want.append(reference.get_last_lr()[0])
        adamw.step()
        reference.step()
    got = jax.vmap(optim.schedule(2e-4, steps=steps, warmup_ratio=0.03))(jnp.arange(steps))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-11)
    assert want[warmup] == 2e-4 and want[warmup + 1] < 2e-4


def test_the_floor_is_where_the_cosine_ends():
    rate = optim.schedule(1.0, steps=10, warmup_ratio=0.0, floor=0.1)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [1.0, 0.55, 0.1], rtol=1e-6)


def test_a_constant_schedule_warms_up_too():
    rate = optim.schedule(1.0, steps=10, warmup_ratio=0.2, name="constant")
    np.testing.assert_allclose([rate(s) for s in range(4)], [0, 0.5, 1, 1])


def test_each_group_has_its_rate_and_frozen_parts_no_slot():
    labels = {"tower.kernel": "slow", "llm.kernel": "fast", "projector.kernel": "frozen"}
    params = {path: jnp.ones((2, 3)) for path in labels}
    trained = {p: g for p, g in labels.items() if g != "frozen"}
    groups = {"slow": Group(1e-3), "fast": Group(4e-3), "spare": Group(9.0)}
    optimizer, schedules = optim.build(groups, trained, clip=0.0, **PLAIN)
    assert {name: float(s(0)) for name, s in schedules.items()} == pytest.approx(
        {"slow": 1e-3, "fast": 4e-3}
    )
    start = state.create(params, groups=labels, optimizer=optimizer)
    assert start.trained.keys() == trained.keys() and start.frozen.keys() == {"projector.kernel"}
    kept = {
        key.key
        for keys, _ in jax.tree_util.tree_leaves_with_path(start.slots)
        for key in keys
        if isinstance(key, jax.tree_util.DictKey)
    }
    assert trained.keys() <= kept and "projector.kernel" not in kept
    slot_sizes = sum(x.size for x in jax.tree.leaves(start.slots) if x.ndim)
    assert slot_sizes == 2 * 12, "two moments for each of the 12 trained numbers"

    # Without memory (b1 = b2 = 0) a step of Adam is the rate times the gradient's sign.
    moved = updates(optimizer, start.trained, {p: jnp.full((2, 3), -7.0) for p in trained})
    np.testing.assert_allclose(moved["tower.kernel"], 1e-3, rtol=1e-5)
    np.testing.assert_allclose(moved["llm.kernel"], 4e-3, rtol=1e-5)


def test_clipping_takes_the_whole_gradient_across_groups():
    """Gradients 3 and 4: norm 5, so 0.6 and 0.8. With eps = 1 a step is g / (|g| + 1)."""
    params = {"a.kernel": jnp.ones(()), "b.kernel": jnp.ones(())}
    groups, labels = {"a": Group(1.0), "b": Group(1.0)}, {"a.kernel": "a", "b.kernel": "b"}
    gradients = {"a.kernel": jnp.float32(3.0), "b.kernel": jnp.float32(4.0)}
    settings = PLAIN | {"eps": 1.0}

    clipped, _ = optim.build(groups, labels, clip=1.0, **settings)
    got = updates(clipped, params, gradients)
    np.testing.assert_allclose(got["a.kernel"], -0.6 / 1.6, rtol=1e-5)
    np.testing.assert_allclose(got["b.kernel"], -0.8 / 1.8, rtol=1e-5)

    free, _ = optim.build(groups, labels, clip=0.0, **settings)
    np.testing.assert_allclose(updates(free, params, gradients)["a.kernel"], -3 / 4, rtol=1e-5)


def test_weight_decay_leaves_norms_and_biases_alone():
    labels = dict.fromkeys(["llm.q.kernel", "llm.norm.scale", "llm.q.bias", "llm.embed"], "all")
    params = {path: jnp.full((3,), 2.0) for path in labels}
    optimizer, _ = optim.build({"all": Group(0.1, weight_decay=0.5)}, labels, clip=0.0, **PLAIN)
    moved = updates(optimizer, params, {p: jnp.zeros(3) for p in params})
    np.testing.assert_allclose(moved["llm.q.kernel"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    np.testing.assert_allclose(moved["llm.embed"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    assert not moved["llm.norm.scale"].any() and not moved["llm.q.bias"].any()
