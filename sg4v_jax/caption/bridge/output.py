"""Several files written side by side, line by line, that appear together and whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from typing import Self

from sg4v_jax import files
from sg4v_jax.errors import StorageError

_LEFT = 3600.0  # seconds after which what was not finished is nobody's


class Output:
    """Files of a folder, local or `gs://`, which get their names when all are whole.

        with Output("runs/x", ["a.json"]) as output:
            output.write("a.json", "[]\\n")
            output.close()                        # -> {"a.json": sha256}
        # now runs/x/a.json is there; after an error it is not

    What is not whole yet lies in a folder of its own beside them (of an object store: on this
    machine).

    Raises:
      StorageError: the disk is full or the folder cannot be written; no file has appeared.
    """

    def __init__(self, folder: str | os.PathLike, names: Sequence[str]):
        self._folder = files.path(folder)
        self._open: dict[str, tuple] = {}
        with self._errors():
            self._making = self._new_folder()
            for name in names:
                self._open[name] = ((self._making / name).open("wb"), hashlib.sha256())

    def _new_folder(self) -> pathlib.Path:
        if files.is_remote(self._folder):
            return pathlib.Path(tempfile.mkdtemp(prefix="sg4v_output_"))
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(".making-*"):  # by a process that was killed long ago
            if time.time() - left.stat().mtime > _LEFT:
                shutil.rmtree(left, ignore_errors=True)
        return pathlib.Path(tempfile.mkdtemp(prefix=".making-", dir=self._folder))

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
                f.close()
        return {name: digest.hexdigest() for name, (_, digest) in self._open.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None:
                self.close()
                for name in self._open:
                    files.put(self._making / name, self._folder / name)
        finally:
            self.drop()

    def drop(self) -> None:
        """Removes what has no name yet."""
        for f, _ in self._open.values():
            with contextlib.suppress(OSError):
                f.close()
        shutil.rmtree(self._making, ignore_errors=True)

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except OSError as e:
            if hasattr(self, "_making"):
                self.drop()
            raise StorageError(
                f"cannot write to {self._folder}: {e.strerror or e}",
                mend="free some space, then run again: what is done stays done",
            ) from e
