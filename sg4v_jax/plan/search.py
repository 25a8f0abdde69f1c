"""Which mesh, recomputation and micro-batches are best: ranked by arithmetic, then compiled.

The arithmetic (`arithmetic.py`) only chooses what to compile; the compiler has the last word, also on
the arithmetic: what does not fit raises the estimates of the same recomputation by what was measured.

Recomputation `offload` is not tried unless the config asks for it: neither the arithmetic nor the
estimate of a compiled step knows what copies to the host's memory take.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from sg4v_jax.chips import GIB
from sg4v_jax.errors import ConfigError
from sg4v_jax.models.layers import REMAT
from sg4v_jax.plan import arithmetic, show
from sg4v_jax.plan.arithmetic import Layout, Subject
from sg4v_jax.plan.case import Case

FITTING, TRIES = 3, 6  # so many that fit are compiled, of so many tried
MARGIN = 0.05  # of a chip's memory that the arithmetic leaves free
NEAR = 0.1  # by so much the arithmetic may be too high
LARGEST_SHARE = 16  # chips that work on one row


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A layout, and what the arithmetic says of it."""

    layout: Layout
    seconds: float
    parts: arithmetic.Parts

    @property
    def bytes(self) -> float:
        return self.parts.total

    @property
    def words(self) -> str:
        return show.layout(self.layout.mesh, self.layout.remat, self.layout.accumulate)

    def of(self, case: Case) -> Case:
        """`case` in this layout."""
        config = copy.deepcopy(case.config)
        with config.unlocked():
            config.model.remat = self.layout.remat
            config.data.accumulate = self.layout.accumulate
        return dataclasses.replace(case, config=config, mesh=dict(self.layout.mesh))


def candidates(case: Case) -> list[Candidate]:
    """All ways that divide, whether they should fit or not, fastest first by arithmetic.

    Raises:
      ConfigError: nothing divides.
    """
    subject, found = Subject.of(case), []
    remats = [r for r in REMAT if r != "offload" or case.config.model.remat == r]
    for mesh, accumulate in _divisions(subject):
        for remat in remats:
            layout = Layout(mesh, remat, accumulate)
            parts = arithmetic.memory(subject, layout)
            found.append(Candidate(layout, arithmetic.seconds(subject, layout), parts))
    if not found:
        raise ConfigError(
            f"no mesh divides {case.config.data.batch_rows} rows of {case.row.positions} positions "
            f"over the {case.slice.chips} chips of {case.slice.name}",
            mend="use a number of rows that the chips, or a power of two of them, divide (--rows)",
        )
    return sorted(found, key=lambda c: (c.seconds, c.bytes))


def _divisions(subject: Subject) -> Iterator[tuple[dict[str, int], int]]:
    """(mesh, micro-batches) that divide chips, heads, rows and positions."""
    case, heads = subject.case, subject.model.llm.num_attention_heads
    chips, slices, rows = case.slice.chips, case.slice.slices, case.config.data.batch_rows
    powers = [2**i for i in range(int(math.log2(chips)) + 1)]
    for tensor, context in itertools.product(powers, powers):
        if tensor * context > LARGEST_SHARE or chips % (tensor * context * slices):
            continue
        if heads % tensor or case.row.positions % context:
            continue
        batch = chips // (tensor * context)
        # Slices are joined by data alone; within one, weights are split over all that is left.
        mesh = dict(data=slices, fsdp=batch // slices, tensor=tensor, context=context)
        try:
            subject.bytes_of(mesh)
        except ConfigError:  # an axis that must be split and cannot
            continue
        yield from ((mesh, n) for n in powers if rows % (batch * n) == 0)


def search(
    case: Case,
    *,
    plan: Callable[[Case], dict[str, Any]],
    fitting: int = FITTING,
    tries: int = TRIES,
    said: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Compiles candidates that should fit, the fastest first, until `fitting` of them do.

    The fastest of each recomputation comes before a second one: what keeping and recomputing take is
    what the arithmetic knows least. Where one does not fit, or takes more than the arithmetic says,
    those of the same recomputation are taken to need more in the same ratio.

    Where the arithmetic says that nothing fits, the smallest is compiled if it is not far above;
    else the list is empty, and `said` is told why.

    Args:
      plan: `training.plan`.
      tries: at most so many are compiled.
      said: told each candidate before it is compiled, and what came of it.

    Returns:
      The plans, those that fit first, fastest first; each with `by_arithmetic` (seconds, bytes),
      `taken` (bytes of a chip; None where the compiler did not say) and `options` of `sg4v plan`.

    Raises:
      ConfigError: nothing divides.
    """
    waiting, plans = candidates(case), []
    raised: dict[str, float] = {}  # recomputation -> compiled over arithmetic
    hbm = case.slice.chip.hbm
    room = (1 - MARGIN) * hbm
    needs = lambda c: c.bytes * raised.get(c.layout.remat, 1.0)
    least = min(waiting, key=needs)
    if needs(least) > room:
        said(_nothing(case, least))
        room, waiting, tries = (1 + NEAR) * hbm, [least], 1
    while len(plans) < tries and sum(p["fits"] for p in plans) < fitting:
        own = [c for c in waiting if needs(c) <= room]
        if not own:
            break
        known = {p["remat"] for p in plans if p["fits"]}
        one = next((c for c in own if c.layout.remat not in known), own[0])
        waiting.remove(one)
        said(
            f"{one.words}: by arithmetic {one.seconds:.2f} s and {needs(one) / GIB:.1f} GiB a chip"
        )
        done = plan(one.of(case))
        taken, remat = taken_by(done), one.layout.remat
        guess = {"seconds": one.seconds, "bytes": one.bytes}
        told = {"by_arithmetic": guess, "taken": taken, "options": options(one.layout)}
        plans.append(done | told)
        # A refusal without numbers says at least that there is not enough.
        ratio = (taken or hbm) / one.bytes
        raised[remat] = max(raised.get(remat, 1.0), ratio)
        said(f"  {_outcome(done, taken)}")
    return sorted(plans, key=lambda p: (not p["fits"], p["time"]["seconds"] if "time" in p else 0))


def options(layout: Layout) -> list[str]:
    """What gives `sg4v plan` this layout.

    >>> options(Layout(dict(data=1, fsdp=8, tensor=2, context=1), "full", 4))
    ['--mesh=fsdp=8,tensor=2', '--remat=full', '--config.data.accumulate=4']
    """
    sizes = ",".join(f"{a}={n}" for a, n in layout.mesh.items() if n > 1) or "fsdp=1"
    return [
        f"--mesh={sizes}",
        f"--remat={layout.remat}",
        f"--config.data.accumulate={layout.accumulate}",
    ]


def _nothing(case: Case, least: Candidate) -> str:
    return (
        f"no mesh, recomputation or micro-batches of {case.config.data.batch_rows} rows should fit "
        f"{case.slice.name}: by arithmetic the least is {least.bytes / GIB:.1f} GiB a chip of "
        f"{case.slice.chip.hbm / GIB:.1f} ({least.words}); use a larger slice, shorter rows, or train "
        "less (optim.parts: lora)"
    )


def taken_by(plan: dict[str, Any]) -> float | None:
    """Bytes of a chip that a compiled step takes; None where the compiler did not say.

    A program that it refuses is told by its temporaries alone; the state comes on top.
    """
    memory = plan["memory"]
    if "refused" not in plan:
        return memory["total"]
    needed = plan["refused"]["needed"]
    return needed and needed + sum(memory["parts"].values()) + arithmetic.PROGRAM


def _outcome(plan: dict[str, Any], taken: float | None) -> str:
    size = "more than there is" if taken is None else f"{taken / GIB:.1f} GiB"
    if not plan["fits"]:
        return f"does not fit: {size}"
    return f"fits: {size}, {plan['time']['seconds']:.2f} s"
