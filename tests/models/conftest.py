"""What the parity tests share: random torch weights, and our model holding the same ones."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.models.params import skeleton
from sg4v_jax.weights import table


@pytest.fixture(autouse=True)
def exact_matmuls():
    """Accelerators round f32 products to less than f32 unless told not to."""
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(scope="session")
def randomise():
    """`randomise(torch_module, seed=0)`: weights large enough that every part matters."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)

    def fill(module, *, seed: int = 0):
        rng = np.random.default_rng(seed)
        for name, p in module.named_parameters():
            values = rng.standard_normal(tuple(p.shape), np.float32)
            is_norm = "norm" in name or "layrnorm" in name
            fan_in = 1 if p.ndim < 2 else math.prod(p.shape[1:])
            values = 0.2 * values if p.ndim < 2 else values * fan_in**-0.5
            p.data = torch.from_numpy(values + (is_norm and name.endswith("weight")))
        return module.eval()

    return fill


@pytest.fixture(scope="session")
def load():
    """`load(build, tensors, weights)`: the module `build(key)` holding torch `tensors`."""

    def load(build, tensors, weights):
        shapes = skeleton(build)
        flat = table.to_ours({n: t.numpy() for n, t in tensors.items()}, weights, shapes)
        return shapes.build({n: jnp.asarray(x) for n, x in flat.items()})

    return load


@pytest.fixture(scope="session")
def layer_of():
    """`layer_of(stack, i)`: one layer of a stack as a module."""
    return lambda stack, i: jax.tree.map(lambda x: x[i], stack)


@pytest.fixture(scope="session")
def random_model():
    """`random_model(build)`: random weights without compiling the initialisation."""

    def build_random(build):
        shapes, rng = skeleton(build), np.random.default_rng(0)

        def values(name, shape):
            if name.endswith("scale"):
                return 1 + 0.1 * rng.standard_normal(shape, np.float32)
            fan_in = math.prod(shape[:-1]) / (shape[0] if "layers." in name else 1)
            return (rng.standard_normal(shape, np.float32) * fan_in**-0.5).astype(np.float32)

        return shapes.build({n: jnp.asarray(values(n, s.shape)) for n, s in shapes.shapes.items()})

    return build_random
