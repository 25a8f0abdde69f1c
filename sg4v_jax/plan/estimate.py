"""From a compiled program to seconds: computation, attention kernels, and communication that shows.

The compiler's estimate of cycles covers the tensor core: matrix units, vector units, and what waits
for memory. It leaves out Pallas kernels and collectives; those are added by arithmetic. Nothing here
is a measurement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sg4v_jax.plan import attention, collectives, hlo
from sg4v_jax.plan.topology import Slice

MARGIN = 0.15  # either way


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Seconds of one run of a program on a slice, and what is in them.

    Attributes:
      compute: the compiler's cycles over the chip's clock.
      attention: Pallas kernels by arithmetic; `kernels`: how often one runs, by name.
      exposed: communication with nothing beside it, and what the hidden part takes above `compute`.
      hidden: communication beside computation.
      traffic: collectives by kind.
      slowest: (seconds, instruction, operation of the model) of the costliest instructions.
    """

    compute: float
    attention: float
    attention_flops: float
    kernels: dict[str, float]
    exposed: float
    hidden: float
    traffic: Sequence[collectives.Total]
    slowest: Sequence[tuple[float, str, str]]

    @property
    def seconds(self) -> float:
        return self.compute + self.attention + self.exposed

    def divided(self, by: int) -> Estimate:
        """Of one of `by` equal parts: a token of a loop over tokens."""
        traffic = [
            dataclasses.replace(
                t,
                count=t.count / by,
                sent=t.sent / by,
                overlapped=t.overlapped / by,
                size=t.size / by,
            )
            for t in self.traffic
        ]
        return dataclasses.replace(
            self,
            compute=self.compute / by,
            attention=self.attention / by,
            attention_flops=self.attention_flops / by,
            kernels={name: n / by for name, n in self.kernels.items()},
            exposed=self.exposed / by,
            hidden=self.hidden / by,
            traffic=traffic,
            slowest=[(t / by, name, where) for t, name, where in self.slowest],
        )

    @property
    def range(self) -> tuple[float, float]:
        return self.seconds * (1 - MARGIN), self.seconds * (1 + MARGIN)


def estimate(
    text: str,
    slice_: Slice,
    *,
    coordinates: Sequence[tuple[int, ...]],
    causal_from: int = 0,
    slowest: int = 12,
) -> Estimate:
    """Reads a compiled program.

    Args:
      coordinates: where each device of the mesh stands, in the mesh's order; the slice's number
        comes behind the chip's own coordinates.
      causal_from: kernels over so many keys or more have a causal mask (the tower's have none).
    """
    module, chip = hlo.parse(text), slice_.chip
    found = collectives.find(module)
    kernels = attention.find(module)
    compute = module.cycles_of() / chip.clock

    def took(c: collectives.Collective) -> float:
        if c.kind == collectives.BETWEEN:
            return c.sent(slice_.chips) / chip.dcn
        group = [coordinates[d] for d in c.group or range(len(coordinates))]
        return c.sent(slice_.chips) / slice_.bandwidth(group)

    hidden = sum(took(c) for c in found if c.overlapped)
    shown = sum(took(c) for c in found if not c.overlapped)
    return Estimate(
        compute=compute,
        attention=attention.seconds(kernels, chip=chip, causal_from=causal_from),
        attention_flops=sum(k.flops(causal_from=causal_from) for k in kernels),
        kernels=_counts(kernels),
        exposed=shown + max(0.0, hidden - compute),
        hidden=hidden,
        traffic=collectives.totals(found, chips=slice_.chips),
        slowest=_slowest(module, chip.clock, slowest),
    )


def _counts(kernels: Sequence[attention.Kernel]) -> dict[str, float]:
    counts: dict[str, float] = {}
    for k in kernels:
        counts[k.name] = counts.get(k.name, 0) + k.times
    return counts


def _slowest(module: hlo.Module, clock: float, count: int) -> list[tuple[float, str, str]]:
    taken: dict[str, float] = {}
    where: dict[str, str] = {}
    for i, times, inside in module.walk():
        if i.cycles and not hlo.in_fusion(inside):
            taken[i.name] = taken.get(i.name, 0.0) + i.cycles * times / clock
            where[i.name] = i.attribute(r'op_name="([^"]*)"') or ""
    first = sorted(taken, key=taken.get, reverse=True)[:count]
    return [(taken[name], name, where[name]) for name in first]
