"""Meshes, the rules from logical axes to mesh axes, and which rows a process must load."""

from __future__ import annotations

import dataclasses

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
        (("batch", "position"), (6, 4), (None, None)),  # 4 does not divide 6
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


@pytest.mark.parametrize(
    ("axes", "shape", "message", "mend"),
    [
        (("embed", "ffn"), (6, 8), "fsdp=4 cannot split the 6 of axis 'embed'", "1 or 2 or 3 or 6"),
        (("none", "heads"), (2, 9), "tensor=2 cannot split the 9 of axis 'heads'", "1 or 3"),
        (("none", "kv_heads"), (2, 3), "tensor=2 cannot split the 3 of axis 'kv_heads'", "1 or 3"),
        (("embed", "ffn"), (8, 5), "tensor=2 cannot split the 5 of axis 'ffn'", "1 or 5"),
        (("vocab", "table"), (9, 12), "tensor=2 cannot .* 12 .*'table' .3 of them", "1 or 3"),
    ],
)
def test_what_a_mesh_must_split_and_cannot_is_an_error(axes, shape, message, mend):
    with pytest.raises(ConfigError, match=message) as error:
        sharding.spec_for(axes, shape=shape, mesh=mesh_of(fsdp=4, tensor=2))
    assert mend in error.value.mend


def test_kv_heads_are_copied_until_tensor_splits_them():
    copies = lambda heads: sharding.copies_of_heads(heads)
    assert copies(2) == 1, "no mesh"
    with jax.set_mesh(mesh_of(fsdp=2, tensor=4)):
        assert [copies(n) for n in (1, 2, 3, 4, 8)] == [4, 2, 1, 1, 1]


def test_the_error_of_a_product_says_what_fits():
    with pytest.raises(ConfigError, match="number of devices, 8") as error:
        mesh_of(tensor=2, fsdp=8)
    assert "fsdp=4" in error.value.mend


@dataclasses.dataclass(frozen=True)
class SliceDevice:
    """A device of one of several slices, as far as a mesh looks at it."""

    id: int
    slice_index: int
    process_index: int = 0
    platform: str = "gpu"  # laid out in order; TPU meshes need a topology
    device_kind: str = "test"
    client: object = None


def two_slices() -> list[SliceDevice]:
    # As a run lists them: the slices mixed up.
    return [SliceDevice(i, slice_index=i % 2) for i in range(8)]


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        (None, (2, 4, 1, 1)),
        (dict(data=4, fsdp=2), (4, 2, 1, 1)),
        (dict(data=2, tensor=-1), (2, 1, 4, 1)),
    ],
)
def test_only_data_crosses_slices(shape, sizes):
    mesh = sharding.make_mesh(shape, devices=two_slices())
    assert mesh.devices.shape == sizes
    for replica in mesh.devices.reshape(2, -1):
        assert len({device.slice_index for device in replica}) == 1


def test_weights_are_not_split_between_slices():
    with pytest.raises(ConfigError, match="data is 1, and the devices are 2 slices") as error:
        sharding.make_mesh(dict(fsdp=8), devices=two_slices())
    assert "multiple of 2" in error.value.mend


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
