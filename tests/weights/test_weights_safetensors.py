"""safetensors files: what is written comes back, and damaged ones say what is wrong."""

from __future__ import annotations

import json
import pathlib
import shutil

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from sg4v_jax.errors import CheckpointError, StorageError, UnsafePathError
from sg4v_jax.weights import safetensors_io
from sg4v_jax.weights import tensors as tensors_module


def sample() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "f32": rng.standard_normal((3, 4), np.float32),
        "bf16": rng.standard_normal((2, 5)).astype(ml_dtypes.bfloat16),
        "turned": rng.standard_normal((4, 3), np.float32).T,
        "scalar": np.asarray(2.5, np.float32),
    }


def sharded(folder: pathlib.Path) -> dict[str, np.ndarray]:
    tensors = sample()
    places = {n: f"model-{1 + i % 2}-of-2.safetensors" for i, n in enumerate(tensors)}
    for shard in set(places.values()):
        safetensors_io.write(folder / shard, {n: tensors[n] for n in tensors if places[n] == shard})
    (folder / safetensors_io.INDEX).write_text(json.dumps({"weight_map": places}))
    return tensors


def assert_same(read, tensors):
    assert set(read) == set(tensors) and len(read) == len(tensors)
    for name, x in tensors.items():
        assert read.shapes[name] == x.shape and read[name].dtype == x.dtype, name
        np.testing.assert_array_equal(read[name], x, err_msg=name)


def test_a_file_comes_back_with_shapes_dtypes_and_metadata(tmp_path):
    path, tensors = tmp_path / "x.safetensors", sample()
    safetensors_io.write(path, tensors, metadata={"from": "a test"})
    read = safetensors_io.read(path)
    assert_same(read, tensors)
    assert read.metadata == {"format": "pt", "from": "a test"}
    assert_same(safetensors_io.read(tmp_path), tensors)  # a folder with this one file
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_jax_arrays_are_written_as_the_library_reads_them(tmp_path):
    path, x = tmp_path / "x.safetensors", jnp.arange(6.0).reshape(2, 3)
    safetensors_io.write(path, {"x": x, "half": x.astype(jnp.bfloat16)})
    read = load_file(path)
    np.testing.assert_array_equal(read["x"], np.asarray(x))
    assert read["half"].dtype == ml_dtypes.bfloat16


def test_a_sharded_folder_is_one_mapping(tmp_path):
    tensors = sharded(tmp_path)
    assert_same(safetensors_io.read(tmp_path), tensors)


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        safetensors_io.read(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"0 \.safetensors files"):
        safetensors_io.read(tmp_path)


def test_two_files_without_an_index_are_refused(tmp_path):
    sharded(tmp_path)
    (tmp_path / safetensors_io.INDEX).unlink()
    with pytest.raises(CheckpointError, match=r"2 \.safetensors files and no model"):
        safetensors_io.read(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_truncated_files_are_named(tmp_path, keep):
    path = tmp_path / "x.safetensors"
    safetensors_io.write(path, sample())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"x\.safetensors: not a whole safetensors file"):
        safetensors_io.read(path)


def test_missing_shards_are_named_together(tmp_path):
    sharded(tmp_path)
    for shard in tmp_path.glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(CheckpointError, match=r"2 of 2 shards are missing: model-1-.*model-2-"):
        safetensors_io.read(tmp_path)


def test_index_and_shards_must_agree(tmp_path):
    sharded(tmp_path)
    index = tmp_path / safetensors_io.INDEX
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": places | {"ghost": "model-1-of-2.safetensors"}}))
    with pytest.raises(CheckpointError, match="1 tensors are in no shard: ghost"):
        safetensors_io.read(tmp_path)
    shutil.copy(tmp_path / "model-1-of-2.safetensors", tmp_path / "model-2-of-2.safetensors")
    with pytest.raises(CheckpointError, match="is also in another shard"):
        safetensors_io.read(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"metadata": {}}', '{"weight_map": []}'])
def test_a_damaged_index_is_named(tmp_path, content):
    (tmp_path / safetensors_io.INDEX).write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json: no 'weight_map'"):
        safetensors_io.read(tmp_path)


def test_an_index_cannot_lead_out_of_its_folder(tmp_path):
    index = {"weight_map": {"x": "../x.safetensors"}}
    (tmp_path / safetensors_io.INDEX).write_text(json.dumps(index))
    with pytest.raises(UnsafePathError, match="weight_map"):
        safetensors_io.read(tmp_path)


def test_a_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    safetensors_io.write(path, {"x": np.ones(2)})

    def refuse(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(safetensors_io.files.path(path)), "replace", refuse)
    with pytest.raises(StorageError, match="No space left"):
        safetensors_io.write(path, {"x": np.zeros(2)})
    np.testing.assert_array_equal(safetensors_io.read(path)["x"], np.ones(2))


class RemotePath(type(pathlib.PurePosixPath())):
    """Stands for an object-store path: it can be copied, not mapped into memory."""

    source: pathlib.Path

    def __fspath__(self):
        return f"gs://bucket/{self.name}"

    def copy(self, target):
        shutil.copy(self.source, target)


def test_remote_files_are_copied_for_the_life_of_the_mapping(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tensors_module.tempfile, "tempdir", str(folder))
    remote = RemotePath("x.safetensors")
    remote.source = tmp_path / "x.safetensors"
    tensors = sample()
    safetensors_io.write(remote.source, tensors)
    read = tensors_module.Tensors([remote], reader=safetensors_io.open_file)
    assert len(list(folder.rglob("x.safetensors"))) == 1
    assert_same(read, tensors)
    del read
    assert not list(folder.iterdir())
