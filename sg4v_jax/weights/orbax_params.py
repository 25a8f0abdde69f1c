"""Parameters alone as an Orbax checkpoint, written and read one layer's matrix at a time.

Orbax saves a tree that is in memory, which an 8B model need not be. So Orbax itself saves the
tree with one number in place of each array, and TensorStore then puts the real arrays in their
places in the same format (zarr3, a shard file a layer, chunks of a megabyte, uncompressed).
`ocp.load` reads the result like any other checkpoint, each host its own byte ranges.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_dtypes  # noqa: F401  TensorStore and numpy know `bfloat16` once this is imported
import numpy as np
import tensorstore as ts
from etils import epath
from orbax.checkpoint.experimental import v1 as ocp

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, Sg4vError, StorageError
from sg4v_jax.weights.views import Params

FOLDER = "params"  # in a model directory
CHUNK = 1 << 20  # bytes that are read at once, at most
_TREE = "state"  # Orbax's name for the tree's folder


def write(
    folder: str | os.PathLike,
    params: Params,
    *,
    progress: Callable[[int], None] = lambda written: None,
) -> None:
    """Writes `params` to `folder/params`, whole or not at all; an earlier one is replaced.

    Args:
      folder: the model directory, on a local disk or a mounted one.
      progress: called with the bytes written since the last call.

    Raises:
      StorageError: the disk is full or not writable; an earlier checkpoint is unchanged.
    """
    target = files.absolute(folder) / FOLDER
    temporary = target.parent / f"{FOLDER}.tmp-{os.getpid()}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        placeholders = {path: np.zeros((1,), p.dtype) for path, p in params.items()}
        with _quiet(), _context():
            ocp.save(os.fspath(temporary), placeholders)
        for path, param in params.items():
            shutil.rmtree(temporary / _TREE / path)
            _write_array(temporary / _TREE / path, param, progress=progress)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except Exception as e:  # TensorStore raises ValueError and others for a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(e, Sg4vError):
            raise
        text = str(e).strip().splitlines()[0][:300]
        raise StorageError(
            f"cannot write {target}: {text}",
            mend="free some space or choose another folder",
        ) from e


def _write_array(path: epath.Path, param, *, progress: Callable[[int], None]) -> None:
    stacked = param.layers is not None
    piece_shape = param.shape[1:] if stacked else param.shape
    inner = chunk_shape(piece_shape, itemsize=param.dtype.itemsize)
    # A shard is made of whole chunks, so it may reach beyond the array.
    outer = [n * -(-size // n) for n, size in zip(inner, piece_shape, strict=True)]
    lead = [1] if stacked else []
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
    sharding = {
        "chunk_shape": lead + inner,
        "codecs": codecs,
        "index_codecs": [*codecs, {"name": "crc32c"}],
    }
    grid = {"name": "regular", "configuration": {"chunk_shape": lead + outer}}
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": os.fspath(path)},
        "metadata": {
            "shape": list(param.shape),
            "data_type": param.dtype.name,
            "chunk_grid": grid,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "fill_value": 0.0,
        },
        # Zeros are stored too, so that a lost file is an error and not zeros.
        "store_data_equal_to_fill_value": True,
    }
    array = ts.open(ts.Spec(spec), create=True).result()
    # Two layers at a time: one is read and turned while the other goes to the disk.
    writing: list[tuple[ts.WriteFutures, int]] = []
    for layer, piece in param.pieces():
        writing.append(((array if layer is None else array[layer]).write(piece), piece.nbytes))
        del piece
        if len(writing) == 2:
            _finish(writing.pop(0), progress=progress)
    for each in writing:
        _finish(each, progress=progress)


def _finish(writing: tuple[ts.WriteFutures, int], *, progress: Callable[[int], None]) -> None:
    future, size = writing
    future.result()
    progress(size)


def chunk_shape(shape: tuple[int, ...], *, itemsize: int) -> list[int]:
    """The longest axis is halved until a chunk has at most `CHUNK` bytes.

    chunk_shape((4096, 14336), itemsize=2) -> [512, 896]
    """
    chunk = [max(n, 1) for n in shape]
    while math.prod(chunk) * itemsize > CHUNK:
        axis = chunk.index(max(chunk))
        chunk[axis] = -(-chunk[axis] // 2)
    return chunk


class Stored:
    """An array on disk: `x[layer]` or `numpy.asarray(x)` reads just that."""

    def __init__(self, array: ts.TensorStore):
        self._array = array
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype.numpy_dtype)

    def __getitem__(self, layer: int) -> np.ndarray:
        return self._array[layer].read().result()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self._array.read().result(), dtype)


def is_there(folder: str | os.PathLike) -> bool:
    """Whether `folder` has parameters that `write` wrote."""
    return (files.path(folder) / FOLDER / _TREE).is_dir()


def read(folder: str | os.PathLike) -> dict[str, Stored]:
    """The parameters in `folder/params` by path, none of them read yet.

    Raises:
      CheckpointError: there are none, or one is damaged.
    """
    tree = files.absolute(folder) / FOLDER / _TREE
    if not tree.is_dir():
        raise CheckpointError(
            f"{folder}: no {FOLDER}", mend="write them with `sg4v convert import`"
        )
    paths = sorted(p.name for p in tree.iterdir() if p.is_dir())
    try:
        opened = {
            path: ts.open(
                {"driver": "zarr3", "kvstore": {"driver": "file", "path": os.fspath(tree / path)}},
                open=True,
            )
            for path in paths
        }
        return {path: Stored(future.result()) for path, future in opened.items()}
    except Exception as e:  # TensorStore raises ValueError and others for damage
        raise CheckpointError(
            f"{tree}: the parameters cannot be read ({str(e)[:200]})", mend="import them again"
        ) from e


def load(
    folder: str | os.PathLike,
    *,
    dtype_of: Callable[[str, np.dtype], Any] = lambda path, stored: stored,
    sharding_of: Callable[[str], jax.sharding.Sharding | None] = lambda path: None,
) -> dict[str, jax.Array]:
    """The parameters on devices, each process reading what its devices hold.

    Args:
      dtype_of: (path, stored dtype) -> dtype of the result.
      sharding_of: path -> where it goes, None for the first local device.

    Raises:
      CheckpointError: there are none, or one is damaged.
    """
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {
        path: jax.ShapeDtypeStruct(
            x.shape, dtype_of(path, x.dtype), sharding=sharding_of(path) or here
        )
        for path, x in read(folder).items()
    }
    target = files.absolute(folder) / FOLDER
    try:
        with _quiet(), _context():
            return ocp.load(os.fspath(target), wanted)
    except Exception as e:  # Orbax and TensorStore raise many types for a damaged file
        raise CheckpointError(
            f"{target}: the parameters cannot be read ({type(e).__name__}: {str(e)[:200]})",
            mend="import them again",
        ) from e


def _context() -> ocp.Context:
    context: Any = ocp.Context()
    context.array.saving.use_ocdbt = False
    context.array.saving.use_zarr3 = True
    context.array.saving.use_compression = False
    return context


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Orbax's warnings that there is nothing of its other format (OCDBT) to merge."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
