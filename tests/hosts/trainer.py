"""One process that trains a config on several meshes, one after the other: trainer.py MESHES FLAGS.

MESHES is JSON, name -> sizes; FLAGS are `sg4v train`'s, and the workdir of each is WORKDIR/NAME. Which
rows this process read of each batch goes to WORKDIR/NAME/shard.K.json.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys

import numpy as np
from absl import flags
from rich.console import Console

from sg4v_jax import sharding
from sg4v_jax.cli import config_flag, train  # noqa: F401  defines the flags
from sg4v_jax.cli.exit_codes import BAD_INPUT, HOST_LOST, INTERRUPTED
from sg4v_jax.cli.runtime import start_jax
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.tasks import video_sft
from sg4v_jax.train import distributed, goodput, heartbeat
from sg4v_jax.train.hosts import of_this_run


def four_heads():
    """The smallest model with heads enough for tensor=4; its two kv heads are on two devices each."""
    small = PRESETS["sg4v-test"]()
    heads = dict(num_attention_heads=4)
    llm = dataclasses.replace(small.llm, num_key_value_heads=2, head_dim=4, **heads)
    return dataclasses.replace(small, llm=llm, tower=dataclasses.replace(small.tower, **heads))


PRESETS["four-heads"] = four_heads


def main(meshes: dict[str, dict[str, int]], argv: list[str]) -> int:
    flags.FLAGS([sys.argv[0], *config_flag.resolve(argv)])
    given, clock = flags.FLAGS, goodput.Clock()
    start_jax()
    distributed.start(
        distributed.by_hand(
            coordinator=given.coordinator, processes=given.processes, process=given.process
        )
    )
    hosts = of_this_run()
    codes = heartbeat.Codes(lost=HOST_LOST, error=BAD_INPUT, bug=1, interrupted=INTERRUPTED)
    beat = heartbeat.Heartbeat(hosts, clock=clock, timeout=60, hang=600, codes=codes)
    with heartbeat.together(hosts, beat, codes=codes):
        for name, sizes in meshes.items():
            folder = pathlib.Path(given.workdir) / name
            folder.mkdir(parents=True, exist_ok=True)
            config = given.config.copy_and_resolve_references()
            with config.unlocked():
                config.run.mesh = sizes
            loaded = note_what_is_loaded()
            video_sft.train(config, folder=str(folder), console=Console(quiet=True))
            value = {"shard": sharding.batch_shard(sharding.make_mesh(sizes)), "sums": loaded}
            (folder / f"shard.{hosts.index}.json").write_text(json.dumps(value))
    return 0


def note_what_is_loaded() -> list[list[int]]:
    """A list that gets, a batch, the sum of tokens and pixels of each row that this process loads."""
    sums, to_global = [], _TO_GLOBAL

    def noting(tree, **how):
        pixels = np.asarray(tree.tiles, np.int64)
        rows = np.asarray(tree.tokens, np.int64).sum(-1) + pixels.sum(tuple(range(1, pixels.ndim)))
        sums.append(rows.tolist())
        return to_global(tree, **how)

    sharding.to_global = noting
    return sums


_TO_GLOBAL = sharding.to_global

if __name__ == "__main__":
    raise SystemExit(main(json.loads(sys.argv[1]), sys.argv[2:]))
