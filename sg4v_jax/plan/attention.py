"""Pallas kernels of a compiled program, and their time by arithmetic: the compiler does not estimate it.

Legend: `B` rows, `N` heads, `S` queries, `C` keys, `H` head dim. One product of queries and keys
(or weights and values) is 2 B N S C H operations, half of it under a causal mask. The forward kernel
does two of them; the backward ones repeat the first: three for the gradient of q, four for those of k
and v. Packed rows skip blocks between their samples, by segments that a compile does not have: for
them this is an upper bound, of rows that hold one sample.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

from sg4v_jax.chips import Chip
from sg4v_jax.plan import hlo

EFFICIENCY = 0.5  # share of the peak that the kernels are taken to reach (an assumption)
_PRODUCTS = (("dkv", 4), ("dq", 3), ("fwd", 2))


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A Pallas kernel as a program calls it."""

    name: str
    times: float
    shapes: Sequence[tuple[str, tuple[int, ...]]]  # of its operands

    @property
    def products(self) -> int:
        """Matrix products over all query-key pairs; 0 for what is no attention over whole rows."""
        return next((n for part, n in _PRODUCTS if f"_{part}" in self.name), 0)

    def flops(self, *, causal_from: int) -> float:
        """Operations of all calls; with at least `causal_from` keys the mask is causal."""
        floats = [dims for dtype, dims in self.shapes if dtype in ("bf16", "f32") and len(dims) > 2]
        if not self.products or len(floats) < 2:
            return 0.0
        (*lead, queries, width), keys = floats[0], floats[1][-2]
        half = 0.5 if keys >= causal_from else 1.0
        return self.times * self.products * 2 * math.prod(lead) * queries * keys * width * half

    @property
    def bytes(self) -> float:
        """Bytes that all calls read: of a cache of all layers [L,B,K,C,H], one layer each."""
        one = [(dtype, dims[1:] if len(dims) == 5 else dims) for dtype, dims in self.shapes]
        return self.times * hlo.size_of(one)


def find(module: hlo.Module) -> list[Kernel]:
    """The Pallas kernels that a program runs."""
    return [
        Kernel(re.sub(r"[.\d]+$", "", i.name), times, _operand_shapes(i))
        for i, times, _ in module.walk()
        if i.opcode == "custom-call" and 'custom_call_target="tpu_custom_call"' in i.text
    ]


def _operand_shapes(i: hlo.Instruction) -> list[tuple[str, tuple[int, ...]]]:
    layouts = i.attribute(r"operand_layout_constraints=\{(.*?\})\}")
    return hlo.arrays_of(layouts or "")


def seconds(kernels: Sequence[Kernel], *, chip: Chip, causal_from: int = 0) -> float:
    """Time of all kernels of one chip: bound by operations at `EFFICIENCY`, or by memory.

    Args:
      causal_from: as in `Kernel.flops`.
    """
    return sum(
        max(
            k.flops(causal_from=causal_from) / (EFFICIENCY * chip.peak),
            k.bytes / chip.hbm_bandwidth,
        )
        for k in kernels
    )
