"""Optimizer groups by parameter path: what trains, at which rate, and what is frozen.

Rules are ordered (pattern, group) pairs; a parameter takes the first pattern that matches from
its start. A parameter without a rule, a rule that matches nothing, or an unknown group is an
error: that is how a typo is found before the run and not after it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import optax

from sg4v_jax.errors import ConfigError

FROZEN = "frozen"


@dataclasses.dataclass(frozen=True)
class Group:
    """Settings of one group of trained parameters."""

    learning_rate: float
    weight_decay: float = 0.0


def assign(paths: Sequence[str], rules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The group of each parameter path.

    >>> assign(["tower.a", "llm.b"], [("tower", "frozen"), (".*", "llm")])
    {'tower.a': 'frozen', 'llm.b': 'llm'}

    Raises:
      ConfigError: names parameters that no rule covers and rules that cover none.
    """
    groups, used = {}, set()
    for path in paths:
        for number, (pattern, group) in enumerate(rules):
            if re.match(pattern, path):
                groups[path] = group
                used.add(number)
                break
    uncovered = [p for p in paths if p not in groups]
    unused = [rules[i][0] for i in range(len(rules)) if i not in used]
    if uncovered:
        raise ConfigError(
            f"optim.rules: no rule covers {uncovered[0]} ({len(uncovered)} parameters)",
            mend="add a rule for it, for example ('.*', 'frozen') as the last one",
        )
    if unused:
        near = difflib.get_close_matches(unused[0], paths, n=1, cutoff=0.0)
        raise ConfigError(
            f"optim.rules: {unused[0]!r} matches no parameter that an earlier rule left",
            mend=f"the nearest path is {near[0]}; mend the pattern or take the rule out",
        )
    return groups


def schedule(
    peak: float, *, steps: int, warmup_ratio: float, name: str = "cosine", floor: float = 0.0
) -> optax.Schedule:
    """Linear warm-up over `ceil(steps * warmup_ratio)` steps, then cosine to `floor * peak`.

    As Hugging Face's cosine schedule: the rate of the first step is 0 when there is a warm-up.

    Raises:
      ConfigError: unknown `name`.
    """
    if name not in ("cosine", "constant"):
        raise ConfigError(f"optim.schedule {name!r} is unknown", mend="use cosine or constant")
    warmup = math.ceil(steps * warmup_ratio)
    if name == "constant":
        after = optax.constant_schedule(peak)
    else:
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1), alpha=floor)
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def build(
    groups: Mapping[str, Group],
    labels: Mapping[str, str],
    *,
    steps: int,
    warmup_ratio: float,
    schedule_name: str,
    floor: float,
    b1: float,
    b2: float,
    eps: float,
    clip: float,
) -> tuple[optax.GradientTransformation, dict[str, optax.Schedule]]:
    """AdamW with a rate per group, after clipping the whole gradient by its global norm.

    Args:
      groups: settings by group name; `labels`: group of each *trained* parameter path.

    Returns:
      The transformation, and each group's schedule (for the log).

    Raises:
      ConfigError: a label without a group.
    """
    missing = sorted(set(labels.values()) - set(groups))
    if missing:
        raise ConfigError(
            f"optim.rules use the group {missing[0]!r}, which optim.groups does not have",
            mend=f"use one of {sorted(groups)} or 'frozen'",
        )
    schedules = {
        name: schedule(
            g.learning_rate, steps=steps, warmup_ratio=warmup_ratio, name=schedule_name, floor=floor
        )
        for name, g in groups.items()
        if name in labels.values()
    }
    parts = {
        name: optax.adamw(
            rate, b1=b1, b2=b2, eps=eps, weight_decay=groups[name].weight_decay, mask=_decayed
        )
        for name, rate in schedules.items()
    }
    clipped = optax.clip_by_global_norm(clip) if clip else optax.identity()
    return optax.chain(clipped, optax.partition(parts, dict(labels))), schedules


def left_out(slots: Any) -> Any:
    """The optimizer's state after a step that was left out: moments as they were, schedules go on.

    The rate of a step is a function of its number, whatever became of those before: else a run
    would not come to its schedule's end, and the rates in the log would not be those taken. The
    count of the moments (Adam's bias correction) stays: it counts what they have seen.
    """
    is_schedule = lambda x: isinstance(x, optax.ScaleByScheduleState)
    one_on = lambda x: x._replace(count=optax.safe_increment(x.count)) if is_schedule(x) else x
    return jax.tree.map(one_on, slots, is_leaf=is_schedule)


def _decayed(params):
    """Weight decay is not for norms and biases, as in the Hugging Face trainer."""
    return {path: not path.endswith((".scale", ".bias")) for path in params}
