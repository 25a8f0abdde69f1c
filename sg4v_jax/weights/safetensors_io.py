"""Tensors in safetensors files: one file or a sharded folder, read lazily, written whole.

Little-endian header and raw data, no code inside: the one weight format that is safe to open.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence

import ml_dtypes  # noqa: F401  numpy knows `bfloat16` once this is imported
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, RecordError

INDEX = "model.safetensors.index.json"


class Tensors(Mapping[str, np.ndarray]):
    """Tensors by name; a tensor is read each time it is asked for, and not kept.

    Attributes:
      shapes: of every tensor by name, known without reading.
      metadata: the texts in the files' headers.
    """

    def __init__(self, paths: Sequence[epath.Path]):
        self._files, self.shapes, self.metadata = {}, {}, {}
        for path, local in zip(paths, self._local(paths), strict=True):
            opened = _open(local, path=path)
            self.metadata |= opened.metadata() or {}
            for name in opened.keys():  # noqa: SIM118  a safe_open is not iterable
                if name in self._files:
                    raise CheckpointError(
                        f"{path}: tensor {name} is also in another shard",
                        mend="fetch index and shards of the same revision",
                    )
                self._files[name] = opened
                self.shapes[name] = tuple(opened.get_slice(name).get_shape())

    def __getitem__(self, name: str) -> np.ndarray:
        return self._files[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

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


def read(name: str | os.PathLike) -> Tensors:
    """The tensors in a file, or in a folder with one file or an index of shards.

    Args:
      name: `x.safetensors`, or a folder with `model.safetensors.index.json` or a single
        `.safetensors` file; local or `gs://` (which is copied to a temporary folder first).

    Raises:
      CheckpointError: nothing there, shards missing, a damaged file, or an index that names
        tensors which its shards do not have.
    """
    path = files.path(name)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder", mend="check the path")
    if not path.is_dir():
        return Tensors([path])
    if (path / INDEX).exists():
        return _read_index(path)
    found = sorted(p for p in path.iterdir() if p.name.endswith(".safetensors"))
    if len(found) != 1:
        raise CheckpointError(
            f"{path}: {len(found)} .safetensors files and no {INDEX}",
            mend="give a folder with one file, or with shards and their index",
        )
    return Tensors(found)


def write(
    name: str | os.PathLike,
    tensors: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes `tensors` (numpy or jax arrays, bfloat16 too) to one file, whole or not at all.

    The file is first made in memory: for models that fit there twice.

    Args:
      metadata: texts for the header. `format: pt` is added, without which transformers
        refuses the file.

    Raises:
      StorageError: the file cannot be written; an earlier one is unchanged.
    """
    # The library copies raw memory, so a transposed view must be laid out first.
    dense = {n: np.asarray(x, order="C") for n, x in tensors.items()}
    header = {"format": "pt"} | dict(metadata or {})
    files.write_atomic(name, safetensors.numpy.save(dense, metadata=header))


def _read_index(folder: epath.Path) -> Tensors:
    index = folder / INDEX
    try:
        places = files.read_json(index)["weight_map"]
        shards = sorted(set(places.values()))
    except (RecordError, KeyError, TypeError, AttributeError) as e:
        raise CheckpointError(
            f"{index}: no 'weight_map' of tensor names to file names ({e})",
            mend="fetch the index again",
        ) from e
    paths = [files.path(files.safe_join(folder, s, where=f"{index}: weight_map")) for s in shards]
    absent = [p.name for p in paths if not p.exists()]
    if absent:
        raise CheckpointError(
            f"{folder}: {len(absent)} of {len(paths)} shards are missing: {', '.join(absent)}",
            mend="fetch the missing files",
        )
    tensors = Tensors(paths)
    lost = sorted(set(places) - set(tensors))
    if lost:
        raise CheckpointError(
            f"{index}: {len(lost)} tensors are in no shard: {', '.join(lost[:8])}",
            mend="fetch index and shards of the same revision",
        )
    return tensors


def _open(local: str, *, path: epath.Path):
    try:
        return safetensors.safe_open(local, framework="np")
    except (safetensors.SafetensorError, OSError) as e:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({e})", mend="fetch or write the file again"
        ) from e
