"""Start-up of a run of several processes: who they are, where they meet, what is missing.

Three ways, tried in this order:

by hand      `--coordinator=HOST:PORT --processes=N --process=K`, or the environment variables
             JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; a flag goes before
             its variable. The coordinator is process 0; the port is any free one of its machine.
GKE          the variables that GKE gives the pods of a TPU slice: TPU_WORKER_HOSTNAMES and
             TPU_WORKER_ID (and MEGASCALE_... for several slices).
TPU VM       the metadata server of the machine names all workers.

The last two are `jax.distributed.initialize()` without arguments. One process starts nothing.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Mapping

import jax

from sg4v_jax.errors import ConfigError
from sg4v_jax.train import heartbeat, metadata
from sg4v_jax.train.hosts import HostLostError

COORDINATOR, PROCESSES, PROCESS = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
_NAMES = {
    "coordinator": f"--coordinator (or {COORDINATOR})",
    "processes": f"--processes (or {PROCESSES})",
    "process": f"--process (or {PROCESS})",
}


@dataclasses.dataclass(frozen=True)
class Place:
    """One process of several."""

    coordinator: str  # host:port of process 0
    processes: int
    process: int


def by_hand(
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Place | None:
    """The place that flags and environment give; None for a run of one process.

    >>> by_hand(coordinator="10.0.0.2:8476", processes=4, process=1, environ={})
    Place(coordinator='10.0.0.2:8476', processes=4, process=1)

    Raises:
      ConfigError: some are given and others are not, or one has no meaning; names it.
    """
    given = {
        "coordinator": coordinator or environ.get(COORDINATOR) or None,
        "processes": _number("processes", processes, environ.get(PROCESSES)),
        "process": _number("process", process, environ.get(PROCESS)),
    }
    if given["processes"] == 1 or not any(v is not None for v in given.values()):
        return None
    missing = [_NAMES[name] for name, value in given.items() if value is None]
    if missing:
        there = [f"{name} {value}" for name, value in given.items() if value is not None]
        raise ConfigError(
            f"of the processes of this run, {', '.join(there)} is given, but not "
            f"{' and '.join(missing)}",
            mend="give all three, another --process to each; none for a run of one process",
        )
    place = Place(**given)
    if not re.fullmatch(r".+:\d{1,5}", place.coordinator):
        raise ConfigError(
            f"{_NAMES['coordinator']} is {place.coordinator!r}",
            mend="give HOST:PORT of the machine of process 0, for example 10.0.0.2:8476",
        )
    if place.processes < 1 or not 0 <= place.process < place.processes:
        raise ConfigError(
            f"process {place.process} of {place.processes}: {_NAMES['process']} counts from 0",
            mend=f"use 0 to {max(place.processes, 1) - 1}, another number in each process",
        )
    return place


def _number(name: str, value: int | None, text: str | None) -> int | None:
    if value is not None or not text:
        return value
    if not re.fullmatch(r"\d+", text):
        raise ConfigError(f"{_NAMES[name]} is {text!r}", mend="give a whole number")
    return int(text)


def tpu_workers(
    environ: Mapping[str, str] = os.environ,
    *,
    has_tpu: Callable[[], bool] = metadata.has_tpu,
    read: Callable[[str], str | None] = metadata.read,
) -> int:
    """Machines of the TPU slice that this one is of; 1 where it is none, or alone.

    >>> tpu_workers({"TPU_WORKER_HOSTNAMES": "h-0,h-1,h-2,h-3"}, has_tpu=lambda: True)
    4
    """
    if not has_tpu():
        return 1
    slices = environ.get("MEGASCALE_NUM_SLICES", "1")
    slices = int(slices) if slices.isdecimal() else 1
    names = environ.get("TPU_PROCESS_ADDRESSES") or environ.get("TPU_WORKER_HOSTNAMES")
    if not names and "TPU_SKIP_MDS_QUERY" not in environ:
        names = read(f"{metadata.server(environ)}/attributes/worker-network-endpoints")
    return max(1, len((names or "").split(","))) * max(1, slices)


def start(
    place: Place | None, *, seconds: int = 300, host_timeout: float = 60.0, lost_code: int = 1
) -> None:
    """Joins the other processes; before anything asks jax for a device. Nothing for one process.

    Args:
      place: from `by_hand`; None asks the machine whether it is of a TPU slice of several.
      seconds: how long to wait for the others.
      host_timeout: as `run.host_timeout`. jax's own watch ends a process without a word about
        who is gone: it gets more time than ours, and is there if ours fails.
      lost_code: exit code where jax aborts the process instead of raising, as it may when the
        others do not come: its coordinator's word can be faster than its own time-out.

    Raises:
      HostLostError: not all came; names the missing ones where it is known.
      ConfigError: jax does not find what it needs; says what that is.
    """
    if place is None and tpu_workers() == 1:
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # SIGTERM is ours (`stopping`): jax's notifier would catch it first.
    jax.config.update("jax_enable_preemption_service", False)
    where = {}
    if place is not None:
        where = dict(
            coordinator_address=place.coordinator,
            num_processes=place.processes,
            process_id=place.process,
            cluster_detection_method="deactivate",
        )
    heartbeat.on_abort(lambda *_: _aborted(place, seconds=seconds, code=lost_code))
    try:
        jax.distributed.initialize(
            **where,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=max(30, int(3 * host_timeout)),
            shutdown_timeout_seconds=max(10, int(host_timeout)),
        )
    except (ValueError, TypeError) as e:
        raise ConfigError(
            f"this looks like a worker of a TPU slice, but jax cannot tell its place: {e}",
            mend=f"give {', '.join(_NAMES.values())}",
        ) from e
    except RuntimeError as e:  # jax's own error types are of this one
        raise not_joined(str(e), place=place, seconds=seconds) from e


def _aborted(place: Place | None, *, seconds: int, code: int) -> None:
    whole = f"all {place.processes} processes" if place else "all processes"
    sys.stderr.write(
        f"error: not {whole} came within {seconds} s; the lines above say more\n"
        "  mend: see the logs of the others; start all processes within that time\n"
    )
    heartbeat.leave(code)


def not_joined(said: str, *, place: Place | None, seconds: int) -> HostLostError:
    """What jax said about those that did not come, in our words."""
    late = re.search(r"timed out task names:\s*((?:\S*\d+[,\s]*)+)", said)
    if late:
        numbers = re.findall(r"\d+(?=\D*(?:[,\s]|$))", late[1])
        return HostLostError(
            f"process {', '.join(numbers)} did not come within {seconds} s",
            mend="see its log; start all processes within that time",
        )
    at = f" at {place.coordinator}" if place else ""
    return HostLostError(
        f"process 0, the coordinator{at}, does not answer within {seconds} s "
        f"({' '.join(said.split())[:200]})",
        mend="start process 0, and see that its port can be reached from here",
    )
