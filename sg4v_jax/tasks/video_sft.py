"""Supervised fine-tuning on videos: wires model, data, loss and optimizer for the one loop."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jax.sharding import Mesh
from rich.console import Console
from rich.progress import track

from sg4v_jax import files, sharding
from sg4v_jax.data import layout
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.pipeline import batches
from sg4v_jax.data.readers import read_llava_json
from sg4v_jax.data.rows import Rows, build_index
from sg4v_jax.errors import ConfigError
from sg4v_jax.models.params import Skeleton, flatten, skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM, VideoLMConfig
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.train import loop, optim, state, workdir
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.train.losses import next_token_loss
from sg4v_jax.train.metrics import MetricsLog
from sg4v_jax.train.step import make_step
from sg4v_jax.weights.store import (
    ModelSettings,
    anyres_of,
    load_params,
    load_settings,
    save_settings,
)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a run needs, built from its config."""

    settings: ModelSettings
    rows: Rows
    steps: int
    skipped: tuple[tuple[str, str], ...]


def model_config(config: ml_collections.ConfigDict) -> VideoLMConfig:
    """The model named by the run config.

    Raises:
      ConfigError: an unknown preset.
    """
    if config.model.init:
        return load_settings(config.model.init).config
    if config.model.preset not in PRESETS:
        raise ConfigError(
            f"model.preset {config.model.preset!r} is unknown", mend=f"use one of {list(PRESETS)}"
        )
    return PRESETS[config.model.preset]()


def model_settings(config: ml_collections.ConfigDict) -> ModelSettings:
    """Model, input description and tokenizer of a run.

    Raises:
      ConfigError: the tokenizer has more ids than the model has embeddings.
    """
    model = model_config(config)
    data = config.data
    inputs = InputSpec(
        anyres=anyres_of(model),
        visual=data.visual,
        frames=data.frames,
        band=data.band,
        longest_side=data.longest_side,
        template=data.template,
        preamble=data.preamble,
    )
    source = data.tokenizer or files.path(config.model.init) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(source)
    if tokenizer.vocab_size > model.llm.vocab_size:
        raise ConfigError(
            f"{source}: {tokenizer.vocab_size} token ids, the model embeds {model.llm.vocab_size}",
            mend="use the model's own tokenizer",
        )
    return ModelSettings(model, inputs, tokenizer)


def build_rows(
    config: ml_collections.ConfigDict, settings: ModelSettings, *, console: Console
) -> tuple[Rows, tuple[tuple[str, str], ...]]:
    """Reads the annotations, measures every record, and plans the rows."""
    data = config.data
    records = []
    for part in data.annotations:
        root = data.root or os.path.dirname(str(part))
        records += read_llava_json(part, root=root)
    index = build_index(
        records,
        spec=settings.inputs,
        tokenizer=settings.tokenizer,
        max_skipped=data.max_skipped,
        progress=lambda items: track(items, description="index", console=console),
    )
    for where, reason in index.skipped:
        console.print(f"skipped {where}: {reason}", style="yellow", markup=False)
    rows = Rows(
        index,
        spec=settings.inputs,
        tokenizer=settings.tokenizer,
        budget=Budget(data.positions, data.tiles, data.scored),
        batch_rows=data.batch_rows,
        seed=config.run.seed,
        norm=data.norm,
        microbatch=data.microbatch,
    )
    return rows, index.skipped


def total_steps(config: ml_collections.ConfigDict, rows: Rows) -> int:
    """`optim.steps`, or as many as `optim.epochs` passes take."""
    if config.optim.steps:
        return config.optim.steps
    return sum(rows.steps_in(epoch) for epoch in range(config.optim.epochs))


def train(config: ml_collections.ConfigDict, *, folder: str, console: Console) -> loop.Outcome:
    """Runs, or goes on with, the training described by `config` in `folder`.

    Raises:
      WorkdirError: `folder` belongs to another config.
      Sg4vError: anything a user can mend.
    """
    workdir.check(folder, config.to_dict())
    settings = model_settings(config)
    rows, skipped = build_rows(config, settings, console=console)
    workdir.record_skipped(folder, skipped)
    steps = total_steps(config, rows)
    save_settings(folder, settings)
    mesh = sharding.make_mesh(dict(config.run.mesh))
    with jax.set_mesh(mesh):
        return _fit(config, folder, settings, rows, steps, mesh=mesh, console=console)


def _fit(config, folder, settings, rows, steps, *, mesh: Mesh, console) -> loop.Outcome:
    shape = skeleton(lambda key: VideoLM(settings.config, key=key))
    groups = optim.assign(list(shape.shapes), [tuple(rule) for rule in config.optim.rules])
    trained = {p: g for p, g in groups.items() if g != optim.FROZEN}
    o = config.optim
    optimizer, schedules = optim.build(
        {name: optim.Group(**g) for name, g in o.groups.items()},
        trained,
        steps=steps,
        warmup_ratio=o.warmup_ratio,
        schedule_name=o.schedule,
        floor=o.floor,
        b1=o.b1,
        b2=o.b2,
        eps=o.eps,
        clip=o.clip,
    )
    workdir.claim(folder, config.to_dict())
    checkpoints = Checkpoints(folder, keep=config.run.keep)
    current, data = _start(config, settings, shape, groups, optimizer, checkpoints, mesh=mesh)
    digest = rows.plan(0).digest()
    workdir.check_data(folder, data, plan=digest)
    first, last = int(current.step), o.stop_step or steps
    console.print(
        f"{'resume at' if first else 'start at'} step {first} of {steps}: "
        f"{len(rows.index.records)} records, {rows.steps_in(0)} steps an epoch, "
        f"{sum(v.size for v in current.trained.values()) / 1e6:.2f} M trained parameters"
    )

    dtype = jnp.dtype(config.model.dtype)

    def loss(model, batch, key):
        return next_token_loss(
            model, batch, dtype=dtype, remat=config.model.remat, vocab_chunks=o.vocab_chunks
        )

    compiled = jax.jit(
        make_step(loss, skeleton=shape, optimizer=optimizer, accumulate=config.data.accumulate),
        donate_argnums=0,
    )
    key = jax.random.key(config.run.seed)
    axis = 1 if config.data.accumulate > 1 else 0

    def device_batches(start: int):
        for batch in batches(
            rows,
            start=start,
            stop=last,
            shard=sharding.batch_shard(mesh),
            accumulate=config.data.accumulate,
            workers=config.run.workers,
            threads=config.run.threads,
        ):
            layout.check(
                batch,
                patches=settings.inputs.anyres.patches,
                separators=settings.config.separators,
                vocab_size=settings.config.llm.vocab_size,
            )
            yield sharding.to_global(batch, mesh=mesh, batch_axis=axis)

    outcome = loop.run(
        current,
        step=lambda s, b: compiled(s, b, key),
        batches=device_batches,
        data_state=lambda done: {"row": done * config.data.batch_rows, "plan": digest},
        rates=lambda done: {name: float(rate(done)) for name, rate in schedules.items()},
        checkpoints=checkpoints,
        log=MetricsLog(files.path(folder) / "metrics.jsonl", step=first),
        settings=loop.LoopSettings(
            steps=last, log_every=config.run.log_every, save_every=config.run.save_every
        ),
        console=console,
    )
    checkpoints.close()
    return outcome


def _start(
    config, settings, shape: Skeleton, groups, optimizer, checkpoints, *, mesh
) -> tuple[state.TrainState, dict[str, Any]]:
    """The newest checkpoint, or step 0 from `model.init` or from random weights."""

    def fresh(key):
        flat = flatten(VideoLM(settings.config, key=key))
        return state.create(flat, groups=groups, optimizer=optimizer)

    abstract = jax.eval_shape(fresh, jax.random.key(0))
    placed = state.shardings(abstract, skeleton=shape, mesh=mesh)
    if checkpoints.latest_step() is not None:
        wanted = jax.tree.map(
            lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
            abstract,
            placed,
        )
        return checkpoints.restore(wanted)
    if config.model.init:
        flat = load_params(config.model.init)
        shape.build(flat)  # says what does not fit
        created = state.create(flat, groups=groups, optimizer=optimizer)
        return jax.device_put(created, placed), {}
    key = jax.random.key(config.run.seed)
    return jax.jit(fresh, out_shardings=placed)(key), {}
