"""One name for any model: directories of ours, checkpoints, and their places on a mesh."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.errors import CheckpointError
from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.text.chat import Turn
from sg4v_jax.weights import import_model, store
from sg4v_jax.weights.load import load_model


def assert_is(flat, model, *, dtype="float32"):
    assert flat.keys() == model.params.keys()
    for path, param in model.params.items():
        assert flat[path].dtype == dtype
        expected = param.whole().astype(flat[path].dtype)
        np.testing.assert_array_equal(np.asarray(flat[path]), expected, err_msg=path)


@pytest.mark.parametrize("layout", ["llava", "hf"])
def test_a_checkpoint_loads_without_an_import(checkpoints, random_model, layout):
    settings, flat = load_model(checkpoints(layout))
    assert settings.config == random_model().settings.config
    assert_is(flat, random_model())


def test_an_import_and_a_file_of_ours_load_the_same(random_model, tmp_path):
    model = random_model(dtype="bfloat16")
    import_model.write(model, tmp_path / "import")
    store.save_settings(tmp_path / "file", model.settings)
    flat = {path: jnp.asarray(p.whole()) for path, p in model.params.items()}
    store.save_params(tmp_path / "file", flat, dtype="bfloat16")
    for name in ("import", "file"):
        assert_is(load_model(tmp_path / name)[1], model, dtype="bfloat16")
        assert_is(load_model(tmp_path / name, dtype="float32")[1], model)


def test_shards_go_to_their_devices(checkpoints, random_model):
    mesh = jax.make_mesh((2, 4), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    shardings = {
        "llm.layers.mlp.up_proj.kernel": jax.P("x", None, "y"),
        "projector.linear_2.kernel": jax.P("y", "x"),
    }
    shardings = {p: jax.sharding.NamedSharding(mesh, s) for p, s in shardings.items()}
    flat = load_model(checkpoints("llava"), shardings=shardings)[1]
    assert_is(flat, random_model())
    for path, sharding in shardings.items():
        assert flat[path].sharding == sharding


def test_the_loaded_model_answers(checkpoints):
    engine = Engine(*load_model(checkpoints("hf")))
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    request = Request([Turn("user", "<image>\nWhat happens?")], [picture])
    [answer] = engine.answer([request], max_new_tokens=8)
    assert isinstance(answer, str)
    again = Engine(*load_model(checkpoints("llava"))).answer([request], max_new_tokens=8)
    assert again == [answer]


def test_a_name_of_nothing_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load_model(tmp_path / "absent")
