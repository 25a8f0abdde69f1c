"""torch's files: read without torch, and nothing in them is run."""

from __future__ import annotations

import collections
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from sg4v_jax.errors import CheckpointError, StorageError
from sg4v_jax.weights import torch_bin


def sample() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "f32": rng.standard_normal((3, 4), np.float32),
        "f16": rng.standard_normal((2, 3, 2)).astype(np.float16),
        "bf16": rng.standard_normal((2, 5)).astype(ml_dtypes.bfloat16),
        "i64": np.arange(3),
        "scalar": np.asarray(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }


def assert_same(read, tensors):
    assert list(read) == list(tensors)
    for name, x in tensors.items():
        assert read.shapes[name] == x.shape and read.dtypes[name] == x.dtype, name
        np.testing.assert_array_equal(read[name], x, err_msg=name)


def test_what_is_written_comes_back(tmp_path):
    torch_bin.write(tmp_path / "x.bin", sample())
    assert_same(torch_bin.read(tmp_path / "x.bin"), sample())


@pytest.mark.torch
def test_torch_reads_what_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    torch_bin.write(tmp_path / "x.bin", sample())
    loaded = torch.load(tmp_path / "x.bin", weights_only=True)
    assert list(loaded) == list(sample())
    for name, x in sample().items():
        assert str(loaded[name].dtype).removeprefix("torch.") == str(x.dtype)
        np.testing.assert_array_equal(loaded[name].float().numpy(), x.astype(np.float32))


@pytest.mark.torch
def test_what_torch_saves_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    big = torch.arange(24.0).reshape(4, 6)
    tagged = torch.nn.Parameter(torch.ones(2))
    tagged.tag = "state"
    state = collections.OrderedDict(
        turned=big.T,
        part=big[1:3, 2:4],  # shares a storage, from an offset on
        half=big.to(torch.bfloat16),
        parameter=torch.nn.Parameter(big),
        tagged=tagged,
    )
    state._metadata = {"": {"version": 1}}
    torch.save(state, tmp_path / "x.bin")
    read = torch_bin.read(tmp_path / "x.bin")
    for name, x in state.items():
        np.testing.assert_array_equal(
            read[name].astype(np.float32), x.detach().float().numpy(), err_msg=name
        )


def archive(path, pickled: bytes, *, data: bytes = b"\0" * 8, order: bytes = b"little"):
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("a/data.pkl", pickled)
        z.writestr("a/byteorder", order)
        z.writestr("a/data/0", data)


class Runs:
    """A pickle of this runs a command when it is loaded."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch owned",), r"posix\.system"),
        (eval, ("open('owned', 'w')",), r"__builtin__\.eval"),
        (getattr, (dict, "clear"), r"__builtin__\.getattr"),
        (np.ndarray, ((2,),), r"numpy\.ndarray"),
    ],
)
def test_pickled_code_is_named_and_not_run(tmp_path, monkeypatch, function, arguments, named):
    monkeypatch.chdir(tmp_path)
    archive("x.bin", pickle.dumps({"a": Runs(function, *arguments)}, protocol=2))
    with pytest.raises(CheckpointError, match=rf"x\.bin: its pickle names {named}, which is code"):
        torch_bin.read("x.bin")
    assert not (tmp_path / "owned").exists()


def storage(*, offset: int, shape: tuple, strides: tuple, count: int = 2) -> bytes:
    """The pickle of one f32 tensor over storage 0."""
    rebuild = pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n"
    kind = pickle.GLOBAL + b"torch\nFloatStorage\n"

    def plain(value) -> bytes:
        return pickle.dumps(value, protocol=2)[2:-1]

    persistent = (
        pickle.MARK + plain("storage") + kind + plain("0") + plain("cpu") + plain(count)
    ) + pickle.TUPLE
    arguments = pickle.MARK + persistent + pickle.BINPERSID + plain(offset)
    arguments += plain(shape) + plain(strides) + plain(False) + plain(None) + pickle.TUPLE
    head = pickle.PROTO + b"\2" + pickle.EMPTY_DICT + pickle.MARK + plain("x")
    return head + rebuild + arguments + pickle.REDUCE + pickle.SETITEMS + pickle.STOP


def test_a_crafted_tensor_within_its_storage_is_read(tmp_path):
    data = np.array([3, 4], np.float32).tobytes()
    archive(tmp_path / "x.bin", storage(offset=0, shape=(2,), strides=(1,)), data=data)
    np.testing.assert_array_equal(torch_bin.read(tmp_path / "x.bin")["x"], [3, 4])


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 1, "shape": (2,), "strides": (1,)},
        {"offset": 0, "shape": (2,), "strides": (1000,)},
        {"offset": -1, "shape": (2,), "strides": (1,)},
        {"offset": 0, "shape": (2,), "strides": (-1,)},
        {"offset": 0, "shape": (2, 2), "strides": (1,)},
        {"offset": 0, "shape": (2,), "strides": (1,), "count": 3},
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path, wrong):
    archive(tmp_path / "x.bin", storage(**wrong))
    with pytest.raises(CheckpointError, match=r"x\.bin: its pickle cannot be read"):
        torch_bin.read(tmp_path / "x.bin")


def test_what_is_not_tensors_by_name_is_said(tmp_path):
    archive(tmp_path / "x.bin", pickle.dumps([1], protocol=2))
    with pytest.raises(CheckpointError, match="holds a list, not tensors by name"):
        torch_bin.read(tmp_path / "x.bin")
    archive(tmp_path / "x.bin", pickle.dumps({"epoch": 3}, protocol=2))
    with pytest.raises(CheckpointError, match="'epoch' is a int, not a tensor"):
        torch_bin.read(tmp_path / "x.bin")


@pytest.mark.parametrize("keep", [0, 100, -40])
def test_truncated_files_are_named(tmp_path, keep):
    path = tmp_path / "x.bin"
    torch_bin.write(path, sample())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"x\.bin: not a whole torch file"):
        torch_bin.read(path)


def test_other_formats_are_said(tmp_path):
    (tmp_path / "old.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"before 1\.6"):
        torch_bin.read(tmp_path / "old.bin")
    archive(tmp_path / "big.bin", pickle.dumps({}, protocol=2), order=b"big")
    with pytest.raises(CheckpointError, match="big-endian"):
        torch_bin.read(tmp_path / "big.bin")
    with pytest.raises(CheckpointError, match="no such file"):
        torch_bin.read(tmp_path / "absent.bin")


def test_a_full_disk_leaves_the_earlier_file(tmp_path, small_disk):
    path = tmp_path / "x.bin"
    torch_bin.write(path, {"x": np.ones(2, np.float32)})
    with small_disk(2000), pytest.raises(StorageError, match=r"cannot write .*x\.bin"):
        torch_bin.write(path, {"x": np.ones(5000, np.float32)})
    np.testing.assert_array_equal(torch_bin.read(path)["x"], np.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]
