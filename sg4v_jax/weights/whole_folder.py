"""A folder of many large files that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from etils import epath

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, StorageError


@contextlib.contextmanager
def whole_folder(name: str | os.PathLike, *, size: int) -> Iterator[epath.Path]:
    """Within it, write into the folder that it gives; afterwards that is `name`.

        with whole_folder("out", size=10) as folder:
            (folder / "a.txt").write_text("ten bytes.")

    The temporary folder lies beside `name`. It goes when anything fails; a killed process leaves
    it behind as `NAME.tmp-PID`, and the next attempt removes it.

    Args:
      name: must not exist, or be empty.
      size: about how many bytes will be written, to refuse before the work and not after.

    Raises:
      ConfigError: `name` has something in it.
      StorageError: no room, or the disk is full or not writable.
    """
    target = files.path(name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"{target} is there already", mend="choose another --out, or remove it first"
        )
    temporary = target.parent / f"{target.name}.tmp-{os.getpid()}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for old in target.parent.glob(f"{target.name}.tmp-*"):
            if not _running(old.name.rpartition("-")[2]):
                shutil.rmtree(old)
        free = shutil.disk_usage(target.parent).free
        if size > free:
            raise StorageError(
                f"{target.parent} has {free / 1e9:.1f} GB free, {size / 1e9:.1f} GB are needed",
                mend="free some space or choose another folder",
            )
        temporary.mkdir()
        yield temporary
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    except OSError as e:
        raise StorageError(
            f"cannot write {target}: {e.strerror or e}",
            mend="free some space or choose another folder; nothing was left there",
        ) from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True
