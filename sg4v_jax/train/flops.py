"""Operations of a training step by formula, and from them MFU and tokens a second and chip.

Legend: `S` positions, `L` scored positions, `T` tiles a row; `P` patches a tile and `P1` with the
class token; `p` side of a patch; `D` width, `N` heads, `K` kv heads, `H` head dim, `F` ffn, `V`
vocabulary; `W` and `G` width and ffn of the tower.

A product [a,b] x [b,c] takes 2abc operations. Forward, for one row:

    llm          layers x (2 S (2 D N H + 2 D K H + 3 D F) + attention) + 2 L D V
    attention    2 S^2 N H: q k^T and its product with v, 4 S^2 N H, of which the causal half counts
    projector    2 T P (W D + D D)
    tower        T x (2 P 3 p^2 W + layers run x (2 P1 (4 W^2 + 2 W G) + 4 P1^2 W))

Backward: the gradient of what comes in takes as much as the forward, and that of the weights once
more. A part that trains so takes 3 times its forward; a frozen part 2 times where something before
it trains (or a low-rank branch in it), else 1; attention has no weights but two inputs that both
need a gradient, and takes 3 times or 1. A low-rank branch of rank r on [a,b] adds 2 r (a + b) a
position, and trains. What is recomputed (`model.remat`) does not count.

MFU is these operations of all rows of a step, padding included as `sg4v plan` counts it, divided by
its seconds, chips and the chip's peak. Tokens a second count what is no padding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from sg4v_jax.data.packing import Budget
from sg4v_jax.models.lora import is_lora
from sg4v_jax.models.params import Skeleton
from sg4v_jax.models.video_lm import VideoLMConfig
from sg4v_jax.train.optim import FROZEN

PARTS = ("tower", "projector", "llm")  # in the order in which data takes them


def forward(model: VideoLMConfig, budget: Budget, *, causal: bool = True) -> dict[str, float]:
    """Operations of the forward pass of one row, by part of the model.

    Args:
      causal: False counts all S^2 pairs of positions, as the attention written in XLA computes them.

    >>> round(forward(PRESETS["sg4v-8b"](), Budget(2048, 1, 2048))["projector"] / 1e9, 2)
    24.16
    """
    products, attention = _forward(model, budget, causal=causal)
    return {part: products[part] + attention[part] for part in PARTS}


def _forward(
    model: VideoLMConfig, budget: Budget, *, causal: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """`forward`: products with weights, and those of attention."""
    c, t = model.llm, model.tower
    positions, d = budget.positions, c.hidden_size
    heads, kv_heads = (n * c.head_dim for n in (c.num_attention_heads, c.num_key_value_heads))
    weights = 2 * d * heads + 2 * d * kv_heads + 3 * d * c.intermediate_size
    patches, w = t.patches**2, t.hidden_size
    seen = patches + t.class_token
    block = 2 * seen * (4 * w * w + 2 * w * t.intermediate_size)
    products = {
        "tower": budget.tiles * (2 * patches * 3 * t.patch_size**2 * w + t.layers_run * block),
        "projector": 2 * budget.tiles * patches * (w * d + d * d),
        "llm": c.num_hidden_layers * 2 * positions * weights + 2 * budget.scored * d * c.vocab_size,
    }
    attention = {
        "tower": budget.tiles * t.layers_run * 4 * seen**2 * w,
        "projector": 0,
        "llm": c.num_hidden_layers * (2 if causal else 4) * positions**2 * heads,
    }
    return products, attention


@dataclasses.dataclass(frozen=True)
class Flops:
    """Operations of one row, by part of the model: forward alone, and with the backward it needs."""

    forward: Mapping[str, float]
    step: Mapping[str, float]


def step(
    model: VideoLMConfig,
    budget: Budget,
    *,
    skeleton: Skeleton,
    groups: Mapping[str, str],
    causal: bool = True,
) -> Flops:
    """Operations of one row in a training step, for what `groups` trains."""
    products, attention = _forward(model, budget, causal=causal)
    out, before = {}, False
    for part in PARTS:
        paths = [p for p in skeleton.shapes if p.startswith(f"{part}.")]
        trained = [p for p in paths if groups[p] != FROZEN]
        whole, back = any(not is_lora(p) for p in trained), before or bool(trained)
        low_rank = sum(2.0 * math.prod(skeleton.shapes[p].shape) for p in paths if is_lora(p))
        out[part] = (
            (1 + back + whole) * products[part]
            + (1 + 2 * back) * attention[part]
            + 3 * low_rank * _positions(model, budget, part)
        )
        # What stands between tower and decoder counts as before the decoder.
        before = back or (part == "projector" and _trains("separators", groups))
    return Flops({part: products[part] + attention[part] for part in PARTS}, out)


def _trains(name: str, groups: Mapping[str, str]) -> bool:
    return groups.get(name, FROZEN) != FROZEN


def _positions(model: VideoLMConfig, budget: Budget, part: str) -> int:
    """Positions of a row that a matrix of `part` sees; those of a layer count its layers already."""
    patches = model.tower.patches**2
    if part == "llm":
        return budget.positions
    return budget.tiles * (patches + (model.tower.class_token if part == "tower" else 0))


@dataclasses.dataclass(frozen=True)
class Speed:
    """What a step's seconds are worth.

    Attributes:
      flops: operations of one step, all rows.
      chips: that train.
      peak: operations a second of one chip at best; None where no maker's figure is known.
    """

    flops: float
    chips: int
    peak: float | None

    def of(self, *, steps: float, tokens: float, seconds: float) -> dict[str, Any]:
        """`speed/...` fields of a log line; without `speed/mfu` where there is no peak.

        >>> Speed(flops=4e12, chips=2, peak=1e13).of(steps=5, tokens=3000.0, seconds=2.0)
        {'speed/tokens_per_second_chip': 750.0, 'speed/mfu': 0.5}
        """
        if seconds <= 0:
            return {}
        out = {"speed/tokens_per_second_chip": round(tokens / seconds / self.chips, 2)}
        if self.peak:
            out["speed/mfu"] = round(steps * self.flops / seconds / self.chips / self.peak, 4)
        return out


def said(values: Mapping[str, float]) -> str:
    """One line for people.

    >>> said({"speed/tokens_per_second_chip": 750.0})
    '750 tokens/s/chip, MFU n/a'
    """
    mfu = f"{values['speed/mfu']:.1%}" if "speed/mfu" in values else "n/a"
    return f"{values.get('speed/tokens_per_second_chip', 0):,.0f} tokens/s/chip, MFU {mfu}"
