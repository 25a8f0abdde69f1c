"""Several files written side by side, line by line, that appear together and whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from typing import Self

from sg4v_jax import files
from sg4v_jax.errors import StorageError


class Output:
    """Files of a folder under temporary names, until `keep`.

        with Output("runs/x", ["a.json"]) as output:
            output.write("a.json", "[]\\n")
            output.close()                        # -> {"a.json": sha256}
        # now runs/x/a.json is there; after an error it is not

    Raises:
      StorageError: the disk is full or the folder cannot be written; no file has appeared.
    """

    def __init__(self, folder: str | os.PathLike, names: Sequence[str]):
        self._folder = files.path(folder)
        self._open: dict[str, tuple] = {}
        with self._errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                self._open[name] = (self._temporary(name).open("wb"), hashlib.sha256())

    def write(self, name: str, content: str | bytes) -> None:
        """Adds to file `name`."""
        f, digest = self._open[name]
        data = content.encode() if isinstance(content, str) else content
        digest.update(data)
        with self._errors():
            f.write(data)

    def close(self) -> dict[str, str]:
        """Ends writing; the sha256 of each file."""
        with self._errors():
            for f, _ in self._open.values():
                if f.closed:
                    continue
                f.flush()
                with contextlib.suppress(OSError, AttributeError, ValueError):
                    os.fsync(f.fileno())  # object stores have no descriptor to sync
                f.close()
        return {name: digest.hexdigest() for name, (_, digest) in self._open.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            self.drop()
            return
        self.close()
        with self._errors():
            for name in self._open:
                self._temporary(name).replace(self._folder / name)
                for left in self._folder.glob(f"{name}.tmp-*"):  # by a process that was killed
                    left.unlink(missing_ok=True)

    def drop(self) -> None:
        """Removes what was written."""
        for name, (f, _) in self._open.items():
            with contextlib.suppress(OSError):
                f.close()
            with contextlib.suppress(OSError):
                self._temporary(name).unlink(missing_ok=True)

    def _temporary(self, name: str):
        return self._folder / f"{name}.tmp-{os.getpid()}"

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except OSError as e:
            self.drop()
            raise StorageError(
                f"cannot write to {self._folder}: {e.strerror or e}",
                mend="free some space, then run again: what is done stays done",
            ) from e
