"""`--config=FILE`: finds shipped configs from anywhere and explains a mistyped field."""

from __future__ import annotations

import difflib
import importlib.util
import os
import pathlib
import re

from sg4v_jax.errors import ConfigError

HELPERS = ("__init__", "common", "mixes")  # files of the folder that are no run's config


def resolve(argv: list[str]) -> list[str]:
    """Replaces a `--config` file that is not there by the one that the package ships.

    `--config=configs/quickstart.py` so works in a checkout and from an installed wheel alike.

    Raises:
      ConfigError: no such file, here or among the shipped ones (the nearest name is offered).
    """
    out = []
    argv = list(argv)
    while argv:
        word = argv.pop(0)
        if word in ("--config", "-config") and argv:
            word = f"--config={argv.pop(0)}"
        if word.startswith(("--config=", "-config=")):
            word = f"--config={_find(word.split('=', 1)[1])}"
        out.append(word)
    return out


def _find(value: str) -> str:
    name, colon, argument = value.partition(":")
    if os.path.isfile(name):
        return value
    folder = shipped_folder()
    candidate = folder / pathlib.PurePath(name).name
    if folder.is_dir() and pathlib.PurePath(name).parts[:1] == ("configs",) and candidate.is_file():
        return f"{candidate}{colon}{argument}"
    known = [f"configs/{p.name}" for p in sorted(folder.glob("*.py")) if p.stem not in HELPERS]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    offer = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(known)}"
    raise ConfigError(f"--config: no file {name}", mend=offer)


def shipped_folder() -> pathlib.Path:
    """Where the package's configs lie (the checkout's `configs/` when installed editable)."""
    spec = importlib.util.find_spec("sg4v_jax.configs")
    if spec is not None and spec.submodule_search_locations:
        return pathlib.Path(next(iter(spec.submodule_search_locations)))
    return pathlib.Path(__file__).parents[2] / "configs"


def explain(error: Exception, argv: list[str]) -> ConfigError:
    """A mistyped `--config.FIELD=VALUE` as a message that offers the nearest field."""
    said = error.args[0] if error.args else error  # str() of a KeyError quotes its message
    text = " ".join(str(said).split())
    meant = re.search(r"[Dd]id you mean \"?'?([\w.]+)", text)
    given = [a for a in argv if a.startswith(("--config.", "-config."))]
    what = f"config field in {', '.join(given)}" if given else "--config"
    mend = f"did you mean {meant[1]}?" if meant else "see configs/common.py for every field"
    return ConfigError(f"{what}: {text[:300]}", mend=mend)
