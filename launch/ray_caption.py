"""Captions on a Ray cluster: `sg4v caption run`'s flags, its work, its captions.jsonl.

    python launch/ray_caption.py --captioner=openai:http://HOST/v1,MODEL --videos=DIR --out=DIR \
        --workers=16 --shard=64

Each actor opens the captioner once and captions --shard videos at a time; give it a device with
--ray_resources='{"num_gpus": 1}'. Videos and --out lie where all nodes see them. Rows are written
when all are done; to resume after a crash use `sg4v caption run`, on as many machines as you like.
Needs the extra [ray].
"""

from __future__ import annotations

import json
import sys

import ray
from absl import flags

from sg4v_jax import files
from sg4v_jax.caption.run import CaptionWork
from sg4v_jax.cli import caption_run
from sg4v_jax.jobs.items import run_items

_RESOURCES = flags.DEFINE_string("ray_resources", "{}", "of an actor: num_cpus, num_gpus as JSON")


class CaptionActor:
    """A worker of `Dataset.map_batches`: items as JSON in, rows as JSON out."""

    def __init__(self, work: CaptionWork):
        self.work = work
        work.open()

    def __call__(self, batch: dict) -> dict:
        items = [json.loads(text) for text in batch["item"]]
        rows = run_items(items, self.work, attempts=2)
        return {"number": batch["number"], "row": [json.dumps(row) for row in rows]}


def caption(items: list[dict], work: CaptionWork, *, workers: int, shard: int, **resources):
    """The rows of `items`, in their order. Keyword arguments go to Ray's actors."""
    rows = [{"number": n, "item": json.dumps(item)} for n, item in enumerate(items)]
    done = ray.data.from_items(rows).map_batches(
        CaptionActor,
        fn_constructor_args=(work,),
        batch_size=shard,
        compute=ray.data.ActorPoolStrategy(size=workers),
        **resources,
    )
    ordered = sorted(done.take_all(), key=lambda row: row["number"])
    return [json.loads(row["row"]) for row in ordered]


def main() -> None:
    flags.FLAGS(sys.argv)
    work, items = caption_run.plan()
    out, workers, shard = (flags.FLAGS[name].value for name in ("out", "workers", "shard"))
    rows = caption(items, work, workers=workers, shard=shard, **json.loads(_RESOURCES.value))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    files.write_atomic(f"{out}/captions.jsonl", lines)
    failed = sum(row["error"] is not None for row in rows)
    print(f"{out}/captions.jsonl: {len(rows)} rows, {failed} failed")


if __name__ == "__main__":
    main()
