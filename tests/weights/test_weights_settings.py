"""Settings come from the source's files, agree with its tensors, and are never guessed."""

from __future__ import annotations

import json
import shutil

import pytest
from etils import epath

from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.weights import assemble, facts, hf_settings, video_lm
from sg4v_jax.weights.source import Source
from sg4v_jax.weights.table import torch_shapes


@pytest.fixture
def edited(checkpoints, tmp_path):
    """`edited(layout, change)`: a copy of a checkpoint whose config.json went through `change`."""

    def edit(layout, change):
        folder = tmp_path / layout
        shutil.copytree(checkpoints(layout), folder)
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return edit


def load(folder, *settings: str):
    return assemble.model(assemble.Request(source=str(folder), given=facts.parse(settings)))


@pytest.mark.parametrize("layout", ["llava", "hf"])
def test_both_layouts_say_the_whole_model(checkpoints, random_model, layout):
    model, expected = load(checkpoints(layout)), random_model().settings
    assert model.settings.config == expected.config
    assert model.settings.inputs == expected.inputs


def test_what_is_absent_is_named_with_its_flag_and_can_be_given(edited, config):
    def change(c):
        del c["rope_theta"], c["rms_norm_eps"], c["mm_vision_config"]["layer_norm_eps"]

    folder = edited("llava", change)
    with pytest.raises(CheckpointError) as error:
        load(folder)
    for key in ("rope_theta", "rms_norm_eps", "tower.layer_norm_eps"):
        assert f"--set {key}=..." in error.value.mend
    with pytest.raises(CheckpointError, match="no file says rms_norm_eps, and"):
        load(folder, "rope_theta=5e5", "tower.layer_norm_eps=1e-5")
    given = ("rope_theta=500000", "rms_norm_eps=1e-5", "tower.layer_norm_eps=1e-5")
    assert load(folder, *given).settings.config == config


def test_newer_transformers_say_rope_elsewhere(edited, config):
    def change(c):
        text = c["text_config"]
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": text.pop("rope_theta")}
        del text["rope_scaling"]

    assert load(edited("hf", change)).settings.config == config


def test_the_released_config_names_its_tower_and_no_more(edited, tmp_path):
    """Shapes of this tower are not CLIP-L's, but what the name stands for is taken."""

    def change(c):
        del c["mm_vision_config"]
        c["mm_vision_tower"] = "some/copy/clip-vit-large-patch14-336"

    folder = edited("llava", change)
    (folder / "preprocessor_config.json").unlink()
    tower = load(folder, "tower.num_attention_heads=3").settings.config.tower
    assert (tower.layer_norm_eps, tower.hidden_act) == (1e-5, "quick_gelu")
    assert tower.image_mean == (0.48145466, 0.4578275, 0.40821073)
    assert (tower.image_size, tower.patch_size, tower.num_hidden_layers) == (24, 4, 3)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "hidden_size",
            64,
            "hidden_size is 64, but the shape of model.embed_tokens.weight says 32",
        ),
        ("num_hidden_layers", 3, "num_hidden_layers is 3, but the shape of all layers says 2"),
        ("vocab_size", 320, "vocab_size is 320, but the shape of .* says 321"),
        ("num_key_value_heads", 4, "num_key_value_heads is 4, but .*k_proj.weight says 2"),
        ("intermediate_size", 47, "intermediate_size is 47, but .*gate_proj.weight says 48"),
        ("head_dim", 16, "head_dim is 16, but .*q_proj.weight says 8"),
        ("rope_scaling", {"type": "linear"}, "rope_scaling is .*this package has only absent"),
        ("attention_bias", True, "attention_bias is True; this package has only False"),
        ("hidden_act", "gelu", "hidden_act is 'gelu'; this package has only 'silu'"),
        ("mm_projector_type", "linear", "mm_projector_type is 'linear'"),
        ("image_aspect_ratio", "pad", "image_aspect_ratio is 'pad'"),
        ("image_grid_pinpoints", [[24, 50]], "not made of whole tiles of 24"),
    ],
)
def test_a_config_that_contradicts_is_refused(edited, key, value, message):
    folder = edited("llava", lambda c: c.update({key: value}))
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_all_contradictions_are_in_one_message(edited):
    folder = edited("llava", lambda c: c.update(hidden_size=64, mlp_bias=True))
    with pytest.raises(CheckpointError, match=r"(?s)mlp_bias is True.*hidden_size is 64"):
        load(folder)


def test_settings_are_parsed_and_typed():
    given = facts.parse(
        ["rope_theta=5e5", "tie_word_embeddings=true", "frames=9", "tower.image_mean=0.5,0.4,0.3"]
        + ["pinpoints=336x672,672x336", "template=chatml", "double_bos=false"]
    )
    assert given["rope_theta"] == 500000.0 and given["tie_word_embeddings"] is True
    assert given["frames"] == 9 and given["tower.image_mean"] == (0.5, 0.4, 0.3)
    assert given["pinpoints"] == [[336, 672], [672, 336]]
    assert given["template"] == "chatml" and given["double_bos"] is False


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rope_thea=5", "did you mean rope_theta"),
        ("rope_theta", "not KEY=VALUE"),
        ("rope_theta=big", "the value is no float"),
        ("frames=1.5", "the value is no int"),
        ("tie_word_embeddings=maybe", "the value is no bool"),
        ("pinpoints=336", "the value is no pinpoints"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        facts.parse([setting])


def test_protocol_settings_can_be_given(checkpoints):
    model = load(checkpoints("llava"), "visual=overview", "frames=9", "preamble=Look: ")
    inputs = model.settings.inputs
    assert (inputs.visual, inputs.frames, inputs.preamble) == ("overview", 9, "Look: ")


# The released model's config.json as far as it is known (spec of the original system, 1.2).
RELEASED = {
    "model_type": "llava_llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128257,
    "rope_theta": 500000.0,
    "rope_scaling": None,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "attention_bias": False,
    "tie_word_embeddings": False,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_hidden_size": 1024,
    "mm_projector_type": "mlp2x_gelu",
    "image_aspect_ratio": "anyres",
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "mm_patch_merge_type": "spatial_unpad",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
}


class Abstract(dict):
    """Tensors of an 8B checkpoint that have shapes and nothing else."""

    @property
    def shapes(self):
        return self


def test_the_released_config_and_shapes_are_the_preset():
    preset = PRESETS["sg4v-8b"]()
    shapes = torch_shapes(video_lm.table(preset, layout="llava"), assemble.structure(preset))
    parts = tuple(video_lm.PARTS)
    source = Source("released", epath.Path("."), Abstract(shapes), "llava", parts, RELEASED, {})
    gathered = facts.Facts(where="released", given={})
    config = hf_settings.video_config(dict.fromkeys(parts, source), gathered)
    gathered.finish()
    assert config == preset
    inputs = hf_settings.input_spec(config, {})
    assert inputs.anyres.pinpoints == tuple(map(tuple, RELEASED["image_grid_pinpoints"]))
