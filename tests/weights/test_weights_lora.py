"""Adapters: read from what peft and the original's training save, merged once, written back."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.models import lora as model_lora
from sg4v_jax.weights import assemble, export_model, lora, store, torch_bin
from sg4v_jax.weights.source import open_source
from sg4v_jax.weights.views import params_from

LORA = model_lora.LoRA(rank=3, alpha=6.0, dropout=0.05, targets=model_lora.TARGETS["llm"])


def branched(model, *, targets=model_lora.TARGETS["llm"], seed: int = 4):
    """`model` with random low-rank branches."""
    spec, rng = dataclasses.replace(LORA, targets=targets), np.random.default_rng(seed)
    flat, axes = {}, dict(model.skeleton.axes)
    for path in model.skeleton.shapes:
        linear = path.removesuffix(".kernel")
        if not any(re.fullmatch(t, linear) for t in targets):
            continue
        shape, groups = model.skeleton.shapes[path].shape, 2 if linear.endswith("o_proj") else 1
        for end, size in (
            ("lora_a", (*shape[: 1 + groups], spec.rank)),
            ("lora_b", (shape[0], spec.rank, *shape[1 + groups :])),
        ):
            flat[f"{linear}.{end}"] = rng.standard_normal(size, np.float32)
            axes[f"{linear}.{end}"] = ("layers",)
    skeleton = dataclasses.replace(model.skeleton, axes=axes)
    settings = dataclasses.replace(model.settings, lora=spec)
    params = {**model.params, **params_from(flat, skeleton)}
    return dataclasses.replace(model, settings=settings, params=params)


@pytest.fixture(scope="module")
def trained(random_model):
    """A model with branches, and a projector unlike the base's."""
    return branched(dataclasses.replace(random_model(seed=1), params=mixed(random_model)))


def mixed(random_model):
    base, other = random_model(), random_model(seed=1)
    changed = ("projector.",)
    return {p: (other if p.startswith(changed) else base).params[p] for p in base.params}


@pytest.fixture(scope="module")
def adapter(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("lora") / "adapter"
    export_model.write_adapter(trained, out, base="some/base")
    return out


def test_what_is_written_merges_to_the_same(adapter, trained, checkpoints):
    request = assemble.Request(source=str(adapter), base=str(checkpoints("llava")))
    loaded = assemble.model(request)
    expected = assemble.merged(trained)
    for path, param in expected.params.items():
        np.testing.assert_array_equal(loaded.params[path].whole(), param.whole(), err_msg=path)
    changed = loaded.params["llm.layers.mlp.up_proj.kernel"].whole()
    assert np.abs(changed - trained.params["llm.layers.mlp.up_proj.kernel"].whole()).max() > 1


def test_merging_equals_the_models_own_and_rounds_once(trained):
    flat = {path: jnp.asarray(p.whole()) for path, p in trained.params.items()}
    kernel = "llm.layers.self_attn.o_proj.kernel"
    half = flat | {kernel: flat[kernel].astype(jnp.bfloat16)}
    with jax.default_matmul_precision("highest"):
        theirs = model_lora.merge(half, trained.settings.lora)
    views = params_from({kernel: np.asarray(half[kernel])}, trained.skeleton)
    ours = assemble.merged(dataclasses.replace(trained, params=trained.params | views))
    assert ours.params.keys() == theirs.keys()
    assert ours.params[kernel].dtype == ml_dtypes.bfloat16
    for path, x in theirs.items():
        a, b = ours.params[path].whole().astype(np.float32), np.asarray(x, np.float32)
        np.testing.assert_allclose(a, b, rtol=2**-7 if path == kernel else 1e-5, atol=1e-5)
    product = np.einsum(
        "nhr,rd->nhd",
        *(np.asarray(flat[kernel.replace("kernel", e)][0]) for e in ("lora_a", "lora_b")),
    )
    exact = np.asarray(half[kernel][0], np.float64) + 2.0 * product.astype(np.float64)
    once = exact.astype(np.float32).astype(ml_dtypes.bfloat16)
    assert (ours.params[kernel].whole()[0] != once).mean() < 0.01  # f32 sums may differ in a bit


def test_the_files_are_those_of_the_original(adapter, trained):
    names = set(load_file(adapter / "adapter_model.safetensors"))
    assert "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight" in names
    assert len(names) == 2 * 7 * 2
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 6.0, 0.05)
    assert config["base_model_name_or_path"] == "some/base"
    others = torch_bin.read(adapter / "non_lora_trainables.bin")
    assert sorted(others) == [
        f"base_model.model.model.mm_projector.{i}.{end}"
        for i in (0, 2)
        for end in ("bias", "weight")
    ]
    tower = open_source(adapter / "vision_tower")
    assert (tower.layout, tower.parts) == ("clip", ("tower",))


@pytest.mark.torch
def test_peft_loads_the_adapter_and_computes_the_same(adapter, trained, checkpoints, tmp_path):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    decoder = transformers.LlamaForCausalLM.from_pretrained(checkpoints("llama")).eval()
    wrapped = peft.PeftModel.from_pretrained(decoder, adapter).eval()
    merged = assemble.merged(trained)
    export_model.write(merged, tmp_path / "merged", layout="llama")
    plain = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "merged").eval()
    ids = torch.arange(30)[None]
    with torch.no_grad():
        theirs, ours = wrapped(input_ids=ids).logits, plain(input_ids=ids).logits
        assert (theirs - decoder.get_input_embeddings().weight.sum() * 0).abs().max() > 1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def copied(adapter, tmp_path):
    return shutil.copytree(adapter, tmp_path / "copy")


def test_an_unlocked_tower_replaces_the_base_s(adapter, checkpoints, tmp_path, random_model):
    folder = copied(adapter, tmp_path)
    weights = folder / "vision_tower" / "pytorch_model.bin"
    tensors = dict(torch_bin.read(weights))
    name = "vision_model.post_layernorm.bias"
    tensors[name] = tensors[name] + 1
    torch_bin.write(weights, tensors)
    base = str(checkpoints("hf"))  # of another layout than the adapter
    loaded = assemble.model(assemble.Request(source=str(folder), base=base))
    np.testing.assert_array_equal(
        loaded.params["tower.post_layernorm.bias"].whole(),
        random_model().params["tower.post_layernorm.bias"].whole() + 1,
    )
    others = dict(torch_bin.read(folder / lora.NON_LORA))
    doubled = f"base_model.model.model.vision_tower.vision_tower.{name}"
    torch_bin.write(folder / lora.NON_LORA, others | {doubled: tensors[name] + 1})
    with pytest.raises(CheckpointError, match=r"post_layernorm\.bias is in vision_tower/ and diff"):
        assemble.model(assemble.Request(source=str(folder), base=str(checkpoints("llava"))))


def test_the_accident_of_the_original_is_merged_into_the_tower(random_model, checkpoints, tmp_path):
    """peft's suffix match also adapts CLIP's q, k, v (spec 3.2), the last block's too."""
    trained = branched(
        random_model(), targets=(*model_lora.TARGETS["llm"], *model_lora.TARGETS["clip_qkv"])
    )
    export_model.write_adapter(trained, tmp_path / "adapter", base="x")
    request = assemble.Request(source=str(tmp_path / "adapter"), base=str(checkpoints("llava")))
    loaded, expected = assemble.model(request), assemble.merged(trained)
    path = "tower.layers.self_attn.k_proj.kernel"
    np.testing.assert_array_equal(loaded.params[path].whole(), expected.params[path].whole())
    assert not np.array_equal(loaded.params[path].whole(), random_model().params[path].whole())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_rslora": True}, "use_rslora is True"),
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern is"),
    ],
)
def test_variants_that_mean_something_else_are_refused(adapter, tmp_path, change, message):
    folder = copied(adapter, tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=message):
        lora.open_adapter(folder)


def test_what_does_not_fit_the_base_is_told_together(adapter, checkpoints, tmp_path):
    folder = copied(adapter, tmp_path)
    tensors = load_file(folder / "adapter_model.safetensors")
    stem = "base_model.model.model.layers.{}.self_attn.v_proj.lora_{}.weight"
    tensors[stem.format(0, "B")] = np.ones((17, 3), np.float32)
    for end in "AB":
        tensors[stem.format(7, end)] = tensors[stem.format(1, end)]
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError) as error:
        assemble.model(assemble.Request(source=str(folder), base=str(checkpoints("llava"))))
    assert "the base model has no model.layers.7.self_attn.v_proj.weight" in error.value.message
    assert "layers.0.self_attn.v_proj.weight has shape (16, 32), its adapter" in error.value.message
    del tensors[stem.format(0, "A")]
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="has no partner"):
        lora.open_adapter(folder)


def test_a_base_is_needed_and_named(adapter, tmp_path):
    with pytest.raises(CheckpointError, match=r"its base model some/base is not there.*\n.*--base"):
        assemble.model(assemble.Request(source=str(adapter)))
    folder = copied(adapter, tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    del config["base_model_name_or_path"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"is an adapter\n.*--base"):
        assemble.model(assemble.Request(source=str(folder)))


def test_a_whole_export_of_a_model_with_branches_asks_to_merge(trained, tmp_path):
    with pytest.raises(ConfigError, match="--merge_lora"):
        export_model.write(trained, tmp_path / "out", layout="llava")


def test_a_working_directory_with_branches_is_opened_whole(trained, tmp_path):
    store.save_settings(tmp_path, trained.settings)
    flat = {path: jnp.asarray(p.whole()) for path, p in trained.params.items()}
    store.save_params(tmp_path, flat, dtype="float32")
    opened = assemble.model(assemble.Request(source=str(tmp_path)))
    assert opened.settings.lora == trained.settings.lora
    merged, expected = assemble.merged(opened), assemble.merged(trained)
    path = "llm.layers.self_attn.q_proj.kernel"
    np.testing.assert_array_equal(merged.params[path].whole(), expected.params[path].whole())
