"""How VideoChatGPT's benchmark asks: the bare question."""

from __future__ import annotations

from sg4v_jax.evals.protocol import SG4V_PREAMBLE, Protocol, plain

PROTOCOLS = {
    "sg4v": Protocol(
        benchmark="videochatgpt",
        name="sg4v",
        question=plain,
        prefix=SG4V_PREAMBLE,
        sampling="run",
        visual="overview",
        max_new_tokens=1024,
        rule="judge",
        headline="mean of scores",
        note="ShareGPT4Video has a judge script for this and none that asks; asked as its run.py "
        "asks, greedily",
    ),
    "official": Protocol(
        benchmark="videochatgpt",
        name="official",
        question=plain,
        frames=None,
        band=None,
        longest_side=None,
        max_new_tokens=1024,
        temperature=0.2,
        rule="judge",
        headline="mean of scores",
        note="frames are the model's own",
    ),
}
