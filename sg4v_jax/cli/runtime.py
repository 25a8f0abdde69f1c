"""Settings of the process that verbs share."""

from __future__ import annotations

import logging
import os
import pathlib

import jax


def start_jax() -> None:
    """Quiet logs, and a persistent compilation cache unless the environment names one."""
    logging.getLogger("absl").setLevel(logging.WARNING)
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(home) / "sg4v_jax" / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
