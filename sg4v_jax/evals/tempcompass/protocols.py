"""How TempCompass asks."""

from __future__ import annotations

from sg4v_jax.evals.protocol import SG4V_PREAMBLE, Protocol, plain

_SUFFIXES = {
    "multi-choice": "\nPlease directly give the best option:",
    "yes_no": "\nPlease answer yes or no:",
    "caption_matching": "\nPlease directly give the best option:",
    "captioning": "",
}
_HEADLINE = "mean of tasks"

PROTOCOLS = {
    "sg4v": Protocol(
        benchmark="tempcompass",
        name="sg4v",
        question=plain,
        prefix=f"{SG4V_PREAMBLE} Question: ",
        suffix=_SUFFIXES,
        sampling="tempcompass",
        longest_side=0,
        visual="anyres",
        rule="tempcompass",
        headline=_HEADLINE,
    ),
    "official": Protocol(
        benchmark="tempcompass",
        name="official",
        question=plain,
        suffix=_SUFFIXES,
        frames=None,
        band=None,
        longest_side=None,
        rule="tempcompass",
        headline=_HEADLINE,
        note="frames and their layout are the model's own; greedy where the authors' runner "
        "for one model samples at temperature 0.1",
    ),
}
