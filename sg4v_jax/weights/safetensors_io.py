"""Tensors in safetensors files: one file or a sharded folder, read lazily, written whole.

Little-endian header and raw data, no code inside: the one weight format that is safe to open.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError
from sg4v_jax.weights.tensors import Entry, Opened, Tensors, inside, read_index

INDEX = "model.safetensors.index.json"
DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def read(name: str | os.PathLike) -> Tensors:
    """The tensors in a file, or in a folder with one file or an index of shards.

    Args:
      name: `x.safetensors`, or a folder with `model.safetensors.index.json` or a single
        `.safetensors` file; local or `gs://` (which is copied to a temporary folder first).

    Raises:
      CheckpointError: nothing there, shards missing, a damaged file, or an index that names
        tensors which its shards do not have.
      UnsafePathError: a file that is a link out of its folder.
    """
    path = files.path(name)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder", mend="check the path")
    if not path.is_dir():
        return Tensors([path], reader=open_file)
    if (path / INDEX).exists():
        return read_index(path / INDEX, reader=open_file)
    found = sorted(p.name for p in path.iterdir() if p.name.endswith(".safetensors"))
    if len(found) != 1:
        raise CheckpointError(
            f"{path}: {len(found)} .safetensors files and no {INDEX}",
            mend="give a folder with one file, or with shards and their index",
        )
    return Tensors([inside(path, found[0], where=f"{path}")], reader=open_file)


def open_file(local: str, *, path: epath.Path) -> Opened:
    """Where the tensors of one file lie; `path` is its name for messages.

    Raises:
      CheckpointError: not a whole safetensors file, or a dtype that numpy cannot hold.
    """
    try:
        safetensors.safe_open(local, framework="np")  # checks sizes, ranges and overlaps
    except (safetensors.SafetensorError, OSError) as e:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({e})", mend="fetch or write the file again"
        ) from e
    with open(local, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
    metadata = header.pop("__metadata__", {})
    entries = {}
    for name, x in header.items():
        if x["dtype"] not in DTYPES:
            raise CheckpointError(
                f"{path}: tensor {name} has dtype {x['dtype']}, which cannot be read",
                mend=f"save it as one of {', '.join(DTYPES)}",
            )
        start = 8 + length + x["data_offsets"][0]
        entries[name] = Entry(start, DTYPES[x["dtype"]], tuple(x["shape"]))
    return Opened(entries, metadata)


def write(
    name: str | os.PathLike,
    tensors: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes `tensors` (numpy or jax arrays, bfloat16 too) to one file, whole or not at all.

    The file is first made in memory: for models that fit there twice (`shards.py` for others).

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
