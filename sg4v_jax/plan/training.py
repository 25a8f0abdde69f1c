"""The plan of one training step: compiles it for a slice and says what it takes."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

from sg4v_jax import files
from sg4v_jax.plan import compiler, estimate, memory, recipe, topology
from sg4v_jax.plan.case import Case, model_settings, versions
from sg4v_jax.plan.estimate import Estimate
from sg4v_jax.train import flops
from sg4v_jax.train.optim import FROZEN

LABEL = "compiled for, not run on, TPU"


def plan(case: Case, *, dump: str | os.PathLike | None = None) -> dict[str, Any]:
    """Compiles the step that `sg4v train` would run and gives everything known of it, as JSON.

    Args:
      dump: a folder for the optimized program's text.

    Raises:
      ConfigError: a mesh or batch that does not fit the slice, or a flag that is refused.
    """
    mesh = case.make_mesh()
    program = case.program(mesh)
    batch = program.batch(case.row)
    parts = memory.of_state(program.state, batch)
    report = describe(case, program, parts)
    done = compiler.compile_(program.lower(case.row), flags=case.all_flags())
    report["compile_seconds"] = round(done.seconds, 1)
    hbm = case.slice.chip.hbm
    if isinstance(done, compiler.NoRoom):
        return report | compiler.refusal(done, hbm=hbm, advice=_advice(case, mesh, parts, None))
    if dump is not None:
        name = f"{case.slice.common_name}-{'-'.join(map(str, mesh.shape.values()))}.hlo"
        files.write_atomic(pathlib.Path(dump) / name, done.text)
    advice = _advice(case, mesh, parts, done.temporaries)
    report |= compiler.verdict(done, hbm=hbm, advice=advice, memory=report["memory"])
    guess = estimate.estimate(
        done.text,
        case.slice,
        coordinates=topology.coordinates(mesh.devices.flat, case.slice),
        causal_from=case.row.positions,
    )
    return report | times(case, program, guess)


def describe(case: Case, program, parts: dict[str, int]) -> dict[str, Any]:
    """What is planned, before it is compiled."""
    config, shapes = case.config, program.skeleton.shapes
    size = lambda keep: sum(s.size for p, s in shapes.items() if keep(program.groups[p]))
    accumulate = config.data.accumulate
    return {
        "label": LABEL,
        "what": "training step",
        "slice": case.slice.name,
        "common_name": case.slice.common_name,
        "chips": case.slice.chips,
        "mesh": dict(program.mesh.shape),
        "rows": config.data.batch_rows,
        "accumulate": accumulate,
        "row": {
            "positions": case.row.positions,
            "tiles": case.row.tiles,
            "scored": case.row.scored,
            "synthetic": case.budget is not None,
        },
        "own_rows": describe_recipe(case.recipe),
        "remat": config.model.remat,
        "vocab_chunks": config.optim.vocab_chunks,
        "parameters": {
            "trained": size(lambda g: g != FROZEN),
            "frozen": size(lambda g: g == FROZEN),
        },
        "flags": case.all_flags(),
        "remarks": [r for r in (model_settings(config)[1],) if r],
        "memory": {"parts": parts, "usable": case.slice.chip.hbm},
        "versions": versions(),
    }


def describe_recipe(own: recipe.Recipe | None) -> dict[str, int] | None:
    """The recipe's real budgets, as JSON."""
    if own is None:
        return None
    return {
        **dataclasses.asdict(own.budget),
        "rows": own.rows,
        "samples_a_row": own.samples_a_row,
        "samples_a_step": own.samples_a_step,
    }


def _advice(case: Case, mesh, parts: dict[str, int], temporaries: float | None) -> str:
    data, sizes = case.config.data, mesh.shape
    return memory.advice(
        parts,
        temporaries=temporaries,
        available=case.slice.chip.hbm,
        remat=case.config.model.remat,
        rows=data.batch_rows // data.accumulate // (sizes["data"] * sizes["fsdp"]),
    )


def times(case: Case, program, guess: Estimate) -> dict[str, Any]:
    """The part of the report about seconds, and what follows from them."""
    config, chip, chips = case.config, case.slice.chip, case.slice.chips
    settings, _ = model_settings(config)
    row = flops.step(settings.config, case.row, skeleton=program.skeleton, groups=program.groups)
    rows = config.data.batch_rows
    model = rows * sum(row.step.values()) / chips
    work = guess.compute + guess.attention
    low, high = guess.range
    out = {
        "flops": {
            "model_per_chip": model,
            "parts_per_chip": {p: rows * n / chips for p, n in row.step.items()},
            "attention_kernels_per_chip": guess.attention_flops,
        },
        "time": seconds_of(guess),
        "mfu": {"compute": model / work / chip.peak, "step": model / guess.seconds / chip.peak},
        "bound": bound(guess),
        "speed": {
            "tokens_per_s_chip": [rows * case.row.positions / t / chips for t in (high, low)]
        },
    }
    if case.budget is None:
        plan_ = recipe.of_config(config)
        out["recipe"] = {
            "samples_a_row": plan_.samples_a_row,
            "samples_a_step": plan_.samples_a_step,
            "samples": plan_.samples,
            "steps": plan_.steps,
            "hours": [plan_.steps * t / 3600 for t in (low, high)],
            "chip_hours": [plan_.steps * t / 3600 * chips for t in (low, high)],
        }
        out["speed"]["samples_per_s"] = [plan_.samples_a_step / t for t in (high, low)]
    return out


def seconds_of(guess: Estimate) -> dict[str, Any]:
    """An estimate as JSON."""
    return {
        "compute": guess.compute,
        "attention": guess.attention,
        "kernels": guess.kernels,
        "exposed": guess.exposed,
        "hidden": guess.hidden,
        "seconds": guess.seconds,
        "range": list(guess.range),
        "collectives": [
            {
                "kind": t.kind,
                "count": t.count,
                "bytes": t.size,
                "sent": t.sent,
                "overlapped": t.overlapped,
            }
            for t in guess.traffic
        ],
        "slowest": [list(s) for s in guess.slowest],
    }


def bound(guess: Estimate) -> str:
    """What a step spends most of its time on."""
    if guess.exposed > guess.compute + guess.attention:
        return "the links between chips"
    return "computation" if guess.exposed < 0.2 * guess.seconds else "computation, then the links"
