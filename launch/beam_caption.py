"""Captions with Apache Beam: `sg4v caption run`'s flags, its work, its rows.

    python launch/beam_caption.py --captioner=openai:http://HOST/v1,MODEL --videos=DIR --out=DIR \
        --shard=64 -- --runner=DataflowRunner --project=P --region=R --temp_location=gs://B/tmp

What follows `--` goes to Beam. Each worker opens the captioner once and captions up to --shard
videos at a time. Rows go to OUT/captions-*.jsonl, in no order: Beam's files are what it finished.
Needs the extra [beam].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import apache_beam as beam
from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions

from sg4v_jax.caption.run import CaptionWork
from sg4v_jax.cli import caption_run
from sg4v_jax.jobs.items import run_items


class CaptionDoFn(beam.DoFn):
    """Batches of items in, rows out. A failed item is a row with an error, and is counted."""

    def __init__(self, work: CaptionWork):
        self.work = work
        self.failed = beam.metrics.Metrics.counter("sg4v", "failed")
        self.done = beam.metrics.Metrics.counter("sg4v", "done")

    def setup(self) -> None:
        self.work.open()

    def process(self, items: list[dict]) -> Iterator[dict]:
        for row in run_items(items, self.work, attempts=2):
            (self.done if row["error"] is None else self.failed).inc()
            yield row


def captions(pipeline, items: list[dict], work: CaptionWork, *, shard: int):
    """The rows of `items` as a collection."""
    return (
        pipeline
        | "items" >> beam.Create(items)
        | "spread" >> beam.Reshuffle()
        | "batch" >> beam.BatchElements(min_batch_size=shard, max_batch_size=shard)
        | "caption" >> beam.ParDo(CaptionDoFn(work))
    )


def main() -> None:
    rest = flags.FLAGS(sys.argv)[1:]
    work, items = caption_run.plan()
    out, shard = flags.FLAGS["out"].value, flags.FLAGS["shard"].value
    with beam.Pipeline(options=PipelineOptions(rest)) as pipeline:
        rows = captions(pipeline, items, work, shard=shard)
        lines = rows | "lines" >> beam.Map(lambda row: json.dumps(row, ensure_ascii=False))
        _ = lines | "write" >> beam.io.WriteToText(f"{out}/captions", file_name_suffix=".jsonl")


if __name__ == "__main__":
    main()
