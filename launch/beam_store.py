"""A store of rendered pictures with Apache Beam: at scale what `sg4v data build` does on one machine.

    python launch/beam_store.py --config=configs/sft_8b_lora_181k.py --out=gs://BUCKET/store \
        --shards=700 -- --runner=DataflowRunner --project=P --region=R --temp_location=gs://B/tmp

What follows `--` goes to Beam. The records are those of the config's data parts; videos and OUT must
be on a file system that all workers see. Each element of the pipeline is one shard, which a worker
renders and writes whole; rows about them go to OUT/job, and this program closes the store.
Run again after a failure it renders all shards anew: the local command resumes. Needs the extra [beam].
"""

from __future__ import annotations

import json
import sys

import apache_beam as beam
from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions
from ml_collections import config_flags

from sg4v_jax import files
from sg4v_jax.data.mixture import parts_of, read_mix
from sg4v_jax.data.store.catalog import JOB
from sg4v_jax.data.store.write import Plan, plan_store
from sg4v_jax.jobs.items import run_items
from sg4v_jax.tasks.run_setup import model_settings

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config", lock_config=True)
_OUT = flags.DEFINE_string("out", None, "the store's folder", required=True)
_SHARDS = flags.DEFINE_integer("shards", 0, "files; 0 for one every 256 records", lower_bound=0)
_CODEC = flags.DEFINE_string("codec", "tiff", "tiff, png, webp, ppm or jpeg[:QUALITY]")
_STORE_AS = flags.DEFINE_enum("store_as", "views", ["views", "grid"], "what is kept of a picture")


def rows(pipeline, plan: Plan):
    """The rows of the plan's items as a collection; Beam retries an element whose worker dies."""
    return (
        pipeline
        | "shards" >> beam.Create(plan.items)
        | "spread" >> beam.Reshuffle()
        | "render" >> beam.FlatMap(lambda item: run_items([item], plan.render, attempts=2))
    )


def main() -> None:
    rest = flags.FLAGS(sys.argv)[1:]
    config = _CONFIG.value
    records = read_mix(parts_of(config.data), seed=config.run.seed)
    how = dict(shards=_SHARDS.value, codec=_CODEC.value, store_as=_STORE_AS.value)
    spec = model_settings(config).inputs
    seconds = config.data.decode_seconds
    plan = plan_store(records, out=_OUT.value, spec=spec, seconds=seconds, **how)
    if plan.there is not None:
        return
    job = files.path(plan.out) / JOB / "beam"
    with beam.Pipeline(options=PipelineOptions(rest)) as pipeline:
        lines = rows(pipeline, plan) | "lines" >> beam.Map(json.dumps)
        _ = lines | "write" >> beam.io.WriteToText(str(job / "rows"), file_name_suffix=".jsonl")
    found = [row for file in job.glob("rows-*.jsonl") for row in files.read_jsonl(file)]
    plan.finish(sorted(found, key=lambda r: r["id"]), max_skipped=config.data.max_skipped)


if __name__ == "__main__":
    main()
