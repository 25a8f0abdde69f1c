"""The parameter overview: every parameter, what it costs, and that what is frozen costs less."""

from __future__ import annotations

import io
import json

import jax
import jax.numpy as jnp
import optax
import pytest
from rich.console import Console

from sg4v_jax.train import optim, overview, state

RULES = [("tower", optim.FROZEN), ("projector", "projector"), (".*", "llm")]


@pytest.fixture(scope="module")
def lines(tiny_model):
    """Of the tiny model with a frozen tower in bfloat16, never built."""
    shapes = {
        path: jax.ShapeDtypeStruct(s.shape, jnp.bfloat16 if path.startswith("tower") else s.dtype)
        for path, s in tiny_model.skeleton.shapes.items()
    }
    groups = optim.assign(list(shapes), RULES)
    used = {p: g for p, g in groups.items() if g != optim.FROZEN}
    settings = {g: optim.Group(1e-3) for g in ("llm", "projector")}
    how = dict(steps=9, warmup_ratio=0, schedule_name="cosine", floor=0, clip=1.0)
    optimizer, _ = optim.build(settings, used, b1=0.9, b2=0.99, eps=1e-8, **how)
    abstract = jax.eval_shape(
        lambda flat: state.create(flat, groups=groups, optimizer=optimizer), shapes
    )
    return overview.parameter_table(abstract, groups=groups)


def test_every_parameter_is_there_once(lines, tiny_model):
    assert [line.name for line in lines] == sorted(tiny_model.skeleton.shapes)
    for line in lines:
        assert line.shape == tiny_model.skeleton.shapes[line.name].shape


def test_what_is_trained_has_a_gradient_and_two_moments(lines):
    for line in lines:
        if line.trainable:
            assert line.group == ("projector" if line.name.startswith("projector") else "llm")
            assert line.parameter_bytes == line.gradient_bytes == 4 * line.numbers
            assert line.slot_bytes == 2 * line.parameter_bytes, line.name


def test_what_is_frozen_has_neither(lines):
    frozen = [line for line in lines if line.name.startswith("tower")]
    assert len(frozen) > 5
    for line in frozen:
        assert (line.group, line.trainable, line.dtype) == ("frozen", False, "bfloat16")
        assert line.parameter_bytes == 2 * line.numbers
        assert line.gradient_bytes == line.slot_bytes == 0


def test_totals_add_up(lines, tiny_model):
    sums = {t.name: t for t in overview.totals(lines, by="group")}
    assert list(sums) == ["llm", "projector", "frozen", "all"]
    numbers = sum(s.size for s in tiny_model.skeleton.shapes.values())
    assert sums["all"].numbers == numbers
    assert sums["all"].trained_numbers == numbers - sums["frozen"].numbers
    assert sums["frozen"].all_bytes == 2 * sums["frozen"].numbers
    assert sums["all"].all_bytes == 16 * sums["all"].trained_numbers + sums["frozen"].all_bytes
    modules = overview.totals(lines, by="module")
    assert sum(t.parameters for t in modules[:-1]) == modules[-1].parameters == len(lines)
    assert {"llm.layers", "tower.layers", "llm.embed_tokens"} < {t.name for t in modules}


def test_the_files_have_every_line_and_the_totals(lines, tmp_path):
    overview.write(tmp_path, lines)
    text = (tmp_path / "parameters.txt").read_text()
    value = json.loads((tmp_path / "parameters.json").read_text())
    assert [p["name"] for p in value["parameters"]] == [line.name for line in lines]
    assert [g["name"] for g in value["groups"]] == ["llm", "projector", "frozen", "all"]
    for line, row in zip(lines, text.splitlines()[2:], strict=False):
        assert row.split()[0] == line.name
        assert "x".join(map(str, line.shape)) in row.split()
    assert text.splitlines()[-1].startswith("all")


def test_the_console_shows_modules_and_groups(lines):
    console = Console(file=io.StringIO(), width=120)
    overview.show(lines, console=console)
    said = console.file.getvalue()
    for row in ("llm.layers", "tower.layers", "group projector", "group frozen", "all"):
        assert row in said
    frozen = next(row for row in said.splitlines() if "group frozen" in row)
    assert frozen.count("0 B") == 2


def test_a_lone_counter_belongs_to_no_parameter():
    flat = {"a": jnp.zeros((3, 2)), "b": jnp.zeros((), jnp.bfloat16)}
    made = state.create(flat, groups={"a": "g", "b": "frozen"}, optimizer=optax.adam(1e-3))
    a, b = overview.parameter_table(made, groups={"a": "g", "b": "frozen"})
    assert a == overview.Line("a", (3, 2), "float32", "g", True, 24, 24, 48)
    assert b == overview.Line("b", (), "bfloat16", "frozen", False, 2, 0, 0)
