"""Which mesh, recomputation and micro-batches are likely best: ranked by arithmetic, then compiled.

The arithmetic is rough on purpose: it knows operations, bytes of the state, bytes that the backward
pass keeps, and bytes that weights and gradients send. It only chooses what to compile; the compiler
has the last word.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sg4v_jax.errors import ConfigError
from sg4v_jax.models.params import Skeleton
from sg4v_jax.models.video_lm import VideoLMConfig
from sg4v_jax.plan.case import Case, model_settings
from sg4v_jax.plan.topology import Slice
from sg4v_jax.tasks import step_of
from sg4v_jax.train import flops
from sg4v_jax.train.optim import FROZEN

EFFICIENCY = 0.6  # of the peak, in products: what compiled steps came out at
WORKSPACE = 1.0 * 2**30  # bytes of what a step holds beside state and kept activations
COMPILED = 3


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to run a config, and what the arithmetic says of it."""

    mesh: Mapping[str, int]
    remat: str
    accumulate: int
    seconds: float
    bytes: float

    @property
    def words(self) -> str:
        mesh = " x ".join(f"{a} {n}" for a, n in self.mesh.items() if n > 1) or "one device"
        return f"{mesh}, remat {self.remat}, {self.accumulate} micro-batches"


# Bytes that the backward pass keeps for each position and layer, in widths of the residual stream
# (D), of heads (q and what they mix), of kv heads (k and v), and of the feed-forward: bf16.
_KEPT = {
    "full": lambda d, q, kv, f: 2 * d,
    "offload": lambda d, q, kv, f: 2 * d,
    "projections": lambda d, q, kv, f: 2 * (2 * d + 2 * q + 2 * kv),
    "dots": lambda d, q, kv, f: 2 * (3 * d + 2 * q + 2 * kv + 2 * f),
    "none": lambda d, q, kv, f: 2 * (8 * d + 4 * q + 4 * kv + 4 * f),
}
# Forward passes in all, as a part of one: what is computed a second time.
_AGAIN = {"full": 1.0, "offload": 0.75, "projections": 0.65, "dots": 0.05, "none": 0.0}


def candidates(case: Case) -> list[Candidate]:
    """Ways that divide and should fit, best first.

    Raises:
      ConfigError: there is none.
    """
    settings, _ = model_settings(case.config)
    skeleton, groups = step_of.parts(case.config, settings)
    found = []
    for mesh, accumulate in _layouts(case, settings.config):
        for remat in _KEPT:
            made = _weigh(
                case,
                settings.config,
                skeleton,
                groups,
                mesh=mesh,
                accumulate=accumulate,
                remat=remat,
            )
            if made.bytes <= case.slice.chip.hbm:
                found.append(made)
    if not found:
        raise ConfigError(
            f"no mesh, recomputation or micro-batches of {case.config.data.batch_rows} rows should "
            f"fit {case.slice.name}",
            mend="use a larger slice, shorter rows, or train less (optim.parts: lora)",
        )
    return sorted(found, key=lambda c: (c.seconds, c.bytes))


def _layouts(case: Case, model: VideoLMConfig) -> Iterator[tuple[dict[str, int], int]]:
    """(mesh, micro-batches) that divide chips, heads, rows and positions."""
    chips, rows, heads = case.slice.chips, case.config.data.batch_rows, model.llm
    powers = [2**i for i in range(int(math.log2(chips)) + 1)]
    for tensor, context in itertools.product(powers, powers):
        if tensor * context > 16 or chips % (tensor * context):
            continue
        if heads.num_attention_heads % tensor or case.row.positions % context:
            continue
        batch = chips // (tensor * context)
        # Slices are joined by data alone; within one, weights are split over all that is left.
        mesh = dict(data=case.slice.slices, fsdp=batch // case.slice.slices)
        mesh |= dict(tensor=tensor, context=context)
        for accumulate in powers:
            if rows % (batch * accumulate) == 0:
                yield mesh, accumulate


def _weigh(
    case: Case,
    model: VideoLMConfig,
    skeleton: Skeleton,
    groups: Mapping[str, str],
    *,
    mesh: Mapping[str, int],
    accumulate: int,
    remat: str,
) -> Candidate:
    chip, chips, c = case.slice.chip, case.slice.chips, model.llm
    rows, row = case.config.data.batch_rows, case.row
    work = flops.step(model, row, skeleton=skeleton, groups=groups)
    again = _AGAIN[remat] * sum(work.forward.values())
    compute = rows * (sum(work.step.values()) + again) / chips / chip.peak / EFFICIENCY

    size = lambda keep: sum(s.size for p, s in skeleton.shapes.items() if keep(groups[p] == FROZEN))
    trained, frozen = size(lambda f: not f), size(lambda f: f)
    stored = mesh["fsdp"] * mesh["tensor"]
    # Master, two moments, and the sum of gradients where micro-batches add up.
    state = trained * (12 + (4 if accumulate > 1 else 0)) / stored
    state += frozen * (2 if case.config.model.frozen_dtype == "bfloat16" else 4) / stored
    batch = mesh["data"] * mesh["fsdp"]
    here = rows / accumulate / batch * row.positions / mesh["context"]
    q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    part = mesh["tensor"]
    kept = _KEPT[remat](c.hidden_size, q / part, kv / part, c.intermediate_size / part)
    working = here * 2 * (6 * c.intermediate_size / part + 8 * c.hidden_size)
    activations = here * kept * c.num_hidden_layers + working

    return Candidate(
        mesh={a: n for a, n in mesh.items() if n > 1},
        remat=remat,
        accumulate=accumulate,
        seconds=compute + _sending(case.slice, mesh, model, here, trained, frozen, accumulate),
        bytes=state + activations + WORKSPACE,
    )


def _sending(slice_: Slice, mesh, model: VideoLMConfig, here, trained, frozen, accumulate) -> float:
    """Seconds of communication, as if half of it were hidden."""
    links = sum(2 if slice_.wraps(d) else 1 for d in range(len(slice_.shape))) * slice_.chip.link
    weights = 2 * (trained + frozen) / mesh["tensor"]
    sent = 0.0
    if mesh["fsdp"] > 1:
        sent += accumulate * (2 * weights + 2 * 2 * trained / mesh["tensor"])
    if mesh["tensor"] > 1:
        share = (mesh["tensor"] - 1) / mesh["tensor"]
        sent += (
            accumulate
            * model.llm.num_hidden_layers
            * 6
            * 2
            * share
            * here
            * (2 * model.llm.hidden_size)
        )
    if mesh["context"] > 1:
        wide = 2 * model.llm.num_key_value_heads * model.llm.head_dim * 2
        sent += accumulate * model.llm.num_hidden_layers * 3 * here * mesh["context"] * wide
    between = 4 * trained / (mesh["fsdp"] * mesh["tensor"]) if mesh["data"] > 1 else 0.0
    slow = slice_.chip.dcn if slice_.slices > 1 else links
    return 0.5 * sent / links + between / slow


def search(
    case: Case,
    *,
    plan: Callable[[Case], dict[str, Any]],
    compiled: int = COMPILED,
    said: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Compiles the best candidates; the plans that fit come first, fastest first.

    Args:
      plan: `training.plan`.
      said: told each candidate before it is compiled.

    Raises:
      ConfigError: no candidate divides and should fit.
    """
    plans = []
    for candidate in candidates(case)[:compiled]:
        said(
            f"{candidate.words}: by arithmetic {candidate.seconds:.2f} s and "
            f"{candidate.bytes / 2**30:.1f} GiB"
        )
        config = copy.deepcopy(case.config)
        with config.unlocked():
            config.model.remat = candidate.remat
            config.data.accumulate = candidate.accumulate
        mesh = {"data": 1, "fsdp": 1, **candidate.mesh}
        plans.append(plan(dataclasses.replace(case, config=config, mesh=mesh)))
    taken = lambda p: p["time"]["seconds"] if "time" in p else math.inf
    return sorted(plans, key=lambda p: (not p["fits"], taken(p)))
