"""What is to be planned: a config on a slice, with the mesh, batch, recomputation and flags to try."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import jax
import ml_collections
from jax.sharding import Mesh

from sg4v_jax import files, sharding
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import ConfigError
from sg4v_jax.plan import recipe, topology
from sg4v_jax.plan.recipe import Recipe
from sg4v_jax.plan.topology import Slice
from sg4v_jax.tasks import run_setup, step_of
from sg4v_jax.weights.store import ModelSettings

SYNTHETIC_ROWS = 128


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to compile.

    Attributes:
      config: a run's config, with the batch and recomputation to plan.
      mesh: sizes by axis.
      budget: what a row holds; None: as the config says.
      flags: of the compiler, beside the generation's own.
      recipe: the config's own rows and budgets, whatever is planned.
    """

    config: ml_collections.ConfigDict
    slice: Slice
    mesh: Mapping[str, int]
    budget: Budget | None = None
    flags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    recipe: Recipe | None = None

    @property
    def row(self) -> Budget:
        data = self.config.data
        return self.budget or Budget(data.positions, data.tiles, data.scored)

    def all_flags(self) -> dict[str, str]:
        """The generation's flags, and over them the case's own."""
        return {**self.slice.chip.flags, **self.flags}

    def make_mesh(self) -> Mesh:
        """The mesh, over devices that are not there.

        Raises:
          ConfigError: the mesh does not fit the slice.
        """
        return sharding.make_mesh(dict(self.mesh), devices=topology.devices(self.slice))

    def program(self, mesh: Mesh, *, steps: int = 1000) -> step_of.Program:
        """The step that `sg4v train` would run.

        Raises:
          ConfigError: the config contradicts itself, or its batch does not divide.
        """
        data = self.config.data
        sharding.check_batch(data.batch_rows // data.accumulate, mesh=mesh)
        settings, _ = model_settings(self.config)
        skeleton, groups = step_of.parts(self.config, settings)
        return step_of.build(
            self.config,
            settings,
            skeleton=skeleton,
            groups=groups,
            mesh=mesh,
            steps=steps,
            compiler_options=self.all_flags(),
        )


def of_config(
    config: ml_collections.ConfigDict,
    slice_: Slice,
    *,
    mesh: Mapping[str, int] | None = None,
    budget: Budget | None = None,
    rows: int = 0,
    remat: str = "",
    flags: Mapping[str, str] | None = None,
) -> Case:
    """A case of a config; `rows` a step, `remat` and `mesh` replace the config's where given.

    A synthetic `budget` has 128 rows a step unless `rows` says otherwise.
    """
    own = recipe.of_config(config)
    config = copy.deepcopy(config)
    with config.unlocked():
        if rows or budget is not None:
            config.data.batch_rows = rows or SYNTHETIC_ROWS
        if remat:
            config.model.remat = remat
    return Case(config, slice_, dict(mesh or config.run.mesh), budget, dict(flags or {}), own)


def model_settings(config: ml_collections.ConfigDict) -> tuple[ModelSettings, str]:
    """The model of a config, and a remark where the weights that it starts from are not here.

    A plan needs no weights and no tokenizer: without the model directory `model.init` it takes
    `model.preset`, which has the same shapes.
    """
    remark = ""
    init = config.model.init
    if init and not files.path(init).exists():
        config = copy.deepcopy(config)
        with config.unlocked():
            config.model.init = ""
        remark = f"{init} is not here: the shapes of the preset {config.model.preset}"
    return ModelSettings(
        run_setup.model_config(config), None, None, run_setup.lora_of(config)
    ), remark


def parse_mesh(text: str) -> dict[str, int]:
    """`fsdp=128,tensor=2` -> sizes by axis.

    Raises:
      ConfigError: anything else.
    """
    try:
        sizes = {a.strip(): int(n) for a, n in (part.split("=") for part in text.split(","))}
    except ValueError as e:
        raise ConfigError(
            f"--mesh={text}", mend="write it as fsdp=128,tensor=2; one size may be -1"
        ) from e
    unknown = sorted(set(sizes) - set(sharding.AXES))
    if unknown:
        raise ConfigError(f"--mesh: no axis {unknown[0]}", mend=f"use {', '.join(sharding.AXES)}")
    return sizes


def parse_synthetic(text: str) -> Budget:
    """`2048x1` -> rows of 2048 positions, all scored, and one tile.

    Raises:
      ConfigError: anything else.
    """
    positions, _, tiles = text.partition("x")
    if not positions.isdecimal() or not tiles.isdecimal() or int(positions) == 0:
        raise ConfigError(f"--synthetic={text}", mend="write POSITIONSxTILES, as 2048x1")
    return Budget(int(positions), int(tiles), int(positions))


def parse_flags(text: str) -> dict[str, str]:
    """`a=1,b=true` -> compiler options by name, leading dashes left out.

    Raises:
      ConfigError: a part without a value.
    """
    options = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.strip().partition("=")
        if not equals:
            raise ConfigError(f"--flags: {part!r} has no value", mend="write name=value,name=value")
        options[name.lstrip("-")] = value
    return options


def versions() -> dict[str, str]:
    """Of what decides a plan: the compiler, jax, this package."""
    import importlib.metadata

    import sg4v_jax

    try:
        libtpu = importlib.metadata.version("libtpu")
    except importlib.metadata.PackageNotFoundError:
        libtpu = "none"
    return {"jax": jax.__version__, "libtpu": libtpu, "sg4v_jax": sg4v_jax.__version__}
