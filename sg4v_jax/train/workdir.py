"""A working directory belongs to one config; it says so when another one comes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import WorkdirError
from sg4v_jax.train.hosts import Hosts

CONFIG = "config.json"
# How a run is carried out, not what it computes: may differ between resumptions.
FREE = (
    "data.decode_seconds",
    "data.max_skipped",
    "run.log_every",
    "run.save_every",
    "run.workers",
    "run.threads",
    "run.keep",
    "run.best",
    "run.mesh",
    "run.nonfinite",
    "run.tensorboard",
    "run.host_timeout",
    "run.hang_timeout",
    "run.maintenance_url",
    "run.compile_cache",
    "profile",
)


def check(folder: str | os.PathLike, config: Mapping[str, Any]) -> None:
    """Checks that `folder` is unclaimed, or belongs to `config`.

    Raises:
      WorkdirError: the folder belongs to another config; every difference is shown.
    """
    file = files.path(folder) / CONFIG
    if not file.exists():
        return
    differences = [
        f"{name}: {old!r} there, {new!r} now"
        for name, old, new in _difference(files.read_json(file), _as_json(config))
        if not name.startswith(FREE)
    ]
    if differences:
        raise WorkdirError(
            f"{folder} belongs to a run of another config:\n    " + "\n    ".join(differences),
            mend="use another --workdir, or the same config",
        )


def claim(
    folder: str | os.PathLike, config: Mapping[str, Any], *, hosts: Hosts | None = None
) -> None:
    """Writes the config of a new run, once all else about it has been found to be in order.

    Of several processes the primary writes, and all must have the same config and see the file.

    Raises:
      WorkdirError: as `check`; or a process does not see the folder of the primary.
      ConfigError: another process has another config.
    """
    check(folder, config)
    hosts = hosts or Hosts()
    value = _as_json(config)
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
    hosts.agree("config", digest, mend="start all processes with the same config and overrides")
    file = files.path(folder) / CONFIG
    if hosts.primary and not file.exists():
        files.write_json(file, value)
    hosts.gather("claimed", "yes")
    if not file.exists():
        raise WorkdirError(
            f"process {hosts.index} does not see {file}, which process 0 wrote",
            mend="use a --workdir that all hosts share, for example gs://BUCKET/RUN",
        )


def check_data(folder: str | os.PathLike, data: Mapping[str, Any], *, plan: str) -> None:
    """Checks that a checkpoint's data position counts the rows of the same plan.

    Raises:
      WorkdirError: the annotation files changed since the checkpoint was saved.
    """
    if data and data["plan"] != plan:
        raise WorkdirError(
            f"{folder}: its checkpoint counts rows of plan {data['plan']}, the data gives {plan}",
            mend="bring the annotation files back as they were, or start in another --workdir",
        )


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(config, default=list))


def _difference(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(set(old) | set(new)):
            inner = f"{name}.{key}" if name else key
            found += _difference(old.get(key), new.get(key), inner)
        return found
    return [] if old == new else [(name, old, new)]
