"""Operations of a training step by formula: what the model needs, recomputation left out.

Legend: `S` positions, `L` scored positions, `T` tiles a row; `P` patches a tile; `D` width, `N` heads,
`K` kv heads, `H` head dim, `F` ffn, `V` vocabulary.

A product [a,b] x [b,c] is 2abc operations. Forward, for each row:

    decoder      layers x (2 S (2 D N H + 2 D K H + 3 D F) + 2 S^2 N H)   causal: half of 4 S^2 N H
    head         2 L D V
    projector    2 T P (Dt D + D D)
    tower        T x (2 P 3 patch^2 Dt + layers run x (2 (P+1) (4 Dt^2 + 2 Dt Ft) + 4 (P+1)^2 Dt))

Backward is twice the forward for what trains: once for the gradient of the inputs, once for that of
the weights. What is frozen has no gradient of weights, and none of inputs where nothing before it
trains. A LoRA branch of rank r on [a,b] adds 2 r (a + b) a position and trains.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from sg4v_jax.data.packing import Budget
from sg4v_jax.models.lora import is_lora
from sg4v_jax.models.params import Skeleton
from sg4v_jax.models.video_lm import VideoLMConfig
from sg4v_jax.train.optim import FROZEN


@dataclasses.dataclass(frozen=True)
class Flops:
    """Operations a row, by part of the model: forward alone, and with the backward that it needs."""

    forward: Mapping[str, float]
    step: Mapping[str, float]


def forward(model: VideoLMConfig, budget: Budget) -> dict[str, float]:
    """Operations of one row's forward pass, by part.

    >>> forward(PRESETS["sg4v-8b"](), Budget(2048, 1, 2048))["llm"] / 1e12  # with its head
    32.25
    """
    c, t = model.llm, model.tower
    s, d = budget.positions, c.hidden_size
    heads, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    matrices = 2 * d * heads + 2 * d * kv + 3 * d * c.intermediate_size
    decoder = c.num_hidden_layers * (2 * s * matrices + 2 * s**2 * heads)
    patches, width = t.patches**2, t.hidden_size
    seen = patches + t.class_token
    layer = 2 * seen * (4 * width**2 + 2 * width * t.intermediate_size) + 4 * seen**2 * width
    tile = 2 * patches * 3 * t.patch_size**2 * width + t.layers_run * layer
    return {
        "llm": decoder + 2 * budget.scored * d * c.vocab_size,
        "projector": 2 * budget.tiles * patches * (width * d + d * d),
        "tower": budget.tiles * tile,
    }


def step(
    model: VideoLMConfig, budget: Budget, *, skeleton: Skeleton, groups: Mapping[str, str]
) -> Flops:
    """Operations of one row in a training step, for what `groups` trains."""
    once = forward(model, budget)
    trained = [p for p, g in groups.items() if g != FROZEN]
    has = lambda part, lora: any(p.startswith(f"{part}.") and is_lora(p) == lora for p in trained)
    out, before = {}, False
    for part in ("tower", "projector", "llm"):  # in the order in which data takes them
        branches = _branches(skeleton, part) * _positions(model, budget, part)
        passes = 1.0
        if before or has(part, False) or has(part, True):
            # The inputs' gradient is needed within the part, if not before it.
            passes += 1.0
        if has(part, False):
            passes += 1.0
        out[part] = passes * once[part] + (3 if has(part, True) else 1) * branches
        before = before or has(part, False) or has(part, True)
    return Flops(once, out)


def _branches(skeleton: Skeleton, part: str) -> float:
    """Forward operations a position of the low-rank branches of a part."""
    return sum(
        2.0 * math.prod(s.shape)
        for path, s in skeleton.shapes.items()
        if path.startswith(f"{part}.") and is_lora(path)
    )


def _positions(model: VideoLMConfig, budget: Budget, part: str) -> int:
    patches = model.tower.patches**2
    seen = {"llm": budget.positions, "projector": budget.tiles * patches}
    return seen.get(part, budget.tiles * (patches + model.tower.class_token))
