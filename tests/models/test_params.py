"""Parameters by path, and a module rebuilt from them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.layers import stack
from sg4v_jax.models.params import flatten, skeleton
from sg4v_jax.models.projector import Projector
from sg4v_jax.models.video_lm import PRESETS, VideoLM

CONFIG = PRESETS["sg4v-test"]()


def build(key: jax.Array) -> VideoLM:
    return VideoLM(CONFIG, key=key)


@pytest.fixture(scope="module")
def model(random_model) -> VideoLM:
    return random_model(build)


def test_flatten_and_build_are_inverse(model):
    shapes, flat = skeleton(build), flatten(model)
    assert {n: x.shape for n, x in flat.items()} == {n: s.shape for n, s in shapes.shapes.items()}
    again = shapes.build(flat)
    assert jax.tree.structure(again) == jax.tree.structure(model)
    for name, x in flatten(again).items():
        np.testing.assert_array_equal(x, flat[name], err_msg=name)


def test_paths_are_attribute_paths_with_a_leading_layer_axis():
    shapes = skeleton(build)
    name = "llm.layers.self_attn.q_proj.kernel"
    assert shapes.shapes[name].shape == (2, 16, 2, 8)
    assert shapes.axes[name] == ("layers", "embed", "heads", "none")
    assert shapes.axes["llm.norm.scale"] == ("norm",)


def test_a_skeleton_is_what_the_constructor_builds_and_layers_start_different():
    def build_stack(key):
        return stack(lambda k: Projector(3, 4, key=k), layers=2, key=key)

    real, shapes = jax.jit(build_stack)(jax.random.key(0)), skeleton(build_stack)
    flat = flatten(real)
    assert {n: x.shape for n, x in flat.items()} == {n: s.shape for n, s in shapes.shapes.items()}
    assert jax.tree.structure(real) == shapes.treedef
    kernel = np.asarray(flat["linear_1.kernel"])
    assert np.abs(kernel[0] - kernel[1]).max() > 0.1


def test_what_does_not_fit_is_named_together(model):
    shapes, flat = skeleton(build), flatten(model)
    del flat["separators"]
    flat |= {"ghost": np.zeros(1), "llm.norm.scale": np.zeros(3)}
    with pytest.raises(CheckpointError) as error:
        shapes.build(flat)
    assert error.value.message == (
        "3 parameters do not fit the model: missing separators; unexpected ghost; "
        "llm.norm.scale: shape (3,), expected (16,)"
    )
