"""Meshes, the rules from logical axes to mesh axes, and which rows a process must load."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sg4v_jax import sharding
from sg4v_jax.errors import ConfigError

pytestmark = pytest.mark.skipif(
    jax.device_count() != 8,
    reason="needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8",
)


def mesh_of(**shape):
    return sharding.make_mesh(shape)


def test_all_devices_lie_on_fsdp_unless_told():
    assert dict(sharding.make_mesh().shape) == dict(data=1, fsdp=8, tensor=1, context=1)


def test_one_size_may_be_what_is_left():
    assert mesh_of(data=2, tensor=-1).shape["tensor"] == 4


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (dict(model=8), r"unknown axis \['model'\]"),
        (dict(data=3), "product is not the number of devices, 8"),
        (dict(data=3, fsdp=-1), "product is not the number of devices, 8"),
        (dict(data=-1, fsdp=-1), "product is not the number of devices, 8"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(shape, message):
    with pytest.raises(ConfigError, match=message):
        mesh_of(**shape)


@pytest.mark.parametrize(
    ("axes", "shape", "want"),
    [
        (("embed", "ffn"), (8, 32), ("fsdp", "tensor")),
        (("layers", "embed", "heads", "none"), (2, 16, 4, 8), (None, "fsdp", "tensor", None)),
        (("embed", "kv_heads", "none"), (16, 1, 8), ("fsdp", None, None)),  # replicated kv heads
        (("embed",), (6,), (None,)),  # 4 does not divide 6
        (("embed", "embed"), (8, 8), ("fsdp", None)),  # a mesh axis is used once
        (("vocab", "table"), (321, 16), (None, ("fsdp", "tensor"))),
        (("tiles", None), (8, 5), (("fsdp", "tensor"), None)),
        (("tiles", None), (12, 5), ("fsdp", None)),  # 12 / 4 = 3, which tensor does not divide
    ],
)
def test_specs_on_fsdp_4_tensor_2(axes, shape, want):
    mesh = mesh_of(fsdp=4, tensor=2)
    assert sharding.spec_for(axes, shape=shape, mesh=mesh) == PartitionSpec(*want)
    where = sharding.sharding_for(axes, shape=shape, mesh=mesh)
    assert where == NamedSharding(mesh, PartitionSpec(*want))


def test_axes_and_shape_must_agree():
    with pytest.raises(ValueError, match="shorter|longer"):
        sharding.spec_for(("embed",), shape=(8, 8), mesh=mesh_of(fsdp=8))


def test_constrain_is_nothing_without_a_mesh():
    x = jnp.ones((8, 4))
    assert sharding.constrain(x, "batch", None) is x


def test_constrain_says_where_an_activation_lies():
    with jax.set_mesh(mesh_of(data=2, fsdp=2, tensor=2)):
        y = jax.jit(lambda x: sharding.constrain(x, "batch", "position", None))(jnp.ones((8, 4, 2)))
    assert y.addressable_shards[0].data.shape == (2, 4, 2)


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_are_split_over_data_and_fsdp(axis):
    mesh = mesh_of(data=2, fsdp=2, tensor=2)
    tree = {"x": np.arange(48).reshape(4, 4, 3), "y": np.arange(16).reshape(4, 4)}
    placed = sharding.to_global(tree, mesh=mesh, batch_axis=axis)
    jax.tree.map(np.testing.assert_array_equal, placed, tree)
    shape = placed["x"].addressable_shards[0].data.shape
    assert shape == ((1, 4, 3) if axis == 0 else (4, 1, 3))


class OnePartOfTheMesh:
    """Stands for `NamedSharding` in a process that holds only the devices `ids`."""

    ids: tuple[int, ...] = ()

    def __init__(self, mesh, spec):
        self._whole = NamedSharding(mesh, spec)

    def addressable_devices_indices_map(self, shape):
        every = self._whole.devices_indices_map(shape)
        return {d: index for d, index in every.items() if d.id in self.ids}


def part(monkeypatch, ids, **shape):
    monkeypatch.setattr(OnePartOfTheMesh, "ids", ids)
    monkeypatch.setattr(sharding, "NamedSharding", OnePartOfTheMesh)
    return sharding.batch_shard(mesh_of(**shape))


@pytest.mark.parametrize("shape", [dict(fsdp=8), dict(tensor=8), dict(data=2, fsdp=2, tensor=2)])
def test_a_single_process_loads_every_row(shape):
    assert sharding.batch_shard(mesh_of(**shape)) == (0, 1)


@pytest.mark.parametrize(
    ("shape", "want"),
    [
        (dict(data=8), [(0, 4), (1, 4), (2, 4), (3, 4)]),
        (dict(data=2, fsdp=2, tensor=2), [(0, 4), (1, 4), (2, 4), (3, 4)]),
        (dict(data=2, tensor=4), [(0, 2), (0, 2), (1, 2), (1, 2)]),  # two processes, same rows
        (dict(fsdp=2, context=4), [(0, 2), (0, 2), (1, 2), (1, 2)]),
        (dict(tensor=8), [(0, 1)] * 4),
    ],
)
def test_four_processes_of_two_devices(monkeypatch, shape, want):
    got = [part(monkeypatch, (2 * p, 2 * p + 1), **shape) for p in range(4)]
    assert got == want


def test_rows_that_are_no_block_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="not one block"):
        part(monkeypatch, (0, 3), data=8)
    with pytest.raises(ConfigError, match="not one block"):
        part(monkeypatch, (1, 2), data=8)


def test_a_batch_that_does_not_divide_offers_those_that_do():
    mesh = sharding.make_mesh({"data": 4, "fsdp": 2})
    sharding.check_batch(16, mesh=mesh)
    with pytest.raises(ConfigError, match="12 rows a step.*over 8 devices") as error:
        sharding.check_batch(12, mesh=mesh)
    assert "8 or 16 rows" in error.value.mend
