"""Where a job lives: whole small files by name, and one atomic act, `create`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import os
import pathlib
import uuid
from typing import Any, Protocol

import fsspec

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, StorageError

_TEMPORARY = ".tmp-"  # in the names of files that are not whole yet


class Store(Protocol):
    """Files under a root. Names are relative, with "/" between folder and file."""

    def create(self, name: str, content: bytes) -> bool:
        """Makes `name`, whole, unless it exists. Of all callers at once, one gets True.

        `content` must tell callers apart (a worker's own id is in it): a store may answer True
        to a caller whose own bytes are there already.
        """

    def write(self, name: str, content: bytes) -> None:
        """Makes `name` or replaces it; readers see the old file or the whole new one."""

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises FileNotFoundError."""

    def names(self, folder: str) -> list[str]:
        """The sorted names (without the folder) of the whole files in `folder`."""

    def delete(self, name: str) -> None:
        """Removes `name`; nothing happens if it is gone already."""


def open_store(where: str | os.PathLike) -> Store:
    """The store at a local folder or an fsspec address such as `gs://bucket/folder`.

    Raises:
      ConfigError: that kind of address cannot hold a job.
    """
    text = os.fspath(where)
    return FsspecStore(text) if "://" in text else LocalStore(text)


@dataclasses.dataclass(frozen=True)
class LocalStore:
    """A folder on a local or shared disk that has hard links."""

    root: str

    def create(self, name: str, content: bytes) -> bool:
        # O_EXCL alone would show an empty file to a reader that comes between open and write, and
        # leave one behind if the writer dies there. A link makes the whole file appear at once.
        target = self._path(name)
        temporary = target.with_name(f"{target.name}{_TEMPORARY}{uuid.uuid4().hex}")
        with _storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "xb") as f:
                    f.write(content)
                    f.flush()
                    os.fsync(f.fileno())
                os.link(temporary, target)
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def write(self, name: str, content: bytes) -> None:
        files.write_atomic(self._path(name), content)

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def names(self, folder: str) -> list[str]:
        try:
            found = os.listdir(self._path(folder))
        except FileNotFoundError:
            return []
        return sorted(name for name in found if _TEMPORARY not in name)

    def delete(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> pathlib.Path:
        return pathlib.Path(self.root, name)


@dataclasses.dataclass(frozen=True)
class FsspecStore:
    """An object store through fsspec, for example `gs://bucket/folder` with gcsfs installed.

    `create` asks the server to refuse an object that exists (`pipe_file(mode="create")`; on
    Google Cloud that is the precondition generation 0): looking first and writing then would let
    two workers in. A single put is atomic there, so nothing is renamed.

    Raises:
      ConfigError: no such kind of file system is installed, or it cannot create exclusively.
    """

    url: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        kind = type(self.filesystem)
        method = getattr(kind, "_pipe_file" if kind.async_impl else "pipe_file")
        owner = next(c for c in kind.__mro__ if method.__name__ in vars(c))
        inherited = owner.__module__ in ("fsspec.spec", "fsspec.asyn")
        if inherited or "mode" not in inspect.signature(method).parameters:
            raise ConfigError(
                f"{self.url}: {kind.__name__} cannot create a file only if it is absent",
                mend="use a local folder, gs://, s3:// or abfs://",
            )

    @functools.cached_property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """The file system, without a cache of listings: other machines write here too."""
        options = {"use_listings_cache": False, "skip_instance_cache": True} | self.options
        try:
            return fsspec.core.url_to_fs(self.url, **options)[0]
        except (ImportError, ValueError) as e:
            raise ConfigError(f"{self.url}: {e}", mend="install what it names") from e

    def create(self, name: str, content: bytes) -> bool:
        path = self._path(name)
        with _storage_errors(path):
            try:
                self.filesystem.pipe_file(path, content, mode="create")
            except FileExistsError:
                # When the answer to the first try is lost, the client's own second try is refused.
                return self._now(path) == content
        return True

    def write(self, name: str, content: bytes) -> None:
        with _storage_errors(self._path(name)):
            self.filesystem.pipe_file(self._path(name), content)

    def read(self, name: str) -> bytes:
        return self.filesystem.cat_file(self._path(name))

    def names(self, folder: str) -> list[str]:
        self.filesystem.invalidate_cache()
        try:
            found = self.filesystem.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.rm_file(self._path(name))

    def __getstate__(self):  # connections do not travel to other processes
        return {"url": self.url, "options": self.options}

    def _path(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def _now(self, path: str) -> bytes | None:
        try:
            return self.filesystem.cat_file(path)
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def _storage_errors(target):
    try:
        yield
    except OSError as e:
        raise StorageError(
            f"cannot write {target}: {e.strerror or e}",
            mend="free some space or mend access, then run again: what is done stays done",
        ) from e
