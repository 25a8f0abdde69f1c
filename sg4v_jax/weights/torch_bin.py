"""torch's own files (`.bin`, `.pt`, `.pth`): read without torch and without running their code.

Such a file is a zip archive: `data.pkl` is a pickle that says which tensor is which part of which
storage, and every storage is one uncompressed member. A pickle is a program, so this one runs in
an `Unpickler` that knows the literal list below and nothing else: rebuilding a tensor makes an
`Entry`, and no byte of a storage is touched.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import NamedTuple

import ml_dtypes
import numpy as np
from etils import epath

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, StorageError
from sg4v_jax.weights.tensors import Entry, Opened, Tensors

_STORAGES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


def read(name: str | os.PathLike) -> Tensors:
    """The tensors of one file, mapped when asked for.

    Raises:
      CheckpointError: the file is missing, damaged, of torch's format before 1.6, holds
        something that is not a tensor, or its pickle names a global outside the list.
    """
    path = files.path(name)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file", mend="check the path")
    return Tensors([path], reader=open_file)


def open_file(local: str, *, path: epath.Path) -> Opened:
    """Where the tensors of one file lie; `path` is its name for messages."""
    try:
        with zipfile.ZipFile(local) as archive:
            members = _members(archive, path=path)
            pickled = archive.read(members["data.pkl"].name)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError) as e:
        raise CheckpointError(
            f"{path}: not a whole torch file in zip format ({e})",
            mend="fetch it again; a file that torch before 1.6 wrote must be saved anew",
        ) from e
    try:
        found = _Unpickler(pickled, members, path=path).load()
    except CheckpointError:
        raise
    except Exception as e:  # a damaged or hostile pickle fails in any way
        raise CheckpointError(
            f"{path}: its pickle cannot be read ({type(e).__name__}: {e})", mend="fetch it again"
        ) from e
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{path}: holds a {type(found).__name__}, not tensors by name",
            mend="save the model's state_dict()",
        )
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Entry):
            raise CheckpointError(
                f"{path}: {key!r:.80} is a {type(value).__name__}, not a tensor",
                mend="save the model's state_dict() alone",
            )
    return Opened(found, {})


class _Member(NamedTuple):
    name: str  # in the archive
    start: int  # of its data in the file
    size: int


def _members(archive: zipfile.ZipFile, *, path: epath.Path) -> dict[str, _Member]:
    """Members without their common folder: `data.pkl`, `data/0`, ..."""
    members = {}
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"{path}: member {info.filename} is compressed", mend="save it with torch.save"
            )
        archive.fp.seek(info.header_offset)
        header = archive.fp.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise zipfile.BadZipFile(f"no header for {info.filename}")
        name_size, extra_size = struct.unpack("<HH", header[26:30])
        start = info.header_offset + 30 + name_size + extra_size
        members[info.filename.partition("/")[2]] = _Member(info.filename, start, info.file_size)
    if "byteorder" in members and archive.read(members["byteorder"].name).strip() != b"little":
        raise CheckpointError(f"{path}: is big-endian", mend="save it on a little-endian machine")
    return members


class _Storage(NamedTuple):
    dtype: np.dtype
    start: int
    size: int


def _rebuild_tensor(storage, offset, shape, stride, *_):
    item = storage.dtype.itemsize
    strides = tuple(int(s) * item for s in stride)
    shape = tuple(int(n) for n in shape)
    entry = Entry(storage.start + int(offset) * item, storage.dtype, shape, strides)
    bad = min((*shape, *strides, int(offset)), default=0) < 0 or len(shape) != len(strides)
    if bad or entry.offset + entry.extent > storage.start + storage.size:
        raise ValueError(f"a tensor {shape} with strides {stride} leaves its storage")
    return entry


def _rebuild_parameter(entry, *_):
    return entry


# All that a pickle may name.
_GLOBALS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickled: bytes, members: Mapping[str, _Member], *, path: epath.Path):
        super().__init__(io.BytesIO(pickled))
        self._members, self._path = members, path

    def find_class(self, module: str, name: str):
        if (module, name) not in _GLOBALS:
            raise CheckpointError(
                f"{self._path}: its pickle names {module}.{name}, which is code and is not run",
                mend="get the weights as safetensors, or save the state_dict() alone",
            )
        return _GLOBALS[module, name]

    def persistent_load(self, pid) -> _Storage:
        kind, dtype, key, _, count = pid
        member = self._members.get(f"data/{key}")
        if kind != "storage" or member is None:
            raise ValueError(f"no storage {key!r}")
        if member.size != count * dtype.itemsize:
            raise ValueError(f"storage {key} has {member.size} bytes, not {count} of {dtype}")
        return _Storage(dtype, member.start, member.size)


def write(name: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes `tensors` as `torch.save` would, whole or not at all.

    For the small files that the original's loader wants so (`non_lora_trainables.bin`).

    Raises:
      StorageError: the file cannot be written; an earlier one is unchanged.
    """
    target = files.path(name)
    temporary = target.parent / f"{target.name}.tmp-{os.getpid()}"
    arrays = {n: np.asarray(x, order="C") for n, x in tensors.items()}
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr("archive/data.pkl", _pickled(arrays))
            archive.writestr("archive/byteorder", "little")
            for i, x in enumerate(arrays.values()):
                archive.writestr(f"archive/data/{i}", x.tobytes())
            archive.writestr("archive/version", "3\n")
        temporary.replace(target)
    except OSError as e:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {target}: {e.strerror or e}",
            mend="free some space or choose another folder; the earlier file is unchanged",
        ) from e


def _pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle of a state_dict, opcode by opcode: its globals are torch's, which is not here."""
    storages = {dtype: name for name, dtype in _STORAGES.items()}

    def text(value: str) -> bytes:
        raw = value.encode()
        return pickle.BINUNICODE + struct.pack("<I", len(raw)) + raw

    def integer(value: int) -> bytes:
        raw = value.to_bytes(9, "little", signed=True)
        return pickle.LONG1 + bytes([len(raw)]) + raw

    def sequence(*items: bytes) -> bytes:
        return pickle.MARK + b"".join(items) + pickle.TUPLE

    def named(module: str, name: str) -> bytes:
        return pickle.GLOBAL + f"{module}\n{name}\n".encode()

    out = [pickle.PROTO + b"\2", pickle.EMPTY_DICT, pickle.MARK]
    hooks = named("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    for i, (name, x) in enumerate(arrays.items()):
        kind = named("torch", storages[x.dtype])
        storage = sequence(text("storage"), kind, text(str(i)), text("cpu"), integer(x.size))
        strides = [s // x.itemsize for s in x.strides]
        arguments = sequence(
            storage + pickle.BINPERSID,
            integer(0),
            sequence(*map(integer, x.shape)),
            sequence(*map(integer, strides)),
            pickle.NEWFALSE,
            hooks,
        )
        rebuild = named("torch._utils", "_rebuild_tensor_v2")
        out += [text(name), rebuild, arguments, pickle.REDUCE]
    return b"".join([*out, pickle.SETITEMS, pickle.STOP])
