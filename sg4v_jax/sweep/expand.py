"""The runs of a sweep: what a config's `sweep()` yields, checked before anything starts."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import ml_collections

from sg4v_jax.errors import ConfigError, Sg4vError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TAKEN = ("sweep", "logs")  # folders beside the runs'


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: its folder's name, and what differs from the config, by field.

    >>> Run("run-0", {"optim.steps": 5, "data.annotations": ("a.json",)}).flags()
    ['--config.optim.steps=5', "--config.data.annotations=('a.json',)"]
    """

    name: str
    overrides: Mapping[str, Any]

    def flags(self) -> list[str]:
        """The overrides as flags of `sg4v train`."""
        return [f"--config.{field}={_text(value)}" for field, value in self.overrides.items()]


def expand(file: str, *, common: Mapping[str, Any] | None = None) -> list[Run]:
    """The runs of `sweep()` in config file `file` (`FILE.py` or `FILE.py:ARGUMENT`), in order.

    `sweep()` stands beside `get_config` and yields one dictionary a run: values by config field,
    with dots or as dictionaries in each other. The key "name" names the run; others are `run-0`,
    `run-1`, ... A `sweep(arg)` is given the file's argument.

        def sweep():
            for rate in (1e-4, 3e-4):
                yield {"optim.groups.llm.learning_rate": rate}

    Args:
      file: an existing file.
      common: overrides of every run; a run's own win.

    Raises:
      ConfigError: no `sweep()`, no runs, an unknown field, a value of another type, or two runs
        that are alike or have one name.
    """
    path, _, argument = file.partition(":")
    module = _load(path)
    if not callable(getattr(module, "sweep", None)):
        raise ConfigError(
            f"{path} has no sweep()",
            mend="write a generator of overrides beside get_config; see configs/quickstart.py",
        )
    takes = inspect.signature(module.sweep).parameters
    yielded = list(module.sweep(argument) if takes else module.sweep())
    return check_runs(_named(yielded, common or {}, where=path), file=file)


def check_runs(runs: Iterable[Run], *, file: str) -> list[Run]:
    """`runs` with flat overrides, if config `file` can take them all.

    Raises:
      ConfigError: as `expand`.
    """
    base, seen, out = base_config(file), {}, []
    for run in runs:
        where = f"{file}: run {run.name!r}"
        if not _NAME.fullmatch(run.name) or run.name in _TAKEN or run.name.startswith("table."):
            raise ConfigError(
                f"{where}: not a name for a run",
                mend=f"use letters, digits and . _ -, but not {', '.join(_TAKEN)}, table.*",
            )
        flat = dict(_flat(run.overrides))
        _check(base, flat, where=where)
        if run.name in {r.name for r in out}:
            raise ConfigError(f"{where}: two runs have this name", mend="rename one")
        key = json.dumps(flat, sort_keys=True, default=list)
        if key in seen:
            raise ConfigError(f"{where} is the same as {seen[key]!r}", mend="leave one out")
        seen[key] = run.name
        out.append(Run(run.name, flat))
    if not out:
        raise ConfigError(f"{file}: its sweep() has no runs", mend="yield at least one")
    return out


def base_config(file: str) -> ml_collections.ConfigDict:
    """What `get_config` of `FILE.py` or `FILE.py:ARGUMENT` gives, locked."""
    path, colon, argument = file.partition(":")
    module = _load(path)
    config = module.get_config(argument) if colon else module.get_config()
    return config.lock()


def _load(path: str | os.PathLike) -> ModuleType:
    if not os.path.isfile(path):
        raise ConfigError(f"no file {path}", mend="check the path")
    name = f"sweep_config_{pathlib.Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _named(yielded: list, common: Mapping[str, Any], *, where: str) -> list[Run]:
    runs, width = [], len(str(max(len(yielded) - 1, 0)))
    for number, overrides in enumerate(yielded):
        if not isinstance(overrides, Mapping):
            raise ConfigError(
                f"{where}: sweep() yielded {overrides!r:.80}", mend="yield dictionaries by field"
            )
        own = dict(overrides)
        name = own.pop("name", f"run-{number:0{width}d}")
        runs.append(Run(str(name), {**common, **dict(_flat(own))}))
    return runs


def _flat(overrides: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check(base: ml_collections.ConfigDict, flat: Mapping[str, Any], *, where: str) -> None:
    config = base.copy_and_resolve_references()
    config.lock()
    for field, value in flat.items():
        try:
            json.dumps(value)
            config.update_from_flattened_dict({field: value})
        except Sg4vError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            said = " ".join(str(e.args[0] if e.args else e).split())
            raise ConfigError(
                f"{where}: {field}={value!r:.80}: {said[:200]}",
                mend="see configs/common.py for every field and its type",
            ) from e


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return repr(tuple(tuple(v) if isinstance(v, list) else v for v in value))
    return str(value)
