"""What verbs share: settings of the process, and the reading of a flag."""

from __future__ import annotations

import logging
import os
import pathlib

import jax

from sg4v_jax.errors import ConfigError


def start_jax(*, compile_cache: str = "") -> None:
    """Quiet logs, and a persistent compilation cache.

    Args:
      compile_cache: its folder, `gs://` too. Empty: what JAX_COMPILATION_CACHE_DIR names, else one
        below the user's cache folder. Of several processes jax lets only the first write there: a
        folder that all hosts see spares all of them the compilation after a restart.
    """
    logging.getLogger("absl").setLevel(logging.WARNING)
    if compile_cache:
        jax.config.update("jax_compilation_cache_dir", compile_cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    elif not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", compile_cache_folder())
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def compile_cache_folder() -> str:
    """Where compiled programs are kept unless the user says another place."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return str(pathlib.Path(home) / "sg4v_jax" / "jax")


def checkpoint_step(text: str | None) -> int | str | None:
    """`--step`: a number, `best`, or None for the newest checkpoint.

    Raises:
      ConfigError: anything else.
    """
    if text in (None, "best"):
        return text
    if not text.isdecimal():
        raise ConfigError(f"--step is {text!r}", mend="give a number or best")
    return int(text)


def mesh_shape(text: str) -> dict[str, int]:
    """`--mesh`: "data=2,tensor=4" -> {"data": 2, "tensor": 4}.

    Raises:
      ConfigError: anything else; `sharding.make_mesh` checks names and numbers.
    """
    pairs = [part.split("=") for part in text.split(",") if part]
    try:
        return {name.strip(): int(number) for name, number in pairs}
    except ValueError as e:
        raise ConfigError(
            f"--mesh is {text!r}", mend="write axis=number, as in data=2,tensor=4"
        ) from e
