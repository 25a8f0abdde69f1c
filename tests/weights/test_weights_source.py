"""Folders of files: what is in them is found, and damage stops where it enters."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sg4v_jax.errors import CheckpointError, ConfigError, UnsafePathError
from sg4v_jax.text.tokenizer import train_byte_bpe
from sg4v_jax.weights import assemble, safetensors_io, torch_bin
from sg4v_jax.weights.source import TORCH_INDEX, open_source

WORDS = [f"{a}{b}{c} " for a in "bcdfg" for b in "aeiou" for c in "lmnr"]


@pytest.fixture
def copy(checkpoints, tmp_path):
    """`copy(layout)`: a checkpoint to damage."""

    def make(layout):
        return shutil.copytree(checkpoints(layout), tmp_path / layout)

    return make


def load(folder, **parts):
    return assemble.model(assemble.Request(source=str(folder), **parts))


def rewrite(folder, change):
    """Changes the tensors of all shards together, and puts them into one file."""
    tensors = {}
    for shard in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(shard)
        shard.unlink()
    (folder / safetensors_io.INDEX).unlink(missing_ok=True)
    change(tensors)
    save_file(
        {n: np.ascontiguousarray(x) for n, x in tensors.items()}, folder / "model.safetensors"
    )


def test_a_truncated_shard_is_named(copy):
    folder = copy("llava")
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=rf"{shard.name}: not a whole safetensors file"):
        load(folder)


def test_an_index_that_names_a_missing_file(copy):
    folder = copy("llava")
    shard = min(folder.glob("*.safetensors"))
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"shards are missing: {shard.name}"):
        load(folder)


def test_links_out_of_the_folder_are_refused(copy, tmp_path):
    folder = copy("llava")
    shard = min(folder.glob("*.safetensors"))
    shard.rename(tmp_path / "outside.safetensors")
    shard.symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(UnsafePathError, match="leaves its root"):
        load(folder)
    single = tmp_path / "single"
    single.mkdir()
    (single / "model.safetensors").symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(UnsafePathError, match="leaves its root"):
        open_source(single)


def test_a_snapshot_of_the_hub_may_link_to_its_blobs_and_no_further(copy, tmp_path):
    cache = tmp_path / "models--a--b"
    snapshot, blobs = cache / "snapshots" / "abc", cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in copy("llava").iterdir():
        shutil.copy(path, blobs / f"blob-{path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/blob-{path.name}")
    assert load(snapshot).settings.config.llm.vocab_size == 321
    shard = min(snapshot.glob("*.safetensors"))
    shutil.move(blobs / f"blob-{shard.name}", tmp_path / "outside")
    shard.unlink()
    shard.symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafePathError, match="leaves its root"):
        load(snapshot)


def test_missing_unexpected_mis_shaped_and_wrong_dtypes_are_told_together(copy):
    folder = copy("llava")

    def damage(tensors):
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(32, np.float32)
        tensors["model.norm.weight"] = np.ones(31, np.float32)
        tensors["model.image_newline"] = np.ones(32, np.int8)

    rewrite(folder, damage)
    with pytest.raises(CheckpointError) as error:
        load(folder)
    lines = error.value.message.splitlines()[1:]
    assert [line.strip() for line in lines] == [
        "missing model.layers.1.mlp.up_proj.weight",
        "unexpected model.layers.0.self_attn.q_proj.bias",
        "model.norm.weight has shape (31,), expected (32,)",
        "model.image_newline has dtype int8, not one of bfloat16, float16, float32, float64",
    ]


def test_layers_of_one_stack_have_one_dtype(copy):
    folder = copy("llava")
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite(folder, lambda t: t.update({name: t[name].astype(np.float16)}))
    with pytest.raises(
        CheckpointError, match=r"layers of llm\.layers\.mlp\.up_proj.* float16, flo"
    ):
        load(folder)


def test_a_tensor_in_two_shards_is_named(copy):
    folder = copy("llava")
    first, second = sorted(folder.glob("*.safetensors"))[:2]
    doubled = next(iter(load_file(first)))
    save_file(load_file(second) | {doubled: load_file(first)[doubled]}, second)
    with pytest.raises(CheckpointError, match=rf"tensor {doubled} is also in another shard"):
        load(folder)


def test_sharded_torch_files_are_read(copy, random_model):
    folder = copy("llava")
    places = {}
    for i, shard in enumerate(sorted(folder.glob("*.safetensors"))):
        tensors = load_file(shard)
        torch_bin.write(folder / f"pytorch_model-{i}.bin", tensors)
        places |= dict.fromkeys(tensors, f"pytorch_model-{i}.bin")
        shard.unlink()
    (folder / safetensors_io.INDEX).unlink()
    with pytest.raises(CheckpointError, match=r"no \.safetensors file, and \d \.bin files without"):
        load(folder)
    (folder / TORCH_INDEX).write_text(json.dumps({"weight_map": places}))
    model = load(folder)
    for path, param in random_model().params.items():
        np.testing.assert_array_equal(model.params[path].whole(), param.whole())


def without(folder, prefix):
    rewrite(folder, lambda t: [t.pop(n) for n in list(t) if n.startswith(prefix)])


def test_the_tower_comes_from_a_clip_folder_where_there_is_none(copy, random_model):
    folder, clip = copy("llava"), copy("clip")
    without(folder, "model.vision_tower.")
    with pytest.raises(CheckpointError, match=r"has no tower\n  mend: .*--tower"):
        load(folder)
    model = load(folder, tower=str(clip))
    assert model.settings.config == random_model().settings.config
    for path, param in random_model().params.items():
        np.testing.assert_array_equal(model.params[path].whole(), param.whole())
    with pytest.raises(CheckpointError, match=r"--tower=.* has no tower"):
        load(folder, tower=str(copy("llama")))


def test_a_full_clip_model_gives_its_tower_and_says_what_is_left(copy):
    folder, clip = copy("llava"), copy("clip")
    without(folder, "model.vision_tower.")
    other_half = {
        "logit_scale": np.ones((), np.float32),
        "text_model.encoder.layers.0.mlp.fc1.bias": np.ones(3, np.float32),
        "visual_projection.weight": np.ones((2, 2), np.float32),
    }
    rewrite(clip, lambda t: t.update(other_half))
    config = json.loads((clip / "config.json").read_text())
    full = {"model_type": "clip", "vision_config": config, "text_config": {"hidden_size": 3}}
    (clip / "config.json").write_text(json.dumps(full))
    notes = load(folder, tower=str(clip)).notes
    assert any("3 tensors that this model does not use" in note for note in notes)


def test_a_part_given_twice_is_refused(checkpoints):
    with pytest.raises(ConfigError, match="has a tower of its own"):
        load(checkpoints("llava"), tower=str(checkpoints("clip")))


def test_a_projector_file_completes_decoder_and_tower(copy, tmp_path, random_model):
    whole = copy("llava")
    tensors = open_source(whole).tensors
    wanted = ("model.mm_projector", "model.image_newline")
    chosen = {n: tensors[n] for n in tensors if n.startswith(wanted)}
    torch_bin.write(tmp_path / "mm_projector.bin", chosen)
    parts = {"tower": str(copy("clip")), "projector": str(tmp_path / "mm_projector.bin")}
    given = {"pinpoints": [[24, 48], [48, 24], [48, 48], [72, 24], [24, 72]]}
    given["tower.feature_layer"] = -2
    model = load(copy("llama"), **parts, given=given)
    assert model.settings.config == random_model().settings.config
    for path, param in random_model().params.items():
        np.testing.assert_array_equal(model.params[path].whole(), param.whole())


def test_vocabulary_rows_are_kept_and_told(copy, checkpoints):
    [note] = load(checkpoints("llava")).notes
    assert "321 rows are kept" in note and "have no text" in note
    folder = copy("llava")
    train_byte_bpe(WORDS, vocab_size=330).save(folder / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"tokenizer has 330 ids, the embedding 321 rows"):
        load(folder)


def test_no_tokenizer_is_named_and_can_be_given(copy, checkpoints):
    folder = copy("llava")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        load(folder)
    assert load(folder, tokenizer=str(checkpoints("hf"))).settings.tokenizer.has("<image>")


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        open_source(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no \.safetensors file, and 0 \.bin files"):
        open_source(tmp_path / "empty")
    save_file({"weight": np.ones(2, np.float32)}, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match=r"1 tensors \(weight, \.\.\.\) in no known layout"):
        open_source(tmp_path / "odd.safetensors")
