"""Runs `sg4v ARGS` with two presets more: the 8B model's width, with two layers each.

A process of its own, because what libtpu wants of the environment must not reach other tests.
"""

import dataclasses
import sys

from sg4v_jax.plan import topology

topology.prepare()

from sg4v_jax.cli import main
from sg4v_jax.models import video_lm


def two_layers() -> video_lm.VideoLMConfig:
    """Every width is the real one; depth and vocabulary are cut."""
    base = video_lm.PRESETS["sg4v-8b"]()
    tower = dataclasses.replace(base.tower, num_hidden_layers=2, feature_layer=-1)
    llm = dataclasses.replace(base.llm, num_hidden_layers=2, vocab_size=2048)
    return dataclasses.replace(base, tower=tower, llm=llm)


video_lm.PRESETS["two-layers"] = two_layers
sys.exit(main.run(sys.argv[1:]))
