"""The checkpoint files of a working directory: where they lie, and the parameters in them.

checkpoints/STEP/   `trained` (parameters by path) and `optimizer` (slots); as metadata the data
                    position and how many parameters are frozen
frozen/             `params`: the frozen parameters by path, written once before the first step
best.json           the metric that decides which step is best, and the value at each step
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
from orbax.checkpoint.experimental import v1 as ocp

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, ConfigError

CHECKPOINTS, FROZEN, BEST = "checkpoints", "frozen", "best.json"
MODES = ("max", "min")


@dataclasses.dataclass(frozen=True)
class Scores:
    """One metric's value at the steps where it was measured.

    >>> Scores("eval/loss", "min", {10: 2.0, 20: 1.5, 30: 1.7}).best([10, 30])
    [30]
    """

    metric: str
    mode: str  # max | min
    by_step: Mapping[int, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.mode not in MODES:
            raise ConfigError(
                f"the best checkpoint's mode {self.mode!r} is unknown",
                mend=f"use {' or '.join(MODES)}",
            )

    def best(self, steps: Iterable[int], *, keep: int = 1) -> list[int]:
        """The `keep` best of `steps`, best first; of equals the later. NaN is never best."""
        known = [s for s in steps if math.isfinite(self.by_step.get(s, math.nan))]
        sign = 1 if self.mode == "max" else -1
        return sorted(known, key=lambda s: (sign * self.by_step[s], s), reverse=True)[:keep]


def read_scores(workdir: str | os.PathLike) -> Scores | None:
    """What `best.json` says, None without one.

    Raises:
      CheckpointError: the file is not what `write_scores` writes.
    """
    file = files.path(workdir) / BEST
    if not file.exists():
        return None
    value = files.read_json(file)
    try:
        by_step = {int(step): float(score) for step, score in value["scores"].items()}
        return Scores(value["metric"], value["mode"], by_step)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise CheckpointError(
            f"{file}: not a table of scores ({type(e).__name__}: {e})",
            mend="remove the file; the next evaluation writes a new one",
        ) from e


def write_scores(workdir: str | os.PathLike, scores: Scores) -> None:
    """Writes `best.json`; infinities and NaN are left out, JSON has none."""
    finite = {str(s): v for s, v in sorted(scores.by_step.items()) if math.isfinite(v)}
    value = {"metric": scores.metric, "mode": scores.mode, "scores": finite}
    files.write_json(files.path(workdir) / BEST, value)


def read_params(
    workdir: str | os.PathLike,
    *,
    step: int | str | None,
    dtype_of: Callable[[str, jnp.dtype], jnp.dtype],
    sharding_of: Callable[[str], jax.sharding.Sharding | None],
) -> dict[str, jax.Array] | None:
    """All parameters by path of a checkpoint, trained and frozen; None when there is none.

    Args:
      step: a step number, "best", or None for the newest.
      dtype_of: (path, stored dtype) -> what the numbers become while they are read.
      sharding_of: path -> where it goes; None is whole, to the first local device.

    Raises:
      CheckpointError: there is no such step, or its files are damaged.
    """
    folder = files.path(workdir) / CHECKPOINTS
    if not folder.is_dir():
        return None
    orbax = ocp.training.Checkpointer(files.absolute(folder))
    try:
        number = _choose(workdir, [c.step for c in orbax.checkpoints], step=step)
        if number is None:
            return None
        return _read_step(orbax, workdir, number, dtype_of=dtype_of, sharding_of=sharding_of)
    except CheckpointError:
        raise
    except Exception as e:  # Orbax and TensorStore raise many types for a damaged file
        raise CheckpointError(
            f"{folder}: the checkpoint cannot be read ({type(e).__name__}: {e})",
            mend="remove that step's folder to fall back to the one before",
        ) from e
    finally:
        orbax.close()


def _choose(workdir, steps: list[int], *, step: int | str | None) -> int | None:
    if step is None:
        return max(steps, default=None)
    if step == "best":
        scores = read_scores(workdir)
        best = scores.best(steps) if scores else []
        if best:
            return best[0]
        raise CheckpointError(
            f"{workdir}: no checkpoint of it has a score",
            mend="train with run.best set to a metric of an evaluation, or use the newest step",
        )
    if step in steps:
        return step
    raise CheckpointError(
        f"{workdir}: no checkpoint of step {step!r}; it has {sorted(steps)}",
        mend="use one of them, 'best', or None for the newest",
    )


def _read_step(orbax, workdir, number: int, *, dtype_of, sharding_of) -> dict[str, jax.Array]:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def wanted(path, array):
        dtype, where = dtype_of(path, array.dtype), sharding_of(path) or here
        return jax.ShapeDtypeStruct(array.shape, dtype, sharding=where)

    found = orbax.checkpointables_metadata(number)
    trained = {path: wanted(path, a) for path, a in found.metadata["trained"].items()}
    flat = orbax.load_checkpointables(number, {"trained": trained})["trained"]
    count = (found.custom_metadata or {})["frozen"]
    if not count:
        return flat
    folder = frozen_folder(workdir, count=count)
    saved = ocp.checkpointables_metadata(folder).metadata["params"]
    frozen = {path: wanted(path, a) for path, a in saved.items()}
    return {**flat, **ocp.load_checkpointables(folder, {"params": frozen})["params"]}


def frozen_folder(workdir: str | os.PathLike, *, count: int):
    """The folder of the frozen parameters.

    Raises:
      CheckpointError: it is not there, though a checkpoint counts on `count` parameters in it.
    """
    folder = files.path(workdir) / FROZEN
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder, but its checkpoints leave {count} frozen parameters to it",
            mend=f"copy {FROZEN}/ together with {CHECKPOINTS}/",
        )
    return files.absolute(folder)
