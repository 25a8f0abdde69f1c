"""Bit-exact round trips through files, for every layout and dtype, and what a rewrite may not do."""

from __future__ import annotations

import dataclasses
import weakref

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from sg4v_jax.errors import CheckpointError, ConfigError, StorageError
from sg4v_jax.weights import (
    assemble,
    export_model,
    import_model,
    orbax_params,
    shards,
    store,
    torch_bin,
    video_lm,
)
from sg4v_jax.weights.source import open_source
from sg4v_jax.weights.views import Param, TorchView, params_from

DTYPES = {"bfloat16": np.uint16, "float16": np.uint16, "float32": np.uint32}


def bits(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).view(DTYPES[str(x.dtype)])


def with_odd_numbers(model):
    """The model with NaN, infinities, subnormal numbers and both zeros in one matrix."""
    path = "llm.layers.mlp.up_proj.kernel"
    x = model.params[path].whole()
    x[0, 0, :6] = [np.nan, np.inf, -np.inf, -0.0, 0.0, ml_dtypes.finfo(x.dtype).smallest_subnormal]
    return dataclasses.replace(model, params=model.params | params_from({path: x}, model.skeleton))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("names", video_lm.LAYOUTS)
def test_every_layout_round_trips_bit_by_bit(random_model, tmp_path, names, dtype):
    model = with_odd_numbers(random_model(dtype=dtype))
    parts = tuple(video_lm.LAYOUTS[names].signs)
    cut = video_lm.only(model.skeleton, parts)
    params = {path: model.params[path] for path in cut.shapes}
    table = video_lm.table(model.settings.config, layout=names, parts=parts)
    shards.write(tmp_path, TorchView(params, table, cut), limit=50_000)
    source = open_source(tmp_path)
    assert (source.layout, set(source.parts)) == (names, set(parts))
    back = source.params(model.skeleton, tied=False)
    assert back.keys() == params.keys()
    for path, param in params.items():
        assert back[path].dtype == param.dtype
        np.testing.assert_array_equal(bits(back[path].whole()), bits(param.whole()), err_msg=path)


@pytest.mark.parametrize("dtype", DTYPES)
def test_import_and_export_change_no_bit(random_model, tmp_path, dtype):
    model = with_odd_numbers(random_model(dtype=dtype))
    export_model.write(model, tmp_path / "a", layout="llava", shard_size="30KB")
    imported = assemble.model(assemble.Request(source=str(tmp_path / "a")))
    import_model.write(imported, tmp_path / "model")
    again = assemble.model(assemble.Request(source=str(tmp_path / "model")))
    export_model.write(again, tmp_path / "b", layout="llava", shard_size="30KB")
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert again.settings.config == model.settings.config
    assert again.settings.inputs == model.settings.inputs


def test_a_torch_file_imports_as_its_safetensors(checkpoints, random_model, tmp_path):
    source = open_source(checkpoints("llava"))
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((source.folder / name).read_bytes())
    torch_bin.write(tmp_path / "pytorch_model.bin", dict(source.tensors))
    model, expected = assemble.model(assemble.Request(source=str(tmp_path))), random_model()
    assert model.settings.config == expected.settings.config
    for path, param in expected.params.items():
        np.testing.assert_array_equal(model.params[path].whole(), param.whole(), err_msg=path)


@pytest.mark.parametrize(("dtype", "numpy"), [("bfloat16", ml_dtypes.bfloat16), (None, np.float32)])
def test_dtype_is_asked_for_or_kept(random_model, tmp_path, dtype, numpy):
    model = random_model()
    import_model.write(model, tmp_path / "model", dtype=dtype)
    loaded = orbax_params.load(tmp_path / "model")
    for path, param in model.params.items():
        assert loaded[path].dtype == numpy
        np.testing.assert_array_equal(np.asarray(loaded[path]), param.whole().astype(numpy))


def test_the_import_is_a_plain_orbax_checkpoint_on_any_mesh(random_model, tmp_path):
    model = random_model(dtype="bfloat16")
    import_model.write(model, tmp_path / "model")
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    spec = {2: ("x", "y"), 3: (None, "x", "y")}
    shardings = {
        path: jax.sharding.NamedSharding(mesh, jax.P(*spec.get(len(p.shape), ())))
        for path, p in model.params.items()
        if path in ("llm.layers.mlp.up_proj.kernel", "projector.linear_2.kernel")
    }
    loaded = orbax_params.load(tmp_path / "model", sharding_of=shardings.get)
    for path, sharding in shardings.items():
        assert loaded[path].sharding == sharding
        np.testing.assert_array_equal(np.asarray(loaded[path]), model.params[path].whole())
    from orbax.checkpoint.experimental import v1 as ocp

    plain = ocp.load(tmp_path / "model" / "params")
    assert plain.keys() == model.params.keys()
    np.testing.assert_array_equal(
        plain["llm.embed_tokens"], model.params["llm.embed_tokens"].whole()
    )


@pytest.mark.parametrize(("shape", "expected"), [((4096, 14336), [512, 896]), ((3,), [3])])
def test_chunks_are_at_most_a_megabyte(shape, expected):
    assert orbax_params.chunk_shape(shape, itemsize=2) == expected


def test_a_lost_file_of_the_import_is_an_error_and_not_zeros(random_model, tmp_path):
    import_model.write(random_model(), tmp_path / "model")
    array = tmp_path / "model" / "params" / "state" / "llm.norm.scale"
    (array / "zarr.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        orbax_params.load(tmp_path / "model")


def test_shards_are_planned_by_size_and_readable_by_the_library(tmp_path):
    assert shards.plan({"a": 3, "b": 2, "c": 4, "d": 9}, limit=5) == [["a", "b"], ["c"], ["d"]]
    assert shards.parse_size("5GB") == 5 * 10**9 and shards.parse_size("1.5 MiB") == 3 * 2**19
    for wrong in ("five", "5XB", "0", "-1GB", ""):
        with pytest.raises(ConfigError, match="is no size"):
            shards.parse_size(wrong)
    rng = np.random.default_rng(0)
    arrays = {  # a dtype of two bytes before one of four, of odd length
        "half": rng.standard_normal(3).astype(np.float16),
        "turned": rng.standard_normal((1000, 700)).astype(np.float32).T,
        "scalar": np.asarray(1.5, np.float32),
    }
    assert shards.write(tmp_path, _Shaped(arrays), limit=10**9) == ["model.safetensors"]
    read = load_file(tmp_path / "model.safetensors")
    for name, x in arrays.items():
        np.testing.assert_array_equal(read[name], x, err_msg=name)


class _Shaped(dict):
    @property
    def shapes(self):
        return {n: x.shape for n, x in self.items()}

    @property
    def dtypes(self):
        return {n: x.dtype for n, x in self.items()}


@pytest.mark.parametrize("what", ["import", "export"])
def test_a_full_disk_leaves_nothing_behind(random_model, tmp_path, small_disk, what):
    model, out = random_model(), tmp_path / "out"
    with small_disk(6000), pytest.raises(StorageError, match="cannot write"):
        if what == "import":
            import_model.write(model, out)
        else:
            export_model.write(model, out, layout="llava")
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_said_before_the_work(random_model, tmp_path):
    model = random_model()
    huge = Param((1 << 50,), np.dtype(np.float32), None, lambda _: pytest.fail("was read"))
    model = dataclasses.replace(model, params=dict(model.params) | {"llm.norm.scale": huge})
    with pytest.raises(StorageError, match=r"GB free, .* GB are needed"):
        import_model.write(model, tmp_path / "out")


def test_what_is_there_is_not_overwritten(random_model, tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        import_model.write(random_model(), tmp_path)
    with pytest.raises(ConfigError, match="is there already"):
        export_model.write(random_model(), tmp_path, layout="hf")
    assert [p.name for p in tmp_path.iterdir()] == ["keep.txt"]


def test_a_failure_in_the_middle_never_looks_whole(random_model, tmp_path):
    model = random_model()
    last = list(model.params)[-1]

    def fail(layer):
        raise KeyboardInterrupt

    broken = dataclasses.replace(model.params[last], read=fail)
    broken = dataclasses.replace(model, params=dict(model.params) | {last: broken})
    for write in (import_model.write, lambda m, out: export_model.write(m, out, layout="llava")):
        with pytest.raises(KeyboardInterrupt):
            write(broken, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError):
        store.load_settings(tmp_path / "out")


def test_the_next_attempt_removes_what_a_killed_one_left(random_model, tmp_path):
    (tmp_path / "out.tmp-999999999").mkdir()
    import_model.write(random_model(), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("what", ["import", "export"])
def test_three_pieces_at_most_are_in_memory_at_once(random_model, tmp_path, what):
    model, alive, most = random_model(num_hidden_layers=12), weakref.WeakSet(), []

    class Tracked(np.ndarray):
        """Hashable, so that a weak set can hold it."""

        __hash__ = object.__hash__

    def tracked(param):
        def read(layer):
            piece = param.read(layer).copy().view(Tracked)
            alive.add(piece)
            most.append(len(alive))
            return piece

        return dataclasses.replace(param, read=read)

    params = {path: tracked(param) for path, param in model.params.items()}
    model = dataclasses.replace(model, params=params)
    if what == "import":
        import_model.write(model, tmp_path / "out")
    else:
        export_model.write(model, tmp_path / "out", layout="llava")
    assert len(most) > 150 and max(most) <= 3
