"""The token table's rows, on one device or from a table that a mesh holds in parts of its width.

Legend: `B` rows, `S` positions, `V` vocabulary, `D` width.

Gathering the table would move a gigabyte for a few thousand rows. Instead each device looks up its
part of the width for the tokens of its whole `fsdp` group, and an all-to-all brings every device
the full width of its own tokens. The gradient goes the same way back and is summed where it stays.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, PartitionSpec

from sg4v_jax.sharding import axes_of, spec_for


def lookup(table: jax.Array, tokens: jax.Array, *, dtype: jnp.dtype) -> jax.Array:
    """`table[tokens]` in `dtype`: [V,D], i32[B,S] -> [B,S,D]."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return table[tokens].astype(dtype)
    return _lookup(table, tokens, jnp.dtype(dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _lookup(table, tokens, dtype):
    how = _How.of(table, tokens)

    def local(table, tokens):
        rows = table[how.group(tokens)].astype(dtype)
        for axis in how.inner:  # the narrowest parts of the width first
            rows = jax.lax.all_gather(rows, axis, axis=2, tiled=True)
        if how.exchanged:
            rows = jax.lax.all_to_all(rows, "fsdp", split_axis=0, concat_axis=2, tiled=True)
        return rows

    return how.map(local, (how.stored, how.rows), PartitionSpec(*how.rows, None))(table, tokens)


def _lookup_fwd(table, tokens, dtype):
    return _lookup(table, tokens, dtype), (jax.ShapeDtypeStruct(table.shape, table.dtype), tokens)


def _lookup_bwd(dtype, kept, g):
    table, tokens = kept
    how = _How.of(table, tokens)

    def local(tokens, g):
        if how.exchanged:
            g = jax.lax.all_to_all(g, "fsdp", split_axis=2, concat_axis=0, tiled=True)
        for axis in reversed(how.inner):
            size = g.shape[2] // how.mesh.shape[axis]
            g = jax.lax.dynamic_slice_in_dim(g, jax.lax.axis_index(axis) * size, size, axis=2)
        summed = jnp.zeros((table.shape[0], g.shape[2]), jnp.float32)
        summed = summed.at[how.group(tokens)].add(g.astype(jnp.float32))
        return jax.lax.psum(summed, how.others) if how.others else summed

    spec = PartitionSpec(*how.rows, None)
    gradient = how.map(local, (how.rows, spec), how.stored)(tokens, g)
    return gradient.astype(table.dtype), None


_lookup.defvjp(_lookup_fwd, _lookup_bwd)


@dataclasses.dataclass(frozen=True)
class _How:
    """Where table and tokens lie, and by which steps their parts meet."""

    mesh: AbstractMesh
    stored: PartitionSpec  # of the table [V,D]
    rows: PartitionSpec  # of the tokens [B,S]
    exchanged: bool  # whether `fsdp` splits both, so that widths are exchanged for rows
    inner: tuple[str, ...]  # axes over which the width is gathered, the innermost first
    others: tuple[str, ...]  # axes over which different tokens meet the same part of the table

    @staticmethod
    def of(table, tokens) -> _How:
        mesh = jax.sharding.get_abstract_mesh()
        stored = spec_for(("vocab", "table"), shape=table.shape, mesh=mesh)
        rows = spec_for(("batch", "position"), shape=tokens.shape, mesh=mesh)
        width, split = axes_of(stored[1]), [a for part in rows for a in axes_of(part)]
        exchanged = "fsdp" in width and "fsdp" in split
        gone = ("fsdp",) if exchanged else ()
        inner = tuple(a for a in reversed(width) if a not in gone)
        return _How(mesh, stored, rows, exchanged, inner, tuple(a for a in split if a not in gone))

    def group(self, tokens: jax.Array) -> jax.Array:
        """The tokens of all devices that exchange with this one."""
        if not self.exchanged:
            return tokens
        return jax.lax.all_gather(tokens, "fsdp", axis=0, tiled=True)

    def map(self, run, into, out):
        return jax.shard_map(run, mesh=self.mesh, in_specs=into, out_specs=out, check_vma=False)
