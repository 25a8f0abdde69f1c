"""Meshes and sharding rules: from logical axis names to mesh axes, in one place.

Mesh axes: `data` (replicas; across slices of a pod), `fsdp` (sharded weights and batch), `tensor`
(heads, ffn, vocabulary), `context` (positions). A parameter or activation names its axes logically
("embed", "heads"); only `RULES` knows where they lie. One CPU is the mesh (1, 1, 1, 1).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sg4v_jax import chips
from sg4v_jax.errors import ConfigError

AXES = ("data", "fsdp", "tensor", "context")

# Logical axis -> mesh axes. What a mesh cannot divide stays whole (`spec_for`) ...
RULES: Mapping[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "position": ("context",),
    "tiles": ("data", "fsdp", "tensor", "context"),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "ffn": ("tensor",),
    # The vocabulary (128257 rows) divides by nothing, so the width of its two matrices is split;
    # the loss turns that into parts of the vocabulary when it needs them.
    "vocab": (),
    "table": ("fsdp", "tensor"),
    "vision_embed": ("fsdp",),
    "norm": (),  # a few kilobytes: cheaper whole than gathered twice a layer
    "lora_rank": (),
    "layers": (),
    "none": (),
}

# ... but for these, where every device would hold all of it or do the others' work in silence.
STRICT = ("embed", "heads", "kv_heads", "ffn", "table", "vision_embed")


def make_mesh(shape: Mapping[str, int] | None = None, *, devices: Sequence | None = None) -> Mesh:
    """A mesh over `devices` (all of them by default) with the four axes.

    Devices of several slices (`slice_index`) are laid out so that only `data` crosses the slow
    network between them.

    Args:
      shape: sizes by axis name; one may be -1 (what is left); axes left out are 1. Empty or None
        puts every device of a slice on `fsdp`, and the slices on `data`.

    Raises:
      ConfigError: unknown axis, sizes whose product is not the number of devices, or a `data` that
        the slices do not divide.
    """
    devices = list(jax.devices() if devices is None else devices)
    slices = len({getattr(d, "slice_index", None) for d in devices})
    sizes = _sizes(dict(shape or {"data": slices, "fsdp": -1}), count=len(devices))
    kinds = (AxisType.Auto,) * len(AXES)
    if slices == 1:
        dims = tuple(sizes[a] for a in AXES)
        return jax.make_mesh(dims, AXES, devices=devices, axis_types=kinds)
    if sizes["data"] % slices:
        raise ConfigError(
            f"mesh {sizes}: data is {sizes['data']}, and the devices are {slices} slices",
            mend=f"make data a multiple of {slices}: weights are not gathered between slices",
        )
    inside = [sizes["data"] // slices, *(sizes[a] for a in AXES[1:])]
    across = [slices, *(1 for _ in AXES[1:])]
    laid = mesh_utils.create_hybrid_device_mesh(inside, across, devices=devices)
    return Mesh(laid, AXES, axis_types=kinds)


def _sizes(shape: Mapping[str, int], *, count: int) -> dict[str, int]:
    """The size of each axis for `count` devices."""
    sizes = dict.fromkeys(AXES, 1) | dict(shape)
    unknown = set(sizes) - set(AXES)
    if unknown:
        raise ConfigError(f"mesh: unknown axis {sorted(unknown)}", mend=f"use {', '.join(AXES)}")
    free = [a for a, n in sizes.items() if n == -1]
    known = math.prod(n for n in sizes.values() if n != -1)
    if len(free) == 1 and known > 0:
        sizes[free[0]] = count // known
    if math.prod(sizes.values()) != count or min(sizes.values()) < 1:
        others = abs(math.prod(n for a, n in sizes.items() if a != "fsdp"))
        fits = f", as with fsdp={count // others}" if others and count % others == 0 else ""
        raise ConfigError(
            f"mesh {sizes}: product is not the number of devices, {count}",
            mend=f"make the sizes multiply to it{fits}, or give one axis -1",
        )
    return sizes


def spec_for(axes: Sequence[str | None], *, shape: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """The partition of an array whose dimensions are named `axes`.

    A mesh axis is used once, for the first dimension that names it. Rows or tiles that it does not
    divide stay whole, and so do kv heads of which `tensor` is a multiple (`copies_of_heads`).

    >>> spec_for(("embed", "ffn"), shape=(8, 32), mesh=mesh)  # fsdp=4, tensor=2
    PartitionSpec('fsdp', 'tensor')

    Raises:
      ConfigError: a dimension of `STRICT` that cannot be split.
    """
    used, dims = set(), []
    for name, size in zip(axes, shape, strict=True):
        chosen, left = [], size
        for mesh_axis in RULES[name] if name else ():
            n = mesh.shape[mesh_axis]
            if n == 1 or mesh_axis in used:
                continue
            if left % n == 0:
                chosen.append(mesh_axis)
                used.add(mesh_axis)
                left //= n
            elif name in STRICT and not (name == "kv_heads" and n % size == 0):
                raise ConfigError(
                    _cannot_split(name, size, mesh_axis, left, n), mend=_works(left, n)
                )
        dims.append(tuple(chosen) if len(chosen) > 1 else chosen[0] if chosen else None)
    return PartitionSpec(*dims)


def _cannot_split(name: str, size: int, mesh_axis: str, left: int, parts: int) -> str:
    rest = "" if left == size else f" ({left} of them after the other mesh axes)"
    return f"run.mesh: {mesh_axis}={parts} cannot split the {size} of axis {name!r}{rest}"


def _works(size: int, parts: int) -> str:
    """What to set instead: the divisors around `parts`."""
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    near = [n for n in divisors if n <= parts][-3:] + [n for n in divisors if n > parts][:1]
    return f"use {' or '.join(map(str, near))} there"


def sharding_for(axes: Sequence[str | None], *, shape: Sequence[int], mesh: Mesh) -> NamedSharding:
    """`spec_for` as a `NamedSharding`."""
    return NamedSharding(mesh, spec_for(axes, shape=shape, mesh=mesh))


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Says where activation `x` should lie, one logical name a dimension; nothing off a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    spec = spec_for(axes, shape=x.shape, mesh=mesh)
    return jax.lax.with_sharding_constraint(x, spec)


def copies_of_heads(kv_heads: int) -> int:
    """How often each kv head is made so that `tensor` can split them: 1 where it can anyway.

    8 heads on tensor=16: 2, so that each device has the one head that its queries need.
    """
    mesh = jax.sharding.get_abstract_mesh()
    tensor = 1 if mesh.empty else mesh.shape["tensor"]
    return tensor // kv_heads if tensor > kv_heads and tensor % kv_heads == 0 else 1


def gathered(x: jax.Array, *axes: str | None, over: Sequence[str] = ("fsdp",)) -> jax.Array:
    """Parameter `x` as a product wants it: whole along the mesh axes `over`.

    Its gradient is laid out as the parameter is, so that each device keeps only its own part of the
    sum. (Left to itself, the transpose of a gather asks for the full gradient on every device.)
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or all(mesh.shape[a] == 1 for a in over):
        return x
    stored = spec_for(axes, shape=x.shape, mesh=mesh)
    whole = PartitionSpec(*(_without(part, over) for part in stored))
    return x if whole == stored else _gather(x, stored, whole)


def axes_of(part) -> tuple[str, ...]:
    """The mesh axes of one entry of a `PartitionSpec`: None, a name, or several."""
    return part if isinstance(part, tuple) else (part,) if part else ()


def _without(part, over: Sequence[str]):
    kept = tuple(a for a in axes_of(part) if a not in over)
    return kept if len(kept) > 1 else kept[0] if kept else None


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gather(x, stored, whole):
    # Said twice: so what is sent is `x` in its own (half) precision, not what it was cast from.
    x = jax.lax.with_sharding_constraint(x, stored)
    return jax.lax.with_sharding_constraint(x, whole)


_gather.defvjp(
    lambda x, stored, whole: (_gather(x, stored, whole), None),
    lambda stored, whole, _, g: (jax.lax.with_sharding_constraint(g, stored),),
)


def platform() -> str:
    """Where the step will run: of the mesh in use, which may be compiled for from another machine.

    "cpu", "tpu", or "cuda" / "gpu"; the default backend's without a mesh.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def generation() -> str | None:
    """The TPU generation of the mesh in use: "v5p"; its device's name if unknown; None off TPU."""
    if platform() != "tpu":
        return None
    device = jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]
    chip = chips.of_kind(device.device_kind)
    return chip.name if chip else device.device_kind


def batch_shard(mesh: Mesh) -> tuple[int, int]:
    """`(index, count)`: which part of each global batch this process must load.

    From the batch sharding's own device map, so processes that hold the same rows (tensor or
    context parallelism across hosts) load the same rows.

    Raises:
      ConfigError: this process' rows are not one contiguous equal part.
    """
    sharding = NamedSharding(mesh, PartitionSpec(RULES["batch"]))
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    mine = sorted(
        {s[0].indices(rows)[:2] for s in sharding.addressable_devices_indices_map((rows,)).values()}
    )
    low, high = mine[0][0], mine[-1][1]
    held = sum(b - a for a, b in mine)
    if held != high - low or rows % held or low % held:
        raise ConfigError(
            f"mesh {dict(mesh.shape)}: this process holds the batch parts {mine}, not one block",
            mend="order the mesh so that data and fsdp run over whole hosts",
        )
    return low // held, rows // held


def check_batch(rows: int, *, mesh: Mesh) -> None:
    """Checks that a (micro-)batch of `rows` can be split over the mesh.

    Raises:
      ConfigError: names the nearest numbers of rows that can.
    """
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % parts:
        near = [n for n in (rows // parts * parts, -(-rows // parts) * parts) if n]
        raise ConfigError(
            f"{rows} rows a step (data.batch_rows / data.accumulate) cannot be split over "
            f"{parts} devices (run.mesh: data {mesh.shape['data']} x fsdp {mesh.shape['fsdp']})",
            mend=f"use {' or '.join(map(str, near))} rows, or a mesh with more tensor or context",
        )


def to_global(tree, *, mesh: Mesh, batch_axis: int = 0):
    """Per-process numpy arrays -> global `jax.Array`s split over the batch on `batch_axis`."""
    spec = PartitionSpec(*(None,) * batch_axis, RULES["batch"])
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )
