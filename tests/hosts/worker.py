"""One process of a pod that trains a matrix: the real loop, checkpoints, start-up and heartbeat.

A model of one matrix compiles in a blink, so that many processes can be started, killed and started
again. Row r of the data is a pure function of r; which rows a process read at which step goes to
WORKDIR/order.K.jsonl. Faults are planted by flags.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from sg4v_jax import sharding
from sg4v_jax.cli.exit_codes import BAD_INPUT, HOST_LOST, INTERRUPTED, STOPPED
from sg4v_jax.errors import RecordError
from sg4v_jax.train import distributed, goodput, heartbeat, loop, state
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.train.hosts import HostLostError, of_this_run
from sg4v_jax.train.metrics import MetricsLog
from sg4v_jax.train.profile import Profile

WIDTH, ROWS = 8, 8  # of the matrix, of a batch
GROUPS = {"kernel": "all", "frozen": "frozen"}


def row(number: int) -> np.ndarray:
    """[WIDTH] numbers of one data row."""
    return np.random.default_rng(number).standard_normal(WIDTH).astype(np.float32)


def make_step(optimizer, *, nan_at: int):
    """A step on `mean((x @ kernel - x @ frozen)^2)`; a NaN leaves the state as it was."""

    def loss(trained, frozen, x):
        return jnp.mean((x @ trained["kernel"] - x @ frozen["frozen"]) ** 2)

    def step(now: state.TrainState, x: jax.Array):
        x = jnp.where((now.step + 1 == nan_at) & (jnp.arange(ROWS)[:, None] == 5), jnp.nan, x)
        value, grads = jax.value_and_grad(loss)(now.trained, now.frozen, x)
        updates, slots = optimizer.update(grads, now.slots, now.trained)
        good = jnp.isfinite(value)
        keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)
        trained = keep(optax.apply_updates(now.trained, updates), now.trained)
        metrics = {"loss": value, "weight": jnp.float32(1), "nonfinite": 1 - good.astype(jnp.int32)}
        return state.TrainState(now.step + 1, trained, now.frozen, keep(slots, now.slots)), metrics

    return step


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser()
    for name in ("coordinator", "workdir", "mesh", "raise_at", "kill_at", "profile", "url"):
        p.add_argument(f"--{name}", default="")
    for name in ("processes", "process", "hang_at", "nan_at"):
        p.add_argument(f"--{name}", type=int)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--join_seconds", type=int, default=120)
    p.add_argument("--save_every", type=int, default=4)
    p.add_argument("--pause", type=float, default=0.02)
    p.add_argument("--host_timeout", type=float, default=10)
    p.add_argument("--hang_timeout", type=float, default=600)
    p.add_argument("--nonfinite", default="skip")
    return p.parse_args()


def batches(start: int, *, args, mesh, hosts, order):
    """Global batches from step `start` on, of which this process reads its part."""
    index, count = sharding.batch_shard(mesh)
    part = ROWS // count
    for number in range(start, args.steps):
        time.sleep(args.pause)
        if args.raise_at == f"{hosts.index}:{number + 1}":
            raise RecordError(f"row {number * ROWS} is bad", mend="mend it")
        if args.hang_at == number + 1 and hosts.index == 1:
            time.sleep(600)  # the heartbeat goes on: this process lives, but does not come
        mine = [number * ROWS + index * part + k for k in range(part)]
        order.write(json.dumps([number + 1, mine]) + "\n")
        order.flush()
        yield sharding.to_global(np.stack([row(r) for r in mine]), mesh=mesh)


def train(args, *, clock: goodput.Clock) -> loop.Outcome:
    hosts, folder = of_this_run(), pathlib.Path(args.workdir)
    sizes = dict(part.split("=") for part in (args.mesh or "fsdp=-1").split(","))
    mesh = sharding.make_mesh({a: int(n) for a, n in sizes.items()})
    optimizer = optax.adam(0.002)
    split = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
    whole = jax.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def create():
        flat = {p: jax.random.normal(jax.random.key(len(p)), (WIDTH, WIDTH)) for p in GROUPS}
        return state.create(flat, groups=GROUPS, optimizer=optimizer)

    abstract = jax.eval_shape(create)
    placed = jax.tree.map(lambda s: split if s.ndim else whole, abstract)
    order = (folder / f"order.{hosts.index}.jsonl").open("a")
    checkpoints = Checkpoints(folder, keep=2, hosts=hosts)
    with jax.set_mesh(mesh), contextlib.closing(checkpoints), order:
        if checkpoints.latest_step() is None:
            now = jax.jit(create, out_shardings=placed)()
        else:
            lying = lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where)
            now, data = checkpoints.restore(jax.tree.map(lying, abstract, placed))
            assert data == {"row": int(now.step) * ROWS}
        hosts.agree("step", str(int(now.step)), mend="share the folder")
        ledger = goodput.Ledger(folder if hosts.primary else None, clock=clock, first=int(now.step))
        step = jax.jit(
            make_step(optimizer, nan_at=args.nan_at or -1),
            donate_argnums=0,
            out_shardings=(placed, None),
        )
        outcome = loop.run(
            now,
            step=step,
            batches=lambda n: batches(n, args=args, mesh=mesh, hosts=hosts, order=order),
            data_state=lambda done: {"row": done * ROWS},
            rates=lambda done: {},
            checkpoints=checkpoints,
            log=MetricsLog(folder / "metrics.jsonl", step=int(now.step), writes=hosts.primary),
            settings=loop.LoopSettings(
                steps=args.steps,
                log_every=1,
                save_every=args.save_every,
                nonfinite=args.nonfinite,
            ),
            console=Console(quiet=not hosts.primary),
            around=loop.Around(
                hosts=hosts,
                clock=clock,
                ledger=ledger,
                profile=Profile(folder, window=args.profile, hosts=hosts),
                maintenance_url=args.url,
            ),
        )
        ledger.write(outcome="ended")
    return outcome


def kill_at_file(pattern: str) -> None:
    """SIGKILL to itself at the first file event that matches, as `tests/train/faulty.py`."""

    def hook(event, arguments):
        if event == "open" or event.startswith("os."):
            paths = [str(a) for a in arguments if isinstance(a, (str, os.PathLike))]
            if re.match(pattern, " ".join([event, *paths])):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main() -> int:
    args, clock = arguments(), goodput.Clock()
    pathlib.Path(args.workdir).mkdir(parents=True, exist_ok=True)
    place = distributed.by_hand(
        coordinator=args.coordinator, processes=args.processes, process=args.process
    )
    try:
        distributed.start(
            place,
            seconds=args.join_seconds,
            host_timeout=args.host_timeout,
            lost_code=HOST_LOST,
        )
    except HostLostError as e:
        print(f"error: {e}", flush=True)
        return HOST_LOST
    hosts = of_this_run()
    who, _, pattern = args.kill_at.partition(":")
    if who == str(hosts.index):
        kill_at_file(pattern)
    codes = heartbeat.Codes(lost=HOST_LOST, error=BAD_INPUT, bug=1, interrupted=INTERRUPTED)
    beat = heartbeat.Heartbeat(
        hosts, clock=clock, timeout=args.host_timeout, hang=args.hang_timeout, codes=codes
    )
    with heartbeat.together(hosts, beat, codes=codes):
        outcome = train(args, clock=clock)
    print(f"ended at step {int(outcome.state.step)}", flush=True)
    return 0 if outcome.finished else STOPPED


if __name__ == "__main__":
    assert os.environ.get("JAX_PLATFORMS") == "cpu"
    raise SystemExit(main())
