"""A caption verb's job from items to one file of rows."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.jobs import begin, merge, open_store, reopen, run_pool
from sg4v_jax.jobs.items import Do

_SHOWN = 10  # failures that a message names


@dataclasses.dataclass(frozen=True)
class Finished:
    """What is in the file: all rows, and (id, error) of those that failed."""

    file: str
    rows: int
    failed: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"{self.file}: {self.rows - len(self.failed)} of {self.rows} done"]
        if self.failed:
            lines.append(f"{len(self.failed)} failed:")
            lines += [f"  {name}: {error}" for name, error in self.failed[:_SHOWN]]
        if len(self.failed) > _SHOWN:
            lines.append(f"  ... and {len(self.failed) - _SHOWN} more, as rows with an error")
        return "\n".join(lines)


def run_job(
    items: Sequence[Mapping[str, Any]],
    do: Do,
    *,
    job: str | os.PathLike,
    file: str | os.PathLike,
    settings: Mapping[str, Any],
    shard_size: int,
    workers: int = 1,
    kind: str = "threads",
    attempts: int = 2,
    lease: float = 120.0,
    retry_failed: bool = False,
) -> Finished:
    """Works off `items` and writes a row for each, in their order, to `file`.

    Killed anywhere and called again it goes on with the shards that are not done. Several machines
    may call it at once with the same arguments on a shared place.

    Args:
      items: JSON objects with an "id".
      do: makes the rows; see `jobs.work`.
      job: the folder of the job.
      file: where the rows go, whole, when all shards are done.
      settings: what results depend on beside the items.
      shard_size: items that are done and committed together.
      workers, kind: as in `jobs.run_pool`.
      attempts: tries for an item that fails.
      lease: seconds after which the shard of a worker that was killed is taken up again.
      retry_failed: try the failed items of a finished job again.

    Raises:
      WorkdirError: another job lives there.
      What `jobs.begin`, `jobs.run_pool` and `jobs.merge` raise.
    """
    store = open_store(job)
    begin(store, items, shard_size=shard_size, settings=settings)
    if retry_failed:
        reopen(store)
    how = dict(attempts=attempts, batch=shard_size, lease=lease)
    run_pool(store, do, workers=workers, kind=kind, **how)
    lines, failed = [], []
    for row in merge(store):
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        if row["error"] is not None:
            failed.append((row["id"], row["error"]))
    files.write_atomic(file, "".join(lines))
    return Finished(str(file), len(lines), tuple(failed))
