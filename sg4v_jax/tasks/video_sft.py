"""Supervised fine-tuning on videos: wires model, data, loss and optimizer for the one loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_collections
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console

from sg4v_jax import chips, files, sharding
from sg4v_jax.batch import Batch
from sg4v_jax.data import layout
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.pipeline import batches
from sg4v_jax.data.rows import Rows
from sg4v_jax.errors import ConfigError
from sg4v_jax.models.lora import split
from sg4v_jax.models.params import Skeleton, flatten
from sg4v_jax.tasks import benchmark_evals, held_out, run_setup, step_of
from sg4v_jax.tasks.shared_skips import SharedSkips
from sg4v_jax.train import flops, goodput, loop, overview, state, workdir
from sg4v_jax.train.checkpoint import Best, Checkpoints
from sg4v_jax.train.evaluate import Evaluation
from sg4v_jax.train.flops import Speed
from sg4v_jax.train.goodput import Clock, Ledger
from sg4v_jax.train.hosts import Hosts, of_this_run
from sg4v_jax.train.metrics import MetricsLog
from sg4v_jax.train.profile import Profile
from sg4v_jax.train.step import Loss
from sg4v_jax.train.tensorboard import TensorBoard
from sg4v_jax.weights.load import load_model
from sg4v_jax.weights.store import ModelSettings, save_settings


def train(
    config: ml_collections.ConfigDict, *, folder: str, console: Console, clock: Clock | None = None
) -> loop.Outcome:
    """Runs, or goes on with, the training described by `config` in `folder`.

    Of several processes each calls this alike, and the primary writes what one alone writes.

    Args:
      clock: counts from the start of the process, where it is given.

    Raises:
      WorkdirError: `folder` belongs to another config.
      ConfigError: the processes have different configs, data or folders.
      Sg4vError: anything a user can mend.
    """
    clock, hosts = clock or Clock(), of_this_run()
    workdir.check(folder, config.to_dict())
    profile = Profile(folder, window=config.profile.steps, who=config.profile.who, hosts=hosts)
    settings = run_setup.model_settings(config)
    shape, groups = step_of.parts(config, settings)
    mesh = sharding.make_mesh(dict(config.run.mesh))
    sharding.check_batch(config.data.batch_rows // config.data.accumulate, mesh=mesh)
    # What the primary learnt of the records, the others read: no file is opened by all of them.
    with hosts.primary_first("index"):
        rows = run_setup.build_rows(config, settings, console=console, folder=folder)
        test_rows = run_setup.held_out_rows(config, settings, console=console, folder=folder)
    skips = run_setup.skip_log(config, rows, folder=folder) if hosts.primary else None
    if config.eval.every and test_rows is None:
        raise ConfigError(
            f"eval.every is {config.eval.every}, but there is nothing to evaluate",
            mend="set eval.annotations or eval.parts, or eval.every to 0",
        )
    with jax.set_mesh(mesh):
        run = _Run(config, folder, settings, shape, groups, mesh, console, hosts, clock, profile)
        return run.fit(rows, SharedSkips(skips, hosts=hosts), test_rows)


class _Run:
    """One training run: what its pieces need of each other."""

    def __init__(
        self, config, folder, settings, shape, groups, mesh, console, hosts, clock, profile
    ):
        self.config: ml_collections.ConfigDict = config
        self.folder: str = folder
        self.settings: ModelSettings = settings
        self.shape: Skeleton = shape
        self.groups: Mapping[str, str] = groups
        self.mesh: Mesh = mesh
        self.console: Console = console
        self.hosts: Hosts = hosts
        self.clock: Clock = clock
        self.profile: Profile = profile

    def fit(self, rows: Rows, skips: SharedSkips, test_rows: Rows | None) -> loop.Outcome:
        c = self.config
        steps = run_setup.total_steps(c, rows)
        program = step_of.build(
            c,
            self.settings,
            skeleton=self.shape,
            groups=self.groups,
            mesh=self.mesh,
            steps=steps,
        )
        workdir.claim(self.folder, c.to_dict(), hosts=self.hosts)
        if self.hosts.primary:
            save_settings(self.folder, self.settings)
        best = Best(metric=c.run.best, mode=c.run.best_mode) if c.run.best else None
        checkpoints = Checkpoints(self.folder, keep=c.run.keep, best=best, hosts=self.hosts)
        with contextlib.closing(checkpoints):
            return self.run(program, rows, skips, test_rows, steps, checkpoints)

    def run(
        self,
        program: step_of.Program,
        rows: Rows,
        skips: SharedSkips,
        test_rows: Rows | None,
        steps: int,
        checkpoints: Checkpoints,
    ) -> loop.Outcome:
        """Starts or resumes, and hands all to the loop."""
        c = self.config
        current, data = self.start(program, checkpoints)
        digest = rows.digest()
        workdir.check_data(self.folder, data, plan=digest)
        first, last = int(current.step), c.optim.stop_step or steps
        same = "give all hosts the same annotation files, and one --workdir that they share"
        self.hosts.agree("data and step", f"{digest} at step {first}", mend=same)
        self.introduce(current, rows, first=first, steps=steps)

        def data_state(done: int) -> dict[str, Any]:
            skips.collect()
            return {"row": done * c.data.batch_rows, "plan": digest}

        step, key = self.compiled(program), self.replicated(jax.random.key(c.run.seed))
        speed = self.speed()
        with self.log(first) as log, self.accounts(first, speed) as ledger:
            return loop.run(
                current,
                step=lambda s, b: step(s, b, key),
                batches=lambda start: self.batches(rows, start=start, stop=last, skips=skips),
                data_state=data_state,
                rates=lambda done: {n: float(rate(done)) for n, rate in program.schedules.items()},
                checkpoints=checkpoints,
                log=log,
                settings=loop.LoopSettings(
                    steps=last,
                    log_every=c.run.log_every,
                    save_every=c.run.save_every,
                    nonfinite=c.run.nonfinite,
                ),
                console=self.console,
                evaluations=self.evaluations(test_rows, program.loss),
                records_of=lambda done: records_of(rows, done),
                around=loop.Around(
                    hosts=self.hosts,
                    clock=self.clock,
                    ledger=ledger,
                    profile=self.profile,
                    speed=speed,
                    maintenance_url=c.run.maintenance_url,
                ),
            )

    def compiled(self, program: step_of.Program) -> Callable[..., Any]:
        """The step, compiled on all processes: none begins to wait for others that still compile.

        (Between CPUs, gloo gives up such a wait after half a minute.)
        """
        with self.clock.within(goodput.COMPILE):
            step = program.lower().compile()
            self.hosts.gather("compiled", "yes")
        return step

    def replicated(self, value: jax.Array) -> jax.Array:
        """`value`, which every process has, as one array on all devices."""
        return jax.device_put(value, NamedSharding(self.mesh, PartitionSpec()))

    def speed(self) -> Speed:
        """What a step's seconds are worth on this machine."""
        data, kind = self.config.data, self.mesh.devices.flat[0].device_kind
        budget = Budget(data.positions, data.tiles, data.scored)
        row = flops.step(self.settings.config, budget, skeleton=self.shape, groups=self.groups)
        chip = chips.of_kind(kind)
        return Speed(data.batch_rows * sum(row.step.values()), self.mesh.size, chip and chip.peak)

    @contextlib.contextmanager
    def accounts(self, first: int, speed: Speed) -> Iterator[Ledger]:
        """`goodput.json`, which is written and said however the run ends."""
        folder = self.folder if self.hosts.primary else None
        ledger = Ledger(folder, clock=self.clock, first=first)
        try:
            yield ledger
        except BaseException as e:
            ledger.write(outcome=type(e).__name__)
            raise
        ledger.write(outcome="ended")
        if self.hosts.primary:
            found = goodput.summary(goodput.read(self.folder))
            lines = goodput.said(found), flops.said(ledger.speed(speed))
            self.console.print("\n".join(lines), markup=False, highlight=False)

    @contextlib.contextmanager
    def log(self, first: int) -> Iterator[MetricsLog]:
        """`metrics.jsonl`, and TensorBoard where it is asked for, from step `first` on."""
        mine = self.hosts.primary
        wanted = mine and self.config.run.tensorboard
        board = TensorBoard(self.folder, step=first) if wanted else None
        path = files.path(self.folder) / "metrics.jsonl"
        try:
            yield MetricsLog(path, step=first, also=[board.write] if board else [], writes=mine)
        finally:
            if board:
                board.close()

    def batches(
        self, rows: Rows, *, start: int, stop: int, skips: SharedSkips | None, accumulate: int = 0
    ) -> Iterator[Batch]:
        """Global device batches `start` .. `stop - 1`, checked; `skips` is told what went wrong."""
        c, accumulate = self.config, accumulate or self.config.data.accumulate
        reads = batches(
            rows,
            start=start,
            stop=stop,
            shard=sharding.batch_shard(self.mesh),
            accumulate=accumulate,
            workers=c.run.workers,
            threads=c.run.threads,
        )
        with contextlib.closing(reads):
            for batch, notes in reads:
                if skips is not None:
                    skips.add(notes)
                layout.check(
                    batch,
                    patches=self.settings.inputs.anyres.patches,
                    separators=self.settings.config.separators,
                    vocab_size=self.settings.config.llm.vocab_size,
                )
                axis = 1 if accumulate > 1 else 0
                yield sharding.to_global(batch, mesh=self.mesh, batch_axis=axis)

    def evaluations(self, rows: Rows | None, loss: Loss) -> Sequence[Evaluation]:
        """What is measured on the way: held-out records, and benchmarks."""
        asked = benchmark_evals.evaluations(
            self.config.evals,
            settings=self.settings,
            dtype=self.config.model.dtype,
            mesh=self.mesh,
            console=self.console,
        )
        if not self.config.eval.every:
            return asked
        one_pass: Callable[[], Iterator[Batch]] = lambda: self.batches(
            rows, start=0, stop=rows.steps_in(0), skips=None, accumulate=1
        )
        every = self.config.eval.every
        return (held_out.evaluation(one_pass, loss=loss, skeleton=self.shape, every=every), *asked)

    def introduce(self, current: state.TrainState, rows: Rows, *, first: int, steps: int) -> None:
        """Says what will be trained on what, and writes the parameter overview."""
        lines = overview.parameter_table(current, groups=self.groups)
        if self.hosts.primary:
            overview.write(self.folder, lines)
        if not first:
            overview.show(lines, console=self.console)
        self.console.print(
            f"{'resume at' if first else 'start at'} step {first} of {steps}: "
            f"{len(rows.index.records)} records, {rows.steps_in(0)} steps an epoch, "
            f"{sum(v.size for v in current.trained.values()) / 1e6:.2f} M trained parameters"
        )

    def start(
        self, program: step_of.Program, checkpoints: Checkpoints
    ) -> tuple[state.TrainState, dict[str, Any]]:
        """The newest checkpoint, or step 0 from `model.init` or from random weights."""
        c = self.config.model
        if checkpoints.latest_step() is not None:
            return checkpoints.restore(program.state)
        how = dict(groups=self.groups, optimizer=program.optimizer, frozen_dtype=c.frozen_dtype)
        placed = program.shardings()
        build, key = run_setup.builder(self.settings), jax.random.key(self.config.run.seed)
        create = lambda flat: state.create(flat, **how)
        if not c.init:
            fresh = jax.jit(lambda k: create(flatten(build(k))), out_shardings=placed)
            return fresh(key), {}
        _, flat = load_model(c.init, shardings=placed.params())
        if self.settings.lora is not None:  # the compiler leaves out what is not returned
            flat |= jax.jit(lambda k: split(flatten(build(k)))[1])(key)
        self.shape.build(flat)  # says what does not fit
        return jax.jit(create, out_shardings=placed)(flat), {}


def records_of(rows: Rows, step: int) -> list[str]:
    """Names of the records in the batch of a step, counted from 1."""
    first = (step - 1) * rows.batch_rows
    numbers = [n for row in range(first, first + rows.batch_rows) for n in rows.records_of(row)]
    return [rows.index.records[n].where for n in numbers]
