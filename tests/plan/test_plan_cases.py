"""Cases, flops, memory, recipes, messages of the compiler: all without a compiler."""

from __future__ import annotations

import subprocess
import sys

import jax
import pytest
from sg4v_jax.configs import common, sft_8b_full_181k, sft_8b_lora_153k, sft_8b_lora_181k

from sg4v_jax import sharding
from sg4v_jax.chips import CHIPS, GIB
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import ConfigError
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.plan import case, compiler, memory, recipe
from sg4v_jax.plan.topology import parse
from sg4v_jax.tasks import step_of
from sg4v_jax.train import flops


def test_the_environment_is_set_before_jax_is_loaded():
    code = "import sys; import sg4v_jax.cli.plan; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_yardstick_has_the_operations_of_the_formula():
    once = flops.forward(PRESETS["sg4v-8b"](), Budget(2048, 1, 2048))
    matrices = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    attention = 32 * 2 * 2048**2 * 4096
    assert once["llm"] == 2 * 2048 * matrices + attention + 2 * 2048 * 4096 * 128257
    # Everything trains: three times the forward pass; 128 rows are 12,376 TFLOP.
    assert 3 * 128 * sum(once.values()) == pytest.approx(12_376e12, rel=1e-4)


def flops_of(config):
    settings, _ = case.model_settings(config)
    skeleton, groups = step_of.parts(config, settings)
    return flops.step(settings.config, Budget(2048, 1, 2048), skeleton=skeleton, groups=groups)


@pytest.fixture(scope="module")
def full_flops():
    return flops_of(sft_8b_full_181k.get_config())


def test_everything_trained_is_three_passes(full_flops):
    assert full_flops.step == {p: 3 * n for p, n in full_flops.forward.items()}


def test_what_is_frozen_needs_fewer_passes():
    frozen_tower = flops_of(sft_8b_lora_153k.get_config())
    once = frozen_tower.forward
    assert frozen_tower.step["tower"] == once["tower"]  # nothing before it trains
    assert frozen_tower.step["projector"] == 3 * once["projector"]
    layers, rank = 32, 128
    sides = (
        (4096 + 4096) * 2 + (4096 + 1024) * 2 + 3 * (4096 + 14336)
    )  # q, o; k, v; the three of the mlp
    branches = 3 * 2 * 2048 * layers * rank * sides
    # Frozen products need their inputs' gradient; attention's two inputs both need one.
    attention = layers * 2 * 2048**2 * 4096
    assert frozen_tower.step["llm"] == pytest.approx(2 * once["llm"] + attention + branches)


def test_without_the_weights_the_preset_stands_in():
    settings, remark = case.model_settings(sft_8b_lora_181k.get_config())
    assert settings.config == PRESETS["sg4v-8b"]()
    assert settings.lora.rank == 128
    assert "checkpoints/llava-v1.6-llama3-8b is not here" in remark
    config = common.base()
    config.model.init = "asset:world"
    settings, remark = case.model_settings(config)
    assert not remark
    assert settings.config.llm.hidden_size == 128


def test_a_case_replaces_batch_remat_and_mesh_and_leaves_the_config():
    config = sft_8b_full_181k.get_config()
    one = case.of_config(
        config, parse("v5p-64"), mesh={"fsdp": 32}, budget=Budget(2048, 1, 2048), remat="dots"
    )
    assert (one.config.data.batch_rows, one.config.model.remat) == (128, "dots")
    assert (config.data.batch_rows, config.model.remat) == (64, "full")
    assert one.row == Budget(2048, 1, 2048)
    assert (one.recipe.budget, one.recipe.rows) == (Budget(6144, 10, 2048), 64)
    assert case.of_config(config, parse("v5p-64")).row == Budget(6144, 10, 2048)
    assert case.of_config(config, parse("v5e-16"), rows=16).config.data.batch_rows == 16


def test_flags_of_a_case_win_over_the_generation():
    name = next(iter(CHIPS["v5e"].flags))
    one = case.of_config(common.base(), parse("v5e-4"), flags={name: "7", "other": "1"})
    assert one.all_flags() == {**CHIPS["v5e"].flags, name: "7", "other": "1"}


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (case.parse_mesh, "data=1,fsdp=-1, tensor=2", {"data": 1, "fsdp": -1, "tensor": 2}),
        (case.parse_synthetic, "2048x1", Budget(2048, 1, 2048)),
        (case.parse_flags, "--a=1,b=true", {"a": "1", "b": "true"}),
        (case.parse_flags, "", {}),
    ],
)
def test_words_of_the_command_line(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (case.parse_mesh, "fsdp"),
        (case.parse_mesh, "fdsp=4"),
        (case.parse_mesh, "fsdp=four"),
        (case.parse_synthetic, "2048"),
        (case.parse_synthetic, "0x1"),
        (case.parse_flags, "a"),
    ],
)
def test_words_that_mean_nothing(read, text):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert error.value.mend


def test_a_recipe_counts_steps_from_its_own_budgets():
    plan = recipe.of_config(sft_8b_lora_181k.get_config())
    assert (plan.budget, plan.rows) == (Budget(6144, 10, 2048), 64)
    assert (plan.samples_a_row, plan.samples_a_step) == (2, 128)
    assert plan.steps == -(-181_000 // 128)


def test_memory_of_a_chip_from_shapes_and_shardings():
    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    where = sharding.sharding_for(("embed", "ffn"), shape=(8, 32), mesh=mesh)
    one = jax.ShapeDtypeStruct((8, 32), "float32", sharding=where)
    assert memory.of_tree({"a": one, "b": jax.ShapeDtypeStruct((), "int32")}) == 2 * 16 * 4 + 4


@pytest.mark.parametrize(
    ("message", "needed", "available"),
    [
        (
            "RESOURCE_EXHAUSTED: the total memory required for HLO temporaries (58.60G) exceeds "
            + "available HBM (15.75G).",
            58.6 * GIB,
            15.75 * GIB,
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm.",
            20.5 * GIB,
            15.75 * GIB,
        ),
        (
            "RESOURCE_EXHAUSTED: required (1.50T) exceeds available HBM (512.0M)",
            1536 * GIB,
            GIB / 2,
        ),
        ("RESOURCE_EXHAUSTED: of something else", None, None),
    ],
)
def test_messages_about_memory(message, needed, available):
    assert compiler.sizes_of(message) == (needed, available)


class Lowered:
    """What cannot be compiled, for a reason."""

    def __init__(self, message: str):
        self.message = message

    def compile(self):
        raise jax.errors.JaxRuntimeError(self.message)


def test_a_program_without_room_is_an_answer_and_a_refused_flag_an_error():
    no_room = compiler.compile_(
        Lowered("RESOURCE_EXHAUSTED: temporaries required for HLO (2.00G), available HBM (1.00G)"),
        flags={},
    )
    report = compiler.refusal(no_room, hbm=5.0, advice="a larger slice")
    assert (report["fits"], report["over"]) == (False, GIB)
    flags = {"xla_good": "1", "xla_bad": "2"}
    with pytest.raises(ConfigError, match="refuses xla_bad=2"):
        compiler.compile_(
            Lowered("INVALID_ARGUMENT: No such compile option: 'xla_bad'"), flags=flags
        )
    with pytest.raises(ConfigError, match="xla_good=1, xla_bad=2"):
        compiler.compile_(Lowered("UNIMPLEMENTED: continuation fusion"), flags=flags)
    with pytest.raises(jax.errors.JaxRuntimeError):
        compiler.compile_(Lowered("INTERNAL: a fault of the compiler"), flags=flags)


def test_advice_names_what_takes_the_memory():
    state = {"trained": 8, "slots": 16, "frozen": 0, "batch": 0}
    words = memory.advice(state, temporaries=10, available=32, remat="dots", rows=4)
    assert "the state alone takes 75 %" in words
    assert "model.remat=full" in words
    assert "data.accumulate" in words
    small = {"trained": 1, "slots": 2, "frozen": 1, "batch": 0}
    words = memory.advice(small, temporaries=None, available=32, remat="full", rows=1)
    assert "state alone" not in words
    assert "tensor or context" in words
