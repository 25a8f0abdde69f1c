"""The training log for TensorBoard, by tensorboardX (extra `[tensorboard]`): no TensorFlow."""

from __future__ import annotations

import os
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, StorageError

FOLDER = "tensorboard"


class TensorBoard:
    """Writes each number of a log record as a scalar of its name, to `WORKDIR/tensorboard`.

    Args:
      workdir: the run's working directory.
      step: the step resumed from; TensorBoard is told to forget what it has after it, so that no
        step is shown twice.

    Raises:
      ConfigError: tensorboardX is not installed.
      StorageError: the folder cannot be written.
    """

    def __init__(self, workdir: str | os.PathLike, *, step: int):
        try:
            import tensorboardX  # an extra
        except ImportError as e:
            raise ConfigError(
                "run.tensorboard needs tensorboardX, which is not installed",
                mend="pip install 'sg4v_jax[tensorboard]', or leave it off; "
                "metrics.jsonl has the same numbers",
            ) from e
        self._folder = files.path(workdir) / FOLDER
        try:
            self._writer = tensorboardX.SummaryWriter(
                os.fspath(self._folder),
                purge_step=step + 1 if step else None,
                flush_secs=30,
                filename_suffix=f".{step}",  # names have whole seconds; no start overwrites another
            )
        except OSError as e:
            raise self._failed(e) from e

    def write(self, record: dict[str, Any]) -> None:
        """Adds the numbers of one record of the log at its `step`; for `MetricsLog(also=...)`.

        Raises:
          StorageError: the folder cannot be written.
        """
        step = record["step"]
        try:
            for name, value in record.items():
                if name != "step" and isinstance(value, (int, float)):
                    self._writer.add_scalar(name, value, step)
        except OSError as e:
            raise self._failed(e) from e

    def close(self) -> None:
        """Writes out what is still in memory.

        Raises:
          StorageError: the folder cannot be written.
        """
        try:
            self._writer.close()
        except OSError as e:
            raise self._failed(e) from e

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot write {self._folder}: {error.strerror or error}",
            mend="free some space; the same command goes on from the last checkpoint",
        )
