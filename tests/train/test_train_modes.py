"""What each recipe trains, and that nothing else has a gradient, a slot or f32 storage."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.models import lora
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM
from sg4v_jax.train import optim, state
from sg4v_jax.train.losses import next_token_loss
from sg4v_jax.train.modes import mode_rules
from sg4v_jax.train.step import make_step

# Widths that tell the parts' arrays apart by shape, and a tail that never runs.
CONFIG = PRESETS["sg4v-test"]()
CONFIG = dataclasses.replace(
    CONFIG,
    tower=dataclasses.replace(
        CONFIG.tower, hidden_size=24, intermediate_size=40, num_hidden_layers=3, feature_layer=-2
    ),
)
LLM = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")
BRANCHES = {f"llm.layers.{name}_proj.lora_{ab}" for name in LLM for ab in "ab"}
CLIP = {f"tower.layers.self_attn.{name}_proj.lora_{ab}" for name in "qkv" for ab in "ab"}
TOWER = CLIP | {
    f"tower.layers.{name}.lora_{ab}" for name in ("self_attn.out_proj", "mlp.fc1", "mlp.fc2")
    for ab in "ab"
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Recipe:
    """`modes` on a model with `targets`; `trained` are paths or the starts of paths."""

    modes: dict[str, str]
    targets: tuple[str, ...]
    trained: set[str]


RAN = {"tower.embeddings.", "tower.pre_layrnorm.", "tower.layers."}
RECIPES = {
    "the original's 153K": Recipe(
        dict(llm="lora", tower="frozen", projector="full"), ("llm",), BRANCHES | {"projector."}
    ),
    "the original's 181K": Recipe(
        dict(llm="lora", tower="full", projector="full"), ("llm",), BRANCHES | {"projector."} | RAN
    ),
    "153K with CLIP adapted by accident": Recipe(
        dict(llm="lora", tower="lora", projector="full"),
        ("llm", "clip_qkv"),
        BRANCHES | CLIP | {"projector."},
    ),
    "181K with CLIP adapted by accident": Recipe(
        dict(llm="lora", tower="full+lora", projector="full"),
        ("llm", "clip_qkv"),
        BRANCHES | {"projector."} | RAN,
    ),
    "the tower by LoRA": Recipe(
        dict(llm="frozen", tower="lora", projector="frozen"), ("tower",), TOWER
    ),
    "everything": Recipe(
        dict(llm="full", tower="full", projector="full"),
        (),
        {"llm.", "separators", "projector."} | RAN,
    ),
    "the tower frozen": Recipe(
        dict(llm="full", tower="frozen", projector="full"), (), {"llm.", "separators", "projector."}
    ),
    "the projector alone": Recipe(
        dict(llm="frozen", tower="frozen", projector="full"), (), {"projector."}
    ),
    "the projector and its newline": Recipe(
        dict(llm="frozen", tower="frozen", projector="full", separators="full"),
        (),
        {"projector.", "separators"},
    ),
}


def shapes_of(targets: tuple[str, ...]):
    settings = lora.LoRA(rank=3, alpha=6.0, dropout=0.1, targets=targets)
    return skeleton(lambda key: lora.attach(VideoLM(CONFIG, key=key), settings, key=key))


def optimizer_for(groups: dict[str, str]):
    trained = {path: group for path, group in groups.items() if group != optim.FROZEN}
    return optim.build(
        {name: optim.Group(1e-3) for name in set(trained.values())},
        trained,
        steps=10,
        warmup_ratio=0.03,
        schedule_name="cosine",
        floor=0.0,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip=1.0,
    )[0]


def loss(model, batch, key):
    return next_token_loss(model, batch, dtype=jnp.float32, remat="none", key=key)


def scanned_shapes(jaxpr) -> set[tuple[int, ...]]:
    """Shapes that scans give out, here and within: a layer stack's gradient is one of them."""
    shapes = set()
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            carried = eqn.params["num_carry"]
            shapes |= {tuple(v.aval.shape) for v in eqn.outvars[carried:]}
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                shapes |= scanned_shapes(inner)
    return shapes


@pytest.mark.parametrize("name", RECIPES)
def test_only_what_a_recipe_trains_has_gradients_and_slots(tiny_model, three, name):
    recipe = RECIPES[name]
    shapes = shapes_of(recipe.targets)
    groups = optim.assign(list(shapes.shapes), mode_rules(**recipe.modes))
    want = {p for p in shapes.shapes if any(p.startswith(t) for t in recipe.trained)}
    assert {p for p, g in groups.items() if g != optim.FROZEN} == want
    assert all(groups[p] == p.split(".")[0] for p in want), "a part is a group of its own name"
    assert all(any(p.startswith(t) for p in want) for t in recipe.trained)

    optimizer = optimizer_for(groups)
    start = state.abstract(shapes, groups=groups, optimizer=optimizer, frozen_dtype="bfloat16")
    assert start.trained.keys() == want
    assert start.frozen.keys() == shapes.shapes.keys() - want
    assert {v.dtype.name for v in start.frozen.values()} <= {"bfloat16"}
    assert {v.dtype.name for v in start.trained.values()} == {"float32"}
    slots = [
        (keys[-1].key, leaf)
        for keys, leaf in jax.tree_util.tree_leaves_with_path(start.slots)
        if leaf.ndim
    ]
    assert sorted(path for path, _ in slots) == sorted([*want, *want]), "Adam's two moments"
    assert all(leaf.dtype == jnp.float32 for _, leaf in slots)

    step = make_step(loss, skeleton=shapes, optimizer=optimizer, accumulate=1, groups=groups)
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tiny_model.batch(three))
    # In f32, since a bf16 kernel cast to f32 for the backward pass would look like a gradient.
    start = state.abstract(shapes, groups=groups, optimizer=optimizer)
    program = jax.make_jaxpr(step)(start, batch, jax.random.key(0))
    given = scanned_shapes(program.jaxpr)
    stacks = lambda paths: {
        s.shape for p, s in shapes.shapes.items() if p in paths and ".layers." in p and s.ndim > 2
    }
    assert stacks(want) <= given
    never = stacks(shapes.shapes.keys() - want) - stacks(want)
    assert not never & given, "a gradient of frozen weights is computed"


def test_branches_under_another_mode_are_an_error():
    paths = list(shapes_of(("llm",)).shapes)
    for llm in ("full", "frozen"):
        with pytest.raises(ConfigError, match=r"no rule covers llm\.layers\.mlp.*lora_a"):
            optim.assign(paths, mode_rules(llm=llm, tower="frozen", projector="full"))


def test_lora_without_branches_is_an_error():
    paths = list(shapes_of(()).shapes)
    with pytest.raises(ConfigError, match="lora_.* matches no parameter"):
        optim.assign(paths, mode_rules(llm="lora", tower="frozen", projector="full"))


def test_a_model_without_a_tail_fits_every_mode(tiny_model):
    paths = list(tiny_model.skeleton.shapes)
    assert not any("tail" in path for path in paths)
    for tower in ("full", "frozen"):
        groups = optim.assign(paths, mode_rules(llm="full", tower=tower, projector="full"))
        assert groups["tower.post_layernorm.scale"] == optim.FROZEN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(llm="adapter"), "optim.parts.llm is 'adapter'"),
        (dict(projector="lora"), "optim.parts.projector is 'lora'"),
        (dict(llm="frozen", projector="frozen"), "every part is frozen"),
    ],
)
def test_modes_that_cannot_be_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        mode_rules(**dict(llm="lora", tower="frozen", projector="full") | change)


def test_frozen_parts_are_stored_as_asked(tiny_model):
    groups = {p: "all" if p.startswith("proj") else optim.FROZEN for p in tiny_model.params}
    half = {p: jnp.asarray(v, jnp.bfloat16) for p, v in tiny_model.params.items()}
    optimizer = optimizer_for(groups)
    kept = state.create(half, groups=groups, optimizer=optimizer)
    assert all(v.dtype == jnp.bfloat16 for v in kept.frozen.values())
    assert all(v.dtype == jnp.float32 for v in kept.trained.values()), "masters"
    stored = state.create(
        tiny_model.params, groups=groups, optimizer=optimizer, frozen_dtype="bfloat16"
    )
    jax.tree.map(np.testing.assert_array_equal, stored.frozen, kept.frozen)


def test_the_8b_model_is_described_without_an_array():
    """Sizes by the specification: 335,544,320 LoRA numbers, 21.0 M of the projector."""
    config = PRESETS["sg4v-8b"]()
    settings = lora.LoRA(rank=128, alpha=256.0, dropout=0.05, targets=("llm",))
    shapes = skeleton(lambda key: lora.attach(VideoLM(config, key=key), settings, key=key))
    groups = optim.assign(
        list(shapes.shapes), mode_rules(llm="lora", tower="frozen", projector="full")
    )
    start = state.abstract(
        shapes, groups=groups, optimizer=optimizer_for(groups), frozen_dtype="bfloat16"
    )
    sizes = {p: math.prod(s.shape) for p, s in start.trained.items()}
    assert sum(n for p, n in sizes.items() if lora.is_lora(p)) == 335_544_320
    assert sum(n for p, n in sizes.items() if p.startswith("projector")) == 20_979_712
    frozen = sum(math.prod(s.shape) * s.dtype.itemsize for s in start.frozen.values())
    assert 16.6e9 < frozen < 16.8e9, "8.3 G parameters in two bytes each"
