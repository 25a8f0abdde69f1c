"""The plan of generation: the engine's prefill and decode, compiled for a slice.

Weights are split by the rules of training (`sharding.RULES`), heads and feed-forward over `tensor`;
what prefill gives, decode takes where it lies. The decode loop is compiled whole, with as many tokens
as `new_tokens`, and its time divided by them.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sg4v_jax import files, sharding
from sg4v_jax.batch import Batch
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import ConfigError
from sg4v_jax.infer import engine
from sg4v_jax.models import int8
from sg4v_jax.models.params import Skeleton, skeleton
from sg4v_jax.models.video_lm import VideoLM, VideoLMConfig
from sg4v_jax.plan import compiler, estimate, memory, topology
from sg4v_jax.plan.case import model_settings, versions
from sg4v_jax.plan.training import LABEL, bound, seconds_of
from sg4v_jax.tasks.step_of import batch_shapes
from sg4v_jax.train import flops

DTYPE = "bfloat16"  # of activations and the cache
END = 128009  # any token id: only how many there are matters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serving:
    """What is asked of the engine.

    Attributes:
      rows: prompts at once; `prompt`: their positions, with `tiles` tiles each.
      new_tokens: said at most; the cache holds `prompt + new_tokens`.
      weights, kv_dtype: of the weights and of the cache, `bfloat16` or `int8`.
    """

    config: ml_collections.ConfigDict
    slice: topology.Slice
    mesh: Mapping[str, int]
    rows: int
    prompt: int
    tiles: int
    new_tokens: int = 16
    weights: str = DTYPE
    kv_dtype: str = DTYPE
    flags: Mapping[str, str] = dataclasses.field(default_factory=dict)


def plan(serving: Serving, *, dump: str | os.PathLike | None = None) -> list[dict[str, Any]]:
    """Compiles prefill and decode and gives a plan of each, as JSON.

    Raises:
      ConfigError: a mesh that does not fit the slice, or a flag that is refused.
    """
    for name, dtype in (("weights", serving.weights), ("kv_dtype", serving.kv_dtype)):
        if dtype not in (DTYPE, "int8"):
            raise ConfigError(f"--{name}={dtype}", mend=f"use {DTYPE} or int8")
    mesh = sharding.make_mesh(dict(serving.mesh), devices=topology.devices(serving.slice))
    sharding.check_batch(serving.rows, mesh=mesh)
    settings, remark = model_settings(serving.config)
    shape = _structure(settings.config, serving.weights)
    weights = _weights(shape, mesh, plain=jnp.dtype(DTYPE))
    model = shape.build(weights)
    with jax.set_mesh(mesh):
        lowered = _prefill(serving, model, settings.config, mesh)
        first = _report(serving, mesh, settings.config, weights, remark, what="prefill")
        done, first = _finish(serving, mesh, lowered, first, dump=dump, per=1)
        if isinstance(done, compiler.NoRoom):
            return [first]
        state = jax.tree.map(_lying, lowered.out_info, done.shardings)
        second = _report(serving, mesh, settings.config, weights, remark, what="decode, a token")
        second["memory"]["parts"] |= {
            "cache": memory.of_tree(state.cache),
            "other": memory.of_tree(state) - memory.of_tree(state.cache),
        }
        lowered = _decode(serving, model, state)
        _, second = _finish(serving, mesh, lowered, second, dump=dump, per=serving.new_tokens)
    return [first, second]


def _structure(config: VideoLMConfig, weights: str) -> Skeleton:
    """The model as `Engine` builds it."""
    plain = lambda key: VideoLM(config, key=key)
    return skeleton((lambda key: int8.attach(plain(key))) if weights == "int8" else plain)


def _weights(shape: Skeleton, mesh: Mesh, *, plain: jnp.dtype) -> dict[str, jax.ShapeDtypeStruct]:
    """Parameters by path, in `plain` unless they are int8 or its scales."""
    made = {}
    for path, s in shape.shapes.items():
        kept = s.dtype == jnp.int8 or path.endswith("_scale")
        where = sharding.sharding_for(shape.axes[path], shape=s.shape, mesh=mesh)
        made[path] = jax.ShapeDtypeStruct(s.shape, s.dtype if kept else plain, sharding=where)
    return made


def _prefill(serving: Serving, model, config: VideoLMConfig, mesh: Mesh) -> jax.stages.Lowered:
    budget = Budget(serving.prompt, serving.tiles, 1)
    shapes = batch_shapes(budget, rows=serving.rows, accumulate=1, side=config.tower.image_size)
    rows = NamedSharding(mesh, PartitionSpec(sharding.RULES["batch"]))
    batch = Batch(*(_lying(s, rows) for s in shapes))
    run_prefill, _ = engine.compiled(tuple(_flags(serving).items()))
    slots = serving.prompt + serving.new_tokens
    kept = dict(dtype=jnp.dtype(DTYPE), kv_dtype=serving.kv_dtype)
    return run_prefill.lower(model, batch, slots=slots, **kept)


def _decode(serving: Serving, model, state) -> jax.stages.Lowered:
    _, run_decode = engine.compiled(tuple(_flags(serving).items()))
    number = jax.ShapeDtypeStruct((), jnp.float32)
    return run_decode.lower(
        model,
        state,
        key=jax.eval_shape(lambda: jax.random.key(0)),
        eos=(END,),
        greedy=True,
        temperature=number,
        top_p=number,
        dtype=jnp.dtype(DTYPE),
    )


def _flags(serving: Serving) -> dict[str, str]:
    return {**serving.slice.chip.flags, **serving.flags}


def _lying(shape, where: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where)


def _report(serving: Serving, mesh: Mesh, config, weights, remark, *, what: str) -> dict[str, Any]:
    once = flops.forward(config, Budget(serving.prompt, serving.tiles, 1))
    prefill = what == "prefill"
    return {
        "label": LABEL,
        "what": what,
        "slice": serving.slice.name,
        "common_name": serving.slice.common_name,
        "chips": serving.slice.chips,
        "mesh": dict(mesh.shape),
        "shape": (
            f"{serving.rows} prompts of {serving.prompt} positions, {serving.tiles} tiles each; "
            f"{serving.weights} weights, {serving.kv_dtype} cache of {serving.prompt + serving.new_tokens}"
        ),
        "rows": serving.rows,
        "weights": serving.weights,
        "positions": serving.prompt if prefill else 1,
        "model_flops": sum(once.values()) * serving.rows if prefill else None,
        "flags": _flags(serving),
        "remarks": [remark] if remark else [],
        "memory": {
            "parts": {"weights": memory.of_tree(weights)},
            "usable": serving.slice.chip.hbm,
        },
        "versions": versions(),
    }


def _finish(serving: Serving, mesh: Mesh, lowered, report, *, dump, per: int):
    """Compiles, and adds to the report what came out; times are divided by `per`."""
    chip, chips = serving.slice.chip, serving.slice.chips
    done = compiler.compile_(lowered, flags=_flags(serving))
    report["compile_seconds"] = round(done.seconds, 1)
    advice = "a larger slice, fewer prompts at once, a shorter context, or --weights=int8"
    if isinstance(done, compiler.NoRoom):
        return done, report | compiler.refusal(done, hbm=chip.hbm, advice=advice)
    if dump is not None:
        name = f"{report['what'].split(',')[0]}-{serving.slice.common_name}.hlo"
        files.write_atomic(pathlib.Path(dump) / name, done.text)
    report |= compiler.verdict(done, hbm=chip.hbm, advice=advice, memory=report["memory"])
    guess = estimate.estimate(
        done.text,
        serving.slice,
        coordinates=topology.coordinates(mesh.devices.flat, serving.slice),
        causal_from=serving.prompt,
    ).divided(per)
    read = sum(report["memory"]["parts"][p] for p in ("weights", "cache") if p in _parts(report))
    low, high = guess.range
    tokens = serving.rows * report["positions"]
    report |= {
        "time": seconds_of(guess),
        "bound": bound(guess),
        "speed": {
            "tokens_per_s": [tokens / high, tokens / low],
            "tokens_per_s_chip": [tokens / t / chips for t in (high, low)],
        },
        "floor": {
            "memory": read / chip.hbm_bandwidth,  # every weight and slot read once
            "compute": (report["model_flops"] or 0) / chips / chip.peak,
        },
    }
    return done, report


def _parts(report: dict[str, Any]) -> Mapping[str, int]:
    return report["memory"]["parts"]
