"""The vocabulary's cross-entropy in chunks, on one device or split over a mesh.

Legend: `B` rows, `L` scored positions, `D` width, `V` vocabulary, `W` columns of a chunk.

Never are all [B,L,V] logits held. The head is stored in parts of its width ("table" in
`sharding.RULES`); one all-to-all over `tensor` turns them into parts of the vocabulary, and each
chunk of those is gathered over `fsdp` when its turn comes. A running maximum and sum of
exponentials joins chunks and `tensor` shards; neither logits nor the whole head are gathered.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from sg4v_jax.sharding import axes_of, spec_for

LANES = 128
NEVER = -1e30  # the logit of padding; finite, so that a chunk of nothing else makes no nan


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How the work is cut; `batch` and `positions` are the mesh axes that rows are split over.

    128257 columns in 6 chunks are 6 of 21504: whole lanes, 0.6 % of them padding.
    """

    vocab: int
    width: int  # W
    chunks: int
    tensor: int  # devices that share the vocabulary
    fsdp: int  # devices that share the head's width
    rows: tuple[str, ...]  # mesh axes over which [B,L] is split

    @staticmethod
    def of(vocab: int, *, chunks: int, tensor: int, fsdp: int, rows=()) -> _Plan:
        width = -(-vocab // (chunks * tensor))
        if chunks * tensor > 1:
            width = -(-width // LANES) * LANES
        return _Plan(vocab, width, chunks, tensor, fsdp, tuple(rows))

    @property
    def padded(self) -> int:
        return self.width * self.chunks * self.tensor

    def share(self, head: jax.Array) -> jax.Array:
        """The stored part [D/(fsdp tensor), V] -> this device's columns [D/fsdp, V/tensor]."""
        head = jnp.pad(head, ((0, 0), (0, self.padded - self.vocab)))
        if self.tensor == 1:
            return head
        return jax.lax.all_to_all(head, "tensor", split_axis=1, concat_axis=0, tiled=True)

    def unshare(self, head: jax.Array) -> jax.Array:
        """The way back, for gradients."""
        if self.tensor > 1:
            head = jax.lax.all_to_all(head, "tensor", split_axis=0, concat_axis=1, tiled=True)
        return head[:, : self.vocab]

    def piece(self, head: jax.Array, chunk: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Columns [D,W] of a chunk, and the vocabulary number of the first of them."""
        piece = jax.lax.dynamic_slice_in_dim(head, chunk * self.width, self.width, axis=1)
        if self.fsdp > 1:
            piece = jax.lax.all_gather(piece, "fsdp", axis=0, tiled=True)
        shard = jax.lax.axis_index("tensor") if self.tensor > 1 else 0
        return piece, (shard * self.chunks + chunk) * self.width

    def logits(self, hidden, piece, first, targets) -> tuple[jax.Array, jax.Array]:
        """f32[B,L,W], and bool[B,L,W]: whether the column is the target."""
        logits = jnp.einsum("bld,dv->blv", hidden, piece, preferred_element_type=jnp.float32)
        column = first + jnp.arange(self.width)
        if self.padded > self.vocab:
            logits = jnp.where(column < self.vocab, logits, NEVER)
        return logits, column == targets[..., None]


def chunked_cross_entropy(
    hidden: jax.Array, head: jax.Array, *, targets: jax.Array, chunks: int
) -> tuple[jax.Array, jax.Array]:
    """Negative log-likelihood of `targets` without ever holding all [B,L,V] logits.

    The backward pass recomputes each chunk's logits. A head that is not trained costs no gradient.

    Args:
      hidden: [B,L,D]; head: [D,V], both in the dtype to compute in; targets: i32[B,L].

    Returns:
      nll f32[B,L], and bool[B,L]: whether the target has the largest logit.
    """
    nll, hit, _ = _entropy(hidden, head, targets, chunks)
    return nll, hit


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _entropy(hidden, head, targets, chunks):
    return _on_mesh(_forward, hidden, head, targets, chunks=chunks)


def _entropy_fwd(hidden, head, targets, chunks):
    trained = jnp.int32(0) if head.perturbed else None  # its being there says so
    hidden, head, targets = hidden.value, head.value, targets.value
    nll, hit, norm = _entropy(hidden, head, targets, chunks)
    return (nll, hit, norm), (hidden, head, targets, norm, trained)


def _entropy_bwd(chunks, kept, cotangents):
    hidden, head, targets, norm, trained = kept
    g = cotangents[0]
    if isinstance(g, jax.custom_derivatives.SymbolicZero):
        return None, None, None
    backward = functools.partial(_backward, trained=trained is not None)
    dhidden, dhead = _on_mesh(backward, hidden, head, targets, norm, g, chunks=chunks)
    return dhidden, dhead, None


_entropy.defvjp(_entropy_fwd, _entropy_bwd, symbolic_zeros=True)


def _on_mesh(run, hidden, head, targets, *more, chunks):
    """`run(plan, ...)` on each device's part; on the whole where there is no mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        plan = _Plan.of(head.shape[1], chunks=chunks, tensor=1, fsdp=1)
        return run(plan, hidden, head, targets, *more)
    rows = spec_for(("batch", "position"), shape=targets.shape, mesh=mesh)
    stored = spec_for(("table", "vocab"), shape=head.shape, mesh=mesh)
    # An axis of size 1 does not show in a spec.
    inside = axes_of(stored[0])
    size = lambda axis: mesh.shape[axis] if axis in inside else 1
    plan = _Plan.of(
        head.shape[1],
        chunks=chunks,
        tensor=size("tensor"),
        fsdp=size("fsdp"),
        rows=[a for part in rows for a in axes_of(part)],
    )
    wide = PartitionSpec(*rows, None)
    return jax.shard_map(
        functools.partial(run, plan),
        mesh=mesh,
        in_specs=(wide, stored, rows, *(rows for _ in more)),
        out_specs=(wide, stored) if more else (rows, rows, rows),
        check_vma=False,
    )(hidden, head, targets, *more)


def _forward(plan: _Plan, hidden, head, targets):
    head = plan.share(head)

    def one(carry, chunk):
        largest, total, target_logit = carry
        logits, is_target = plan.logits(hidden, *plan.piece(head, chunk), targets)
        top = jnp.maximum(largest, logits.max(-1))
        total = total * jnp.exp(largest - top) + jnp.exp(logits - top[..., None]).sum(-1)
        target_logit = target_logit + jnp.where(is_target, logits, 0.0).sum(-1)
        return (top, total, target_logit), None

    zeros = jnp.zeros(targets.shape, jnp.float32)
    start = (jnp.full(targets.shape, NEVER, jnp.float32), zeros, zeros)
    largest, total, target_logit = _each_chunk(one, start, plan.chunks)[0]
    if plan.tensor > 1:
        top = jax.lax.pmax(largest, "tensor")
        total = jax.lax.psum(total * jnp.exp(largest - top), "tensor")
        target_logit, largest = jax.lax.psum(target_logit, "tensor"), top
    norm = jnp.log(total) + largest
    return norm - target_logit, target_logit >= largest, norm


def _backward(plan: _Plan, hidden, head, targets, norm, g, *, trained: bool):
    shared = plan.share(head)

    def one(dhidden, chunk):
        piece, first = plan.piece(shared, chunk)
        logits, is_target = plan.logits(hidden, piece, first, targets)
        slope = g[..., None] * (jnp.exp(logits - norm[..., None]) - is_target)
        slope = slope.astype(hidden.dtype)
        wide = jnp.einsum("blv,dv->bld", slope, piece, preferred_element_type=jnp.float32)
        dpiece = _sum_over_rows(plan, jnp.einsum("bld,blv->dv", hidden, slope)) if trained else None
        return dhidden + wide, dpiece

    zeros = jnp.zeros(hidden.shape, jnp.float32)
    dhidden, pieces = _each_chunk(one, zeros, plan.chunks)
    if plan.tensor > 1:
        dhidden = jax.lax.psum(dhidden, "tensor")
    if not trained:
        return dhidden.astype(hidden.dtype), jnp.zeros_like(head)
    dhead = jnp.moveaxis(pieces, 0, 1).reshape(shared.shape)
    return dhidden.astype(hidden.dtype), plan.unshare(dhead)


def _sum_over_rows(plan: _Plan, dpiece: jax.Array) -> jax.Array:
    """A chunk's gradient [D,W] -> this device's part of its width, summed over all rows."""
    if plan.fsdp > 1 and "fsdp" in plan.rows:
        dpiece = jax.lax.psum_scatter(dpiece, "fsdp", scatter_dimension=0, tiled=True)
    elif plan.fsdp > 1:
        size = dpiece.shape[0] // plan.fsdp
        dpiece = jax.lax.dynamic_slice_in_dim(dpiece, jax.lax.axis_index("fsdp") * size, size)
    others = [a for a in plan.rows if a != "fsdp" or plan.fsdp == 1]
    return jax.lax.psum(dpiece, others) if others else dpiece


def _each_chunk(one, carry, chunks: int):
    """`lax.scan` over the chunks; a single one is called as it is."""
    if chunks > 1:
        return jax.lax.scan(one, carry, jnp.arange(chunks))
    carry, out = one(carry, 0)
    return carry, jax.tree.map(lambda x: x[None], out)
