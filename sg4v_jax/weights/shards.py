"""Sharded safetensors written tensor by tensor: the header first, then the data as it comes."""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures

import jax
import numpy as np

from sg4v_jax import files
from sg4v_jax.errors import ConfigError
from sg4v_jax.weights.safetensors_io import DTYPES, INDEX

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_BUFFER = 1 << 24  # bytes that are laid out at once


def parse_size(text: str) -> int:
    """`5GB` -> 5_000_000_000 bytes; also KB, MB, KiB, MiB, GiB and plain bytes.

    Raises:
      ConfigError: not such a text, or zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    size = int(float(match[1]) * _UNITS.get(match[2].upper(), 0)) if match else 0
    if size < 1:
        raise ConfigError(f"shard size {text!r} is no size", mend="write it like 5GB or 500MB")
    return size


def plan(sizes: Mapping[str, int], *, limit: int) -> list[list[str]]:
    """Names in order, cut into shards of at most `limit` bytes; a larger tensor stands alone.

    plan({"a": 3, "b": 2, "c": 4}, limit=5) -> [["a", "b"], ["c"]]
    """
    shards, room = [], 0
    for name, size in sizes.items():
        if not shards or size > room:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    return shards


def write(
    folder: str | os.PathLike,
    tensors: Mapping[str, np.ndarray],
    *,
    limit: int,
    progress: Callable[[int], None] = lambda written: None,
) -> list[str]:
    """Writes `tensors` to `folder` as `model*.safetensors`, with an index where there are several.

    Not atomic: the caller gives a temporary folder and renames it.

    Args:
      tensors: with `shapes` and `dtypes`; each is asked for once, in order.
      limit: bytes a shard.
      progress: called with the bytes written since the last call.

    Returns:
      The names of the files, the index included.

    Raises:
      OSError: the disk is full or not writable.
    """
    sizes = {n: math.prod(s) * tensors.dtypes[n].itemsize for n, s in tensors.shapes.items()}
    shards = plan(sizes, limit=limit)
    count, weight_map = len(shards), {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{count:05}.safetensors" if count > 1 else "model.safetensors"
        # Wide numbers first, so that each tensor is aligned to its own width.
        names = sorted(names, key=lambda n: -tensors.dtypes[n].itemsize)
        _write_file(files.path(folder) / file, names, tensors, sizes=sizes, progress=progress)
        weight_map |= dict.fromkeys(names, file)
    if count == 1:
        return ["model.safetensors"]
    index = {
        "metadata": {"total_size": sum(sizes.values())},
        "weight_map": {n: weight_map[n] for n in sorted(weight_map)},
    }
    files.write_json(files.path(folder) / INDEX, index)
    return [*sorted(set(weight_map.values())), INDEX]


def _write_file(path, names: Sequence[str], tensors, *, sizes, progress) -> None:
    codes = {dtype: code for code, dtype in DTYPES.items()}
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        start, end = end, end + sizes[name]
        header[name] = {
            "dtype": codes[tensors.dtypes[name]],
            "shape": list(tensors.shapes[name]),
            "data_offsets": [start, end],
        }
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        for tensor in _one_ahead(tensors, names):
            for block in _blocks(tensor):
                f.write(block)
                progress(block.nbytes)
            del tensor, block  # before the next one but one is read
        f.flush()
        os.fsync(f.fileno())


def _one_ahead(tensors: Mapping[str, np.ndarray], names: Sequence[str]) -> Iterator[np.ndarray]:
    """The tensors in order, the next one read by a thread while the caller has this one."""
    with futures.ThreadPoolExecutor(1) as pool:
        reading = None
        for name in names:
            reading, ready = pool.submit(tensors.__getitem__, name), reading
            if ready is not None:
                yield ready.result()
            del ready
        yield reading.result()


def _blocks(x: np.ndarray) -> Iterator[memoryview]:
    """The bytes of `x` in C order; of a transposed matrix some rows at a time, so that it is laid
    out without a second copy of it."""
    if x.flags.c_contiguous or x.ndim < 2:
        yield _bytes(np.ascontiguousarray(x))
        return
    rows = max(1, _BUFFER // max(1, x[:1].nbytes))
    for start in range(0, len(x), rows):
        yield _bytes(_dense(x[start : start + rows]))


def _dense(x: np.ndarray) -> np.ndarray:
    """`x` in C order. XLA turns a matrix some ten times faster than numpy's strided copy."""
    whole_number = {2: np.uint16, 4: np.uint32}.get(x.itemsize)
    if whole_number is None:
        return np.ascontiguousarray(x)
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # the process has an accelerator's backend alone
        return np.ascontiguousarray(x)
    return np.ascontiguousarray(jax.device_put(x.view(whole_number), device))


def _bytes(x: np.ndarray) -> memoryview:
    return memoryview(x.reshape(-1).view(np.uint8))
