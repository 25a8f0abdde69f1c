"""Tensors by name in files of any format: mapped into memory one at a time, never held.

A file's reader (`safetensors_io`, `torch_bin`) says where each tensor lies; `Tensors` maps that
byte range when it is asked for. So opening 17 GB reads the headers alone, and converting it holds
as much as the caller keeps.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np
from etils import epath

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, RecordError, UnsafePathError

# What parameters may be stored as.
FLOATS = tuple(np.dtype(t) for t in (ml_dtypes.bfloat16, np.float16, np.float32, np.float64))


class Entry(NamedTuple):
    """Where a tensor lies in a file: `offset` in bytes, `strides` in bytes (None: C order)."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None

    @property
    def extent(self) -> int:
        """Bytes from the first to the end of the last number."""
        if 0 in self.shape:
            return 0
        if self.strides is None:
            return math.prod(self.shape) * self.dtype.itemsize
        steps = ((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return sum(steps) + self.dtype.itemsize

    def map(self, local: str) -> np.ndarray:
        """The tensor in file `local`, read-only; its pages leave memory with the array."""
        if self.extent == 0:
            return np.zeros(self.shape, self.dtype)
        raw = np.memmap(local, np.uint8, "r", offset=self.offset, shape=(self.extent,))
        flat = np.asarray(raw)
        if self.strides is None:
            return flat.view(self.dtype).reshape(self.shape)
        return np.ndarray(self.shape, self.dtype, buffer=flat, strides=self.strides)


class Opened(NamedTuple):
    """What a reader found in one file."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]


Reader = Callable[..., Opened]  # reader(local path, path=the name for messages)


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of some files; one is mapped each time it is asked for, and not kept.

    Attributes:
      shapes, dtypes: of every tensor by name, known without reading.
      files: the file of every tensor by name, for messages.
      metadata: the texts in the files' headers.
    """

    def __init__(self, paths: Sequence[epath.Path], *, reader: Reader):
        self._entries, self.files, self.metadata = {}, {}, {}
        for path, local in zip(paths, self._local(paths), strict=True):
            opened = reader(local, path=path)
            self.metadata |= opened.metadata
            for name, entry in opened.entries.items():
                if name in self._entries:
                    raise CheckpointError(
                        f"{path}: tensor {name} is also in another shard",
                        mend="fetch index and shards of the same revision",
                    )
                self._entries[name] = (local, entry)
                self.files[name] = path
        self.shapes = {n: e.shape for n, (_, e) in self._entries.items()}
        self.dtypes = {n: e.dtype for n, (_, e) in self._entries.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        local, entry = self._entries[name]
        return entry.map(local)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _local(self, paths: Sequence[epath.Path]) -> list[str]:
        """Paths that can be mapped into memory; remote files are copied, for this one's life."""
        if not any("://" in os.fspath(p) for p in paths):
            return [os.fspath(p) for p in paths]
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        local = [os.path.join(folder, p.name) for p in paths]
        for path, copy in zip(paths, local, strict=True):
            path.copy(copy)
        return local


class Renamed(Mapping[str, np.ndarray]):
    """`tensors` under other names: `names` is new name -> old one; the others are left out."""

    def __init__(self, tensors: Tensors, names: Mapping[str, str]):
        self._tensors, self._names = tensors, names
        self.shapes = {new: tensors.shapes[old] for new, old in names.items()}
        self.dtypes = {new: tensors.dtypes[old] for new, old in names.items()}
        self.files = {new: tensors.files[old] for new, old in names.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_index(index: epath.Path, *, reader: Reader) -> Tensors:
    """The tensors of the shards that `index` (`*.index.json` with a `weight_map`) names.

    Raises:
      CheckpointError: a damaged index, missing shards, or tensors that are in no shard.
      UnsafePathError: the index leads out of its folder, by name or by link.
    """
    folder = index.parent
    try:
        places = files.read_json(index)["weight_map"]
        shards = sorted(set(places.values()))
    except (RecordError, KeyError, TypeError, AttributeError) as e:
        raise CheckpointError(
            f"{index}: no 'weight_map' of tensor names to file names ({e})",
            mend="fetch the index again",
        ) from e
    paths = [inside(folder, s, where=f"{index}: weight_map") for s in shards]
    absent = [p.name for p in paths if not p.exists()]
    if absent:
        raise CheckpointError(
            f"{folder}: {len(absent)} of {len(paths)} shards are missing: {', '.join(absent)}",
            mend="fetch the missing files",
        )
    tensors = Tensors(paths, reader=reader)
    lost = sorted(set(places) - set(tensors))
    if lost:
        raise CheckpointError(
            f"{index}: {len(lost)} tensors are in no shard: {', '.join(lost[:8])}",
            mend="fetch index and shards of the same revision",
        )
    return tensors


def inside(folder: epath.Path, name: str, *, where: str) -> epath.Path:
    """File `name` of `folder`, refusing names and links that lead out of it.

    A snapshot in the hub's cache links to `blobs` two folders up; that is inside.

    Raises:
      UnsafePathError: it leads out.
    """
    root = folder
    if "://" not in os.fspath(folder) and folder.parent.name == "snapshots":
        safe = os.path.normpath(os.path.join("x", name)).split(os.sep)
        if not os.path.isabs(name) and ".." not in safe and safe[0] == "x":
            root, name = folder.parent.parent, os.path.join("snapshots", folder.name, name)
    try:
        return files.path(files.safe_join(root, name, where=where))
    except UnsafePathError as e:
        raise UnsafePathError(
            e.message,
            mend="put the file itself into the folder; weights are not read through links",
        ) from e
