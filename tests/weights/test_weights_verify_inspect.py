"""Two checkpoints compared number by number, and one looked at by its headers."""

from __future__ import annotations

import dataclasses
import json
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sg4v_jax.errors import CheckpointError
from sg4v_jax.weights import export_model, import_model, tensors
from sg4v_jax.weights.assemble import Request
from sg4v_jax.weights.inspect_model import inspect
from sg4v_jax.weights.verify_model import compare
from sg4v_jax.weights.views import params_from

ALL = ("llm", "tower", "projector", "newline")


def same(a, b):
    return compare(Request(source=str(a)), Request(source=str(b)))


@pytest.fixture
def own(random_model, tmp_path):
    import_model.write(random_model(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("layout", "parts", "count"),
    [("llava", ALL, 81), ("hf", ALL, 81), ("clip", ("tower",), 55), ("llama", ("llm",), 21)],
)
def test_a_model_equals_its_exports(own, checkpoints, layout, parts, count):
    found = same(own, checkpoints(layout))
    assert (found.parts, found.same, found.differences) == (parts, count, ())
    assert same(checkpoints(layout), checkpoints("llava")).differences == ()


def test_one_changed_number_is_found_by_name_and_size(random_model, checkpoints, tmp_path):
    model = random_model()
    path = "llm.layers.self_attn.o_proj.kernel"
    x = model.params[path].whole()
    x[1, 2, 3, 4] += 0.25
    changed = model.params | params_from({path: x}, model.skeleton)
    export_model.write(dataclasses.replace(model, params=changed), tmp_path / "b", layout="hf")
    found = same(checkpoints("llava"), tmp_path / "b")
    [difference] = found.differences
    assert difference.name == "model.layers.1.self_attn.o_proj.weight"
    assert difference.what == "1 of 1024 numbers differ, by up to 0.25"
    assert found.same == 80


def test_dtypes_may_differ_and_rounding_may_not(random_model, checkpoints, tmp_path):
    import_model.write(random_model(dtype="bfloat16"), tmp_path / "half")
    import_model.write(random_model(dtype="bfloat16"), tmp_path / "wide", dtype="float32")
    found = same(tmp_path / "half", tmp_path / "wide")
    assert (found.same, found.recast, found.differences) == (81, 81, ())
    rounded = same(checkpoints("llava"), tmp_path / "half")
    assert len(rounded.differences) > 60


def rewrite(folder, change):
    merged = {}
    for shard in folder.glob("*.safetensors"):
        merged |= load_file(shard)
        shard.unlink()
    (folder / "model.safetensors.index.json").unlink()
    change(merged)
    save_file(merged, folder / "model.safetensors")


def test_missing_unexpected_and_mis_shaped_tensors_differ(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints("hf"), tmp_path / "b")

    def change(t):
        del t["language_model.model.norm.weight"]
        t["extra.weight"] = np.ones(1, np.float32)
        t["image_newline"] = np.ones(31, np.float32)

    rewrite(folder, change)
    found = {d.name: d.what for d in same(checkpoints("llava"), folder).differences}
    assert found == {
        "model.norm.weight": "only in a",
        "extra.weight": "only in b",
        "model.image_newline": "shape (32,) in a, (31,) in b",
    }
    report = inspect(str(folder))
    assert report.missing == ("language_model.model.norm.weight",)
    assert report.unexpected == ("extra.weight",)


def test_nan_equals_nan_and_nothing_else(random_model, tmp_path):
    model, path = random_model(), "projector.linear_1.bias"
    folders = []
    for value in (np.nan, np.nan, 0.0):
        x = model.params[path].whole()
        x[0] = value
        params = model.params | params_from({path: x}, model.skeleton)
        folders.append(tmp_path / str(len(folders)))
        export_model.write(dataclasses.replace(model, params=params), folders[-1], layout="llava")
    assert same(folders[0], folders[1]).differences == ()
    assert [d.what for d in same(folders[0], folders[2]).differences] == [
        "1 of 32 numbers differ, by up to inf"
    ]


def test_nothing_in_common_is_an_error(checkpoints):
    with pytest.raises(CheckpointError, match="part in common"):
        same(checkpoints("clip"), checkpoints("llama"))


def test_inspect_tells_a_checkpoint(checkpoints, random_model):
    report = inspect(str(checkpoints("llava")))
    config = random_model().settings.config
    assert (report.kind, report.layout, report.tensors) == ("checkpoint", "llava", 81)
    sizes = {part: 0 for part in ALL}
    for path, p in random_model().params.items():
        part = "newline" if path == "separators" else path.split(".")[0]
        sizes[part] += p.nbytes // 4
    assert report.parameters == sizes
    assert report.dtypes == {"float32": 81} and report.bytes == 4 * sum(sizes.values())
    assert report.missing == report.unexpected == report.problems == report.absent == ()
    assert report.settings["llm.rope_theta"] == 500000.0
    assert report.settings["tower.image_mean"] == config.tower.image_mean
    assert report.settings["pinpoints"] == config.pinpoints
    assert "adds a bos" in report.facts["tokenizer"]


def test_inspect_tells_what_no_file_says_and_what_contradicts(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints("hf"), tmp_path / "b")
    config = json.loads((folder / "config.json").read_text())
    del config["text_config"]["rope_theta"]
    config["text_config"]["hidden_size"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    report = inspect(str(folder))
    assert report.absent == ("rope_theta",)
    assert "hidden_size is 64, but the shape of" in report.problems[0]
    rows = dict(report.as_rows())
    assert rows["not said by any file"] == "rope_theta" and "contradiction" in rows


def test_inspect_tells_a_model_directory(own):
    report = inspect(str(own))
    assert (report.kind, report.tensors) == ("model directory", 81)
    assert report.missing == report.unexpected == ()


def test_inspect_reads_headers_only(checkpoints, monkeypatch):
    monkeypatch.setattr(tensors.Entry, "map", lambda *_: pytest.fail("a tensor was read"))
    assert inspect(str(checkpoints("llava"))).tensors == 81


def test_inspect_tells_an_adapter(random_model, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    names = {"A": (2, 32), "B": (16, 2)}
    save_file(
        {
            f"base_model.model.model.layers.{i}.self_attn.k_proj.lora_{end}.weight": np.zeros(
                shape, ml_dtypes.bfloat16
            )
            for i in range(2)
            for end, shape in names.items()
        },
        folder / "adapter_model.safetensors",
    )
    config = {"r": 2, "lora_alpha": 4, "base_model_name_or_path": "org/base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    report = inspect(str(folder))
    assert report.layout == "lora" and report.parameters == {"lora": 192}
    rows = dict(report.as_rows())
    assert rows["low-rank branches"] == "rank 2, alpha 4, dropout 0, in 2 k_proj"
    assert rows["base model"] == "org/base" and rows["tokenizer"] == "none"
