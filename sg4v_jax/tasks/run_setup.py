"""From a run's config to what the run is made of: model, inputs, rows, rules, optimizer."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import optax
from flax import nnx
from rich.console import Console
from rich.progress import track

from sg4v_jax import files
from sg4v_jax.data.index import Index, build_index
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.mixture import Part, loss_weights_of, parts_of, read_mix, weights_of
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.rows import Rows
from sg4v_jax.data.skips import SkipLog
from sg4v_jax.errors import ConfigError
from sg4v_jax.models.lora import LoRA, attach
from sg4v_jax.models.video_lm import PRESETS, VideoLM, VideoLMConfig
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.train import optim
from sg4v_jax.train.modes import mode_rules
from sg4v_jax.weights.load import load_model_settings
from sg4v_jax.weights.store import ModelSettings, anyres_of

SKIPPED = "skipped.jsonl"
INDEX = "index"  # of a working directory: what the index pass learnt
SAID = 5  # skipped records that are named on the console


def model_config(config: ml_collections.ConfigDict) -> VideoLMConfig:
    """The model named by the run config.

    Raises:
      ConfigError: an unknown preset.
    """
    if config.model.init:
        return load_model_settings(config.model.init).config
    if config.model.preset not in PRESETS:
        raise ConfigError(
            f"model.preset {config.model.preset!r} is unknown", mend=f"use one of {list(PRESETS)}"
        )
    return PRESETS[config.model.preset]()


def lora_of(config: ml_collections.ConfigDict) -> LoRA | None:
    """The low-rank branches of the run, None without.

    Raises:
      ConfigError: settings that contradict.
    """
    lora = config.model.lora
    if not lora.rank:
        return None
    return LoRA(rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=tuple(lora.targets))


def model_settings(config: ml_collections.ConfigDict) -> ModelSettings:
    """Model, input description and tokenizer of a run.

    Raises:
      ConfigError: the tokenizer has more ids than the model has embeddings, or there is none.
    """
    data = config.data
    init = load_model_settings(config.model.init) if config.model.init else None
    model = init.config if init else model_config(config)
    if not data.tokenizer and init is None:
        raise ConfigError("a new model needs a tokenizer", mend="set data.tokenizer, or model.init")
    inputs = InputSpec(
        anyres=anyres_of(model),
        visual=data.visual,
        frames=data.frames,
        band=data.band,
        longest_side=data.longest_side,
        template=data.template,
        preamble=data.preamble,
        sampling=data.sampling,
        double_bos=data.double_bos,
    )
    source = data.tokenizer or config.model.init
    tokenizer = Tokenizer.from_file(data.tokenizer) if data.tokenizer else init.tokenizer
    if tokenizer.vocab_size > model.llm.vocab_size:
        raise ConfigError(
            f"{source}: {tokenizer.vocab_size} token ids, the model embeds {model.llm.vocab_size}",
            mend="use the model's own tokenizer",
        )
    return ModelSettings(model, inputs, tokenizer, lora_of(config))


def builder(settings: ModelSettings) -> Callable[[jax.Array], nnx.Module]:
    """`key -> model` with its low-rank branches; for `skeleton`, or under jit."""

    def build(key: jax.Array) -> nnx.Module:
        model = VideoLM(settings.config, key=key)
        if settings.lora is None:
            return model
        return attach(model, settings.lora, key=jax.random.fold_in(key, 1))

    return build


def rules(config: ml_collections.ConfigDict) -> list[tuple[str, str]]:
    """What trains in which group: `optim.parts` in words, else `optim.rules`."""
    if config.optim.parts:
        return list(mode_rules(**config.optim.parts))
    return [tuple(rule) for rule in config.optim.rules]


def make_optimizer(
    config: ml_collections.ConfigDict, groups: Mapping[str, str], *, steps: int
) -> tuple[optax.GradientTransformation, dict[str, optax.Schedule]]:
    """The optimizer over the trained parameters, and each group's learning rates.

    Raises:
      ConfigError: a group without settings, or settings of a group that nothing is in.
    """
    o = config.optim
    trained = {path: group for path, group in groups.items() if group != optim.FROZEN}
    return optim.build(
        {name: optim.Group(**settings) for name, settings in o.groups.items()},
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


def build_rows(
    config: ml_collections.ConfigDict,
    settings: ModelSettings,
    *,
    console: Console,
    folder: str | os.PathLike | None = None,
) -> Rows:
    """Reads the annotations, measures every record, and plans the training rows.

    What is measured is kept in `folder/index` for the next start, where a folder is given.
    """
    data = config.data
    how = dict(norm=data.norm, microbatch=data.microbatch, sampling=data.train_sampling)
    how["loss_weights"] = loss_weights_of(parts_of(data))  # held-out tokens all count alike
    cache = _index_cache(folder, "train")
    return _rows(config, settings, data, console=console, cache=cache, **how)


def _index_cache(folder: str | os.PathLike | None, name: str) -> str | None:
    return None if folder is None else str(files.path(folder) / INDEX / f"{name}.json")


def skip_log(
    config: ml_collections.ConfigDict, rows: Rows, *, folder: str | os.PathLike
) -> SkipLog:
    """Names in `folder/skipped.jsonl` what cannot be used, from the index pass on."""
    index = rows.index
    skips = SkipLog(
        files.path(folder) / SKIPPED,
        total_records=len(index.records) + len(index.skipped),
        max_share=config.data.max_skipped,
    )
    skips.index(index.skipped)
    return skips


def held_out_rows(
    config: ml_collections.ConfigDict,
    settings: ModelSettings,
    *,
    console: Console,
    folder: str | os.PathLike | None = None,
) -> Rows | None:
    """The rows of `eval.annotations` and `eval.parts`; None where there are none.

    Their budgets are the training's; every scored token counts alike, frames are chat's.
    """
    if not config.eval.annotations and not config.eval.parts:
        return None
    cache = _index_cache(folder, "held_out")
    return _rows(config, settings, config.eval, console=console, cache=cache)


def _rows(
    config: ml_collections.ConfigDict,
    settings: ModelSettings,
    source: Mapping[str, Any],
    *,
    console: Console,
    cache: str | None,
    **how: Any,
) -> Rows:
    """Rows over the parts that `source` names."""
    data = config.data
    parts = parts_of(source)
    index = _index(config, settings, parts, console=console, cache=cache, budget=_budget(config))
    return Rows(
        index,
        spec=settings.inputs,
        tokenizer=settings.tokenizer,
        budget=_budget(config),
        batch_rows=data.batch_rows,
        seed=config.run.seed,
        seconds=data.decode_seconds,
        weights=weights_of(parts),
        **how,
    )


def train_index(
    config: ml_collections.ConfigDict,
    settings: ModelSettings,
    *,
    console: Console,
    cache: str | None = None,
) -> Index:
    """What the training data needs of rows; samples longer than a row are neither cut nor dropped.

    Args:
      cache: as `build_index`.
    """
    parts = parts_of(config.data)
    return _index(config, settings, parts, console=console, cache=cache, budget=None)


def _budget(config: ml_collections.ConfigDict) -> Budget:
    return Budget(config.data.positions, config.data.tiles, config.data.scored)


def _index(
    config: ml_collections.ConfigDict,
    settings: ModelSettings,
    parts: Sequence[Part],
    *,
    console: Console,
    cache: str | None,
    budget: Budget | None,
) -> Index:
    """Reads and measures the records of `parts`; without a budget none is too long."""
    data = config.data
    records = read_mix(parts, seed=config.run.seed)
    index = build_index(
        records,
        spec=settings.inputs,
        tokenizer=settings.tokenizer,
        max_skipped=data.max_skipped,
        progress=lambda items: track(items, description="index", console=console),
        too_long=data.too_long if budget else "error",
        budget=budget,
        seconds=data.decode_seconds,
        cache=cache,
    )
    _say_skipped(index, console=console)
    if index.truncated:
        console.print(f"{index.truncated} of {len(records)} records are cut to a row's length")
    return index


def _say_skipped(index: Index, *, console: Console) -> None:
    """The first few that cannot be used, and how many there are for each reason."""
    for where, reason in index.skipped[:SAID]:
        console.print(f"skipped {where}: {reason}", style="yellow", markup=False)
    # The reason alone: what comes before it names the record or the file.
    reasons = collections.Counter(r.split(": ")[-1] for _, r in index.skipped)
    if len(index.skipped) > SAID:
        counts = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common(SAID))
        console.print(
            f"{len(index.skipped)} records are left out: {counts}; all are in {SKIPPED}",
            style="yellow",
            markup=False,
        )


def total_steps(config: ml_collections.ConfigDict, rows: Rows) -> int:
    """`optim.steps`, or as many as `optim.epochs` passes take."""
    if config.optim.steps:
        return config.optim.steps
    return sum(rows.steps_in(epoch) for epoch in range(config.optim.epochs))
