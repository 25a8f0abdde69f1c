"""Parameters of a run or a shipped model: which step, in which dtype, on which devices."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sg4v_jax import sharding
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.lora import LoRA
from sg4v_jax.text.tokenizer import train_byte_bpe
from sg4v_jax.train import state
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.weights import safetensors_io
from sg4v_jax.weights.store import (
    ModelSettings,
    anyres_of,
    load_params,
    load_settings,
    save_params,
    save_settings,
)

Q, FC = "llm.layers.self_attn.q_proj", "tower.layers.mlp.fc1"
LORA = LoRA(rank=2, alpha=6.0, dropout=0.05, targets=(r"llm\.layers\.self_attn\.q_proj",))
FROZEN = jnp.bfloat16


def arrays() -> dict[str, jax.Array]:
    """A stack of three matrices with a low-rank branch, and a matrix without."""
    rng = np.random.default_rng(0)
    shapes = {f"{Q}.kernel": (3, 8, 2, 4), f"{Q}.lora_a": (3, 8, 2), f"{Q}.lora_b": (3, 2, 2, 4)}
    flat = {p: jnp.asarray(rng.standard_normal(s), jnp.float32) for p, s in shapes.items()}
    flat[f"{FC}.kernel"] = jnp.asarray(rng.standard_normal((16, 4)), jnp.float32)
    return {p: v if "lora" in p else v.astype(FROZEN) for p, v in flat.items()}


def merged() -> np.ndarray:
    flat = {p: np.asarray(v, np.float64) for p, v in arrays().items()}
    product = np.einsum("lir,lrhk->lihk", flat[f"{Q}.lora_a"], flat[f"{Q}.lora_b"])
    return flat[f"{Q}.kernel"] + LORA.alpha / LORA.rank * product


def describe(folder, lora: LoRA | None) -> None:
    value = {"format": 1} | ({"lora": dataclasses.asdict(lora)} if lora else {})
    (folder / "model.json").write_text(json.dumps(value))


@pytest.fixture(params=["run", "file"])
def folder(request, tmp_path):
    """The same parameters as a run's checkpoint and as a shipped file."""
    describe(tmp_path, LORA)
    if request.param == "file":
        safetensors_io.write(tmp_path / "params.safetensors", jax.device_get(arrays()))
        return tmp_path
    groups = {p: "llm" if "lora" in p else "frozen" for p in arrays()}
    made = state.create(arrays(), groups=groups, optimizer=optax.adam(1e-3))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(made._replace(step=jnp.int32(1)), data={"row": 1})
    checkpoints.close()
    return tmp_path


def test_branches_are_merged_for_inference(folder):
    flat = load_params(folder)
    assert flat.keys() == {f"{Q}.kernel", f"{FC}.kernel"}
    assert flat[f"{Q}.kernel"].dtype == FROZEN
    want = merged().astype(np.float32).astype(FROZEN)
    np.testing.assert_array_equal(np.asarray(flat[f"{Q}.kernel"]), want)


def test_another_dtype_is_rounded_to_after_the_merge(folder):
    flat = load_params(folder, dtype="float32")
    assert {v.dtype for v in flat.values()} == {jnp.dtype("float32")}
    np.testing.assert_allclose(flat[f"{Q}.kernel"], merged(), rtol=1e-5, atol=1e-6)


def test_branches_are_not_rounded_before_the_merge(folder):
    want, got = load_params(folder), load_params(folder, dtype="bfloat16")
    np.testing.assert_array_equal(got[f"{Q}.kernel"], want[f"{Q}.kernel"])


def test_unmerged_is_what_is_stored(folder):
    flat = load_params(folder, merge_lora=False)
    assert flat.keys() == arrays().keys()
    for path, value in arrays().items():
        assert flat[path].dtype == value.dtype
        np.testing.assert_array_equal(flat[path], value, err_msg=path)
    half = load_params(folder, merge_lora=False, dtype="float16")
    assert {v.dtype for v in half.values()} == {jnp.dtype("float16")}


def test_without_branches_in_the_description_nothing_is_merged(folder):
    describe(folder, None)
    assert load_params(folder).keys() == arrays().keys()


@pytest.mark.parametrize("merge_lora", [True, False])
def test_it_goes_straight_to_a_mesh(folder, merge_lora):
    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    where = {
        f"{Q}.kernel": sharding.sharding_for(
            ("layers", "embed", "heads", "none"), shape=(3, 8, 2, 4), mesh=mesh
        ),
        f"{FC}.kernel": sharding.sharding_for(("embed", "ffn"), shape=(16, 4), mesh=mesh),
    }
    flat = load_params(folder, shardings=where, merge_lora=merge_lora)
    for path, spec in where.items():
        assert flat[path].sharding == spec
        assert len(flat[path].addressable_shards) == 8
        assert flat[path].addressable_shards[0].data.size == flat[path].size // 8
    plain = load_params(folder, merge_lora=merge_lora)
    for path, value in plain.items():
        assert len(value.devices()) == 1
        np.testing.assert_array_equal(flat[path], value, err_msg=path)


def test_a_file_has_no_steps(tmp_path):
    save_params(tmp_path, {"a": jnp.ones(2)}, dtype="float32")
    with pytest.raises(CheckpointError, match="step 'best' of a model that is one file"):
        load_params(tmp_path, step="best")


def test_a_damaged_description_of_branches_is_named(tmp_path):
    (tmp_path / "model.json").write_text('{"format": 1, "lora": {"rank": 2}}')
    with pytest.raises(CheckpointError, match="field 'lora' is"):
        load_params(tmp_path)


def test_settings_keep_the_branches_and_older_files_have_none(tiny_model, tmp_path):
    inputs = InputSpec(
        anyres=anyres_of(tiny_model.config),
        visual="anyres",
        frames=16,
        band=2,
        longest_side=64,
        template="llama_3_bare",
        preamble="",
    )
    tokenizer = train_byte_bpe(["a word and a word"], vocab_size=270)
    settings = ModelSettings(tiny_model.config, inputs, tokenizer)
    save_settings(tmp_path, settings)
    assert load_settings(tmp_path).lora is None
    save_settings(tmp_path, dataclasses.replace(settings, lora=LORA))
    again = load_settings(tmp_path)
    assert again.lora == LORA and again.inputs == settings.inputs

    file = tmp_path / "model.json"
    value = json.loads(file.read_text())
    old = {k: v for k, v in value["inputs"].items() if k not in ("sampling", "double_bos")}
    file.write_text(json.dumps({k: v for k, v in value.items() if k != "lora"} | {"inputs": old}))
    assert load_settings(tmp_path).lora is None
    file.write_text(json.dumps(value | {"inputs": {**value["inputs"], "frame": 3}}))
    with pytest.raises(CheckpointError, match="missing or unknown.*frame"):
        load_settings(tmp_path)
