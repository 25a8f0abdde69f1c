"""Every config that the package ships can be built: model, optimizer groups, mesh and command."""

from __future__ import annotations

import importlib
import inspect
import pathlib

import pytest

from sg4v_jax import files, sharding
from sg4v_jax.cli import config_flag
from sg4v_jax.data.packing import Budget
from sg4v_jax.models.params import skeleton
from sg4v_jax.tasks import run_setup
from sg4v_jax.train import optim, state
from sg4v_jax.weights.store import ModelSettings

FOLDER = config_flag.shipped_folder()
NAMES = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in config_flag.HELPERS)


def variants(name: str) -> list[tuple[str, str]]:
    """(config, argument): a config with stages is built in each."""
    module = importlib.import_module(f"sg4v_jax.configs.{name}")
    return [(name, stage) for stage in getattr(module, "STAGES", ("",))]


OPEN = ("optim.groups", "optim.parts", "run.mesh")  # their keys are the user's
CASES = [case for name in NAMES for case in variants(name)]


def load(name: str, argument: str):
    return importlib.import_module(f"sg4v_jax.configs.{name}").get_config(argument)


def field_names(config, prefix: str = "") -> set[str]:
    names = set()
    for key, value in config.items():
        inner = hasattr(value, "items") and prefix + key not in OPEN
        names |= field_names(value, f"{prefix}{key}.") if inner else {prefix + key}
    return names


@pytest.fixture(scope="module")
def skeletons():
    """Model config -> its abstract shapes, each built once."""
    made = {}

    def build(model, lora):
        if (model, lora) not in made:
            settings = ModelSettings(model, None, None, lora)
            made[model, lora] = skeleton(run_setup.builder(settings))
        return made[model, lora]

    return build


def test_the_configs_of_the_quickstart_and_its_base_are_shipped():
    assert {"quickstart", "world_base"} <= set(NAMES)


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_a_shipped_config_builds(name, argument, skeletons):
    config = load(name, argument)
    if config.model.init and not config.model.init.startswith(files.ASSET):
        config.model.init = ""  # an earlier stage's workdir; it has the preset's model
    shape = skeletons(run_setup.model_config(config), run_setup.lora_of(config))
    groups = optim.assign(list(shape.shapes), run_setup.rules(config))
    assert set(groups.values()) != {optim.FROZEN}
    steps = config.optim.steps or 100
    optimizer, schedules = run_setup.make_optimizer(config, groups, steps=steps)
    assert schedules.keys() == set(config.optim.groups), "a group that nothing uses"
    for schedule in schedules.values():
        assert schedule(steps // 2) > 0
    assert set(config.run.mesh) == set(sharding.AXES), "a flag can set each axis"
    mesh = sharding.make_mesh(dict(config.run.mesh))
    made = state.abstract(
        shape, groups=groups, optimizer=optimizer, frozen_dtype=config.model.frozen_dtype
    )
    state.shardings(made, skeleton=shape, mesh=mesh)


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_a_shipped_config_describes_inputs_that_fit_the_model(name, argument):
    config = load(name, argument)
    if not config.model.init.startswith(files.ASSET):
        config.model.init = ""
    if not config.data.tokenizer:  # the init's own; any other says as much about the inputs
        config.data.tokenizer = "asset:world/tokenizer.json"
    settings = run_setup.model_settings(config)
    budget = Budget(config.data.positions, config.data.tiles, config.data.scored)
    index, tiles = settings.inputs.positions((1920, 1920))  # four square frames a side
    assert tiles <= budget.tiles
    assert len(index) < budget.positions <= settings.config.llm.max_position_embeddings
    assert config.data.batch_rows % config.data.accumulate == 0


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_a_shipped_config_sets_only_fields_that_exist(name, argument):
    common = importlib.import_module("sg4v_jax.configs.common")
    known = field_names(common.base())
    assert field_names(load(name, argument)) <= known


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_config_says_its_command(name):
    module = importlib.import_module(f"sg4v_jax.configs.{name}")
    assert f"--config=configs/{name}.py" in inspect.getdoc(module)


def test_the_folder_is_the_one_of_the_checkout_or_the_wheel():
    assert (FOLDER / "common.py").is_file()
    package = pathlib.Path(inspect.getfile(files)).parent
    assert FOLDER in (package / "configs", package.parent / "configs")
