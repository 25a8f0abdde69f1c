"""Jobs: a list of items, worked off in shards by any number of workers that may die at any time.

store.py       where a job lives: a local folder, or an object store through fsspec
manifest.py    the items and settings of a job, written once, and their shards
lease.py       who works on a shard: claims that expire, renewed while the work goes on
items.py       runs the caller's function over a shard's items; no item is ever lost
results.py     parts, done marks, merge, status
interrupts.py  Ctrl-C and SIGTERM
worker.py      `work`: claim, run, commit, until nothing is left
pool.py        `run_pool`: workers as local processes or threads, with a progress bar

The room never looks into an item beyond its "id", nor into a row beyond "id" and "error".

    store = open_store("runs/captions")
    begin(store, [{"id": "a", "video": "a.mp4"}, ...], shard_size=64, settings={"model": "m"})
    run_pool(store, describe, workers=4)  # describe(items) -> one {"id": ..., ...} for each
    rows = list(merge(store))

Nothing but "create this name unless it exists" decides who owns a shard and whose result counts,
so clocks only affect how soon a dead worker's shard is taken up again, never what comes out.
"""

from sg4v_jax.jobs.manifest import Manifest, begin
from sg4v_jax.jobs.pool import run_pool
from sg4v_jax.jobs.results import merge, reopen, status
from sg4v_jax.jobs.store import FsspecStore, LocalStore, Store, open_store
from sg4v_jax.jobs.worker import work

__all__ = [
    "FsspecStore",
    "LocalStore",
    "Manifest",
    "Store",
    "begin",
    "merge",
    "open_store",
    "reopen",
    "run_pool",
    "status",
    "work",
]
