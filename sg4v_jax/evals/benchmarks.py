"""The benchmarks by name. Each is a room of its own that offers the same few functions.

TASKS, PROTOCOLS                            names, and how it asks
load(data, tasks=...)                       the question files as users download them
rate(questions, predictions, protocol=..., judge=..., data=...)    a row for each question
summarise(rows, protocol=...)               cells and averages
read_predictions, read_judged, write        its own files, in and out
"""

from __future__ import annotations

import importlib
from types import ModuleType

from sg4v_jax.errors import ConfigError
from sg4v_jax.evals.protocol import Protocol

BENCHMARKS = ("tempcompass", "videobench", "mvbench", "videochatgpt")


def open_benchmark(name: str) -> ModuleType:
    """The room of a benchmark.

    Raises:
      ConfigError: no such benchmark.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"benchmark {name!r} is unknown", mend=f"use {', '.join(BENCHMARKS)}")
    return importlib.import_module(f"sg4v_jax.evals.{name}")


def get_protocol(benchmark: str, name: str) -> Protocol:
    """The protocol `name` of a benchmark.

    Raises:
      ConfigError: no such benchmark or protocol.
    """
    known = open_benchmark(benchmark).PROTOCOLS
    if name not in known:
        raise ConfigError(f"protocol {name!r} is unknown", mend=f"use {' or '.join(known)}")
    return known[name]
