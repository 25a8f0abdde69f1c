"""What a compiled program sends between chips: by kind, how often, how much, hidden or not.

Legend: `n` chips of a group, `b` bytes of the whole array (all shards). A chip must send
b (n-1)/n for an all-gather, a reduce-scatter or an all-to-all, twice that for an all-reduce, b for a
permute.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np

from sg4v_jax.plan import hlo

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
BETWEEN = "between slices"  # over the data center's network, through the hosts


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a program.

    Attributes:
      times: how often it runs; `size`: bytes of the whole array, once.
      group: devices (positions in the mesh) of its first group; empty: all.
      overlapped: whether computation runs beside it.
      name, where: of the instruction, and the operation of the model that asked for it.
    """

    kind: str
    times: float
    size: float
    group: tuple[int, ...]
    overlapped: bool
    name: str
    where: str

    def sent(self, chips: int) -> float:
        """Bytes that each chip sends in all, of a program on `chips` chips."""
        n = len(self.group) or chips
        if self.kind in ("collective-permute", BETWEEN):
            return self.times * self.size
        return self.times * self.size * (n - 1) / n * (2 if self.kind == "all-reduce" else 1)


def find(module: hlo.Module) -> list[Collective]:
    """The collectives of a program.

    An all-gather that runs beside computation is printed several times (its start, the steps within
    the computations that hide it, its end), all with one channel: it is counted once. A reduction
    of a sharded gradient is printed as a custom fusion `all-reduce-scatter`: an all-reduce and the
    slice of it that the fusion gives out. Only the slice is written, so it counts as a
    reduce-scatter. What a SparseCore does stands in a computation that a `call-start` names.
    """
    found, seen = [], set()
    places = {i.name: (name, at) for name, at, i in _numbered(module)}
    for i, times, inside in module.walk():
        kind, start = _kind(i)
        if kind is None:
            continue
        fused = "async_collective_fusion_config" in i.text
        if fused:
            key = (kind, i.attribute(r"channel_id=(\d+)"))
            if key in seen:
                continue
            seen.add(key)
        begins = i if start else next((f for f in inside if f.opcode in hlo.ASYNC), None)
        overlapped = fused
        if begins is not None:
            overlapped = _works_meanwhile(module, begins, *places[begins.name])
        size = _size(i, kind, start=start)
        if kind == "all-reduce" and any("calls=%all-reduce-scatter" in f.text for f in inside):
            kind = "reduce-scatter"
        elif kind == "reduce-scatter":
            size *= len(group_of(i.text)) or 1
        where = i.attribute(r'op_name="([^"]*)"') or ""
        if not where and inside:
            where = inside[-1].attribute(r'op_name="([^"]*)"') or ""
        found.append(Collective(kind, times, size, group_of(i.text), overlapped, i.name, where))
    return found


def _numbered(module):
    for name, instructions in module.computations.items():
        for at, i in enumerate(instructions):
            yield name, at, i


def _kind(i: hlo.Instruction) -> tuple[str | None, bool]:
    """`all-gather-start` -> (`all-gather`, True); (None, False) for what is no collective."""
    if i.opcode == "send" and "is_host_transfer=true" in i.text:
        return BETWEEN, True
    name, start = i.opcode.removesuffix("-start"), i.opcode.endswith("-start")
    return (name, start) if name in KINDS else (None, False)


def _size(i: hlo.Instruction, kind: str, *, start: bool) -> float:
    arrays = i.arrays
    if kind == BETWEEN or start and kind == "collective-permute":
        arrays = arrays[:1]  # what is sent; then what is received, contexts, tokens
    elif start and kind == "all-gather":
        arrays = arrays[len(arrays) // 2 :]  # (shards, wholes)
    return hlo.size_of(arrays)


def _works_meanwhile(module: hlo.Module, start: hlo.Instruction, computation: str, at: int) -> bool:
    """Whether anything with cycles is scheduled between a start and its end."""
    ends = re.compile(rf"-done\(%?{re.escape(start.name)}\)")
    for i in module.computations[computation][at + 1 :]:
        if ends.search(i.text):
            return False
        if i.cycles or i.opcode in ("while", "call") or "tpu_custom_call" in i.text:
            return True
    return False


def group_of(text: str) -> tuple[int, ...]:
    """The first group of devices in an instruction's text; empty where all are one group.

    >>> group_of("replica_groups={{0,2},{1,3}}"), group_of("replica_groups=[2,2]<=[2,2]T(1,0)")
    ((0, 2), (0, 2))
    >>> group_of("replica_groups=mesh['a'=2,'b'=2] {'a'}")
    (0, 2)
    """
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return _numbers(match[1])
    if match := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        shape, dims = _numbers(match[1]), _numbers(match[2])
        ids = np.arange(math.prod(dims)).reshape(dims)
        ids = ids.transpose(_numbers(match[3])) if match[3] else ids
        return tuple(ids.reshape(shape)[0].ravel().tolist())
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", text):
        axes = re.findall(r"'([^']+)'=(\d+)", match[1])
        ids = np.arange(math.prod(int(n) for _, n in axes)).reshape([int(n) for _, n in axes])
        wanted = re.findall(r"'([^']+)'", match[2])
        return tuple(
            ids[tuple(slice(None) if a in wanted else 0 for a, _ in axes)].ravel().tolist()
        )
    return ()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(","))


@dataclasses.dataclass(frozen=True)
class Total:
    """All collectives of a kind."""

    kind: str
    count: float  # as often as they run
    sent: float  # bytes that a chip sends
    overlapped: float  # of those, hidden behind computation
    size: float  # bytes of whole arrays


def totals(found: Sequence[Collective], *, chips: int) -> list[Total]:
    """Collectives by kind, kinds that do not occur left out."""
    rows = []
    for kind in (*KINDS, BETWEEN):
        own = [c for c in found if c.kind == kind]
        if own:
            rows.append(
                Total(
                    kind,
                    count=sum(c.times for c in own),
                    sent=sum(c.sent(chips) for c in own),
                    overlapped=sum(c.sent(chips) for c in own if c.overlapped),
                    size=sum(c.times * c.size for c in own),
                )
            )
    return rows
