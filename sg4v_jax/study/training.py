"""The training configs of a study: pre-training stages of a base, and the arms.

Each is a config of `sg4v train`: the study has no training code of its own. A stage or an arm takes
`config.train`, then what differs.

    base of (path, seed):  stages in order, each from the one before (`config.stages`)
    arm:                   from its base; parts `vqa` and `captions`, so often that an epoch is
                           the whole run; half of the rows are captions in all arms that have any
"""

from __future__ import annotations

from collections.abc import Sequence

import ml_collections

from sg4v_jax.errors import ConfigError
from sg4v_jax.study import data, records
from sg4v_jax.study.design import ARMS, Run
from sg4v_jax.train.optim import FROZEN

BASES, RUNS = "bases", "runs"


def base_folder(out: str, run: Run) -> str:
    """The model that `run` starts from: the last stage of its base."""
    return f"{out}/{BASES}/{run.base}"


def stage_config(
    config: ml_collections.ConfigDict, *, out: str, path: str, seed: int, stage: str, init: str
) -> ml_collections.ConfigDict:
    """The config of one stage of a base.

    Args:
      stage: a key of `config.stages`.
      init: the model before it, "" for random weights.
    """
    c = _common(config, path=path, seed=seed)
    changes = config.stages[stage]
    c.model.init = init or c.model.init
    if not c.model.init:
        c.data.tokenizer = f"{out}/{data.FOLDER}/{data.TOKENIZER}"
    c.data.parts = tuple(
        {
            "name": name,
            "file": f"{out}/{data.FOLDER}/{data.base_file(seed, path=path, name=name)}",
            "root": f"{out}/{data.FOLDER}",
            **dict(settings),
        }
        for name, settings in changes.parts.items()
    )
    c.update(changes.get("settings", {}))
    c.data.positions += config.paths[path].more_positions
    freeze(c, changes.get("freeze", ()))
    _scale_rates(c, changes.get("rate", 1.0))
    return c


def arm_config(
    config: ml_collections.ConfigDict, run: Run, *, out: str
) -> ml_collections.ConfigDict:
    """The config of one arm's training.

    Raises:
      ConfigError: rows that cannot be half questions and half captions.
    """
    arm = ARMS[run.arm]
    c = _common(config, path=run.path, seed=run.seed)
    c.model.init = base_folder(out, run)
    c.data.positions += config.paths[run.path].more_positions
    c.optim.steps = round(config.steps * arm.length)
    rows = c.optim.steps * c.data.batch_rows
    if arm.style and rows % 2:
        raise ConfigError(
            f"{run.id}: {rows} rows cannot be halved", mend="change steps or batch_rows"
        )
    asked = rows // 2 if arm.style else rows
    folder = f"{out}/{data.FOLDER}"
    c.data.parts = (
        {
            "name": "vqa",
            "file": f"{folder}/{data.questions_file(run)}",
            "root": folder,
            "weight": asked / (arm.items // records.ASKED_ROUNDS),
        },
    )
    if arm.style:
        captions = {
            "name": "captions",
            "file": f"{folder}/{data.captions_file(run)}",
            "root": folder,
            "weight": (rows - asked) / config.counts.captions,
            "loss_weight": config.caption_weight,
        }
        c.data.parts = (*c.data.parts, captions)
    if run.tower == "frozen":
        freeze(c, config.tower_groups)
    _scale_rates(c, config.arm_rate)
    return c


def _common(
    config: ml_collections.ConfigDict, *, path: str, seed: int
) -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict(config.train.to_dict())
    c.run.seed = seed
    c.update(config.paths[path].settings)
    return c


def freeze(c: ml_collections.ConfigDict, groups: Sequence[str]) -> None:
    """Nothing in `groups` trains: parts of `optim.parts`, or groups of `optim.rules`."""
    if c.optim.parts:
        c.optim.parts.update({name: FROZEN for name in groups})
    else:
        c.optim.rules = tuple(
            (pattern, FROZEN if group in groups else group) for pattern, group in c.optim.rules
        )
    with c.optim.unlocked():
        for group in groups:
            del c.optim.groups[group]


def _scale_rates(c: ml_collections.ConfigDict, factor: float) -> None:
    for group in c.optim.groups.values():
        group.learning_rate *= factor
