"""The table of `launch/README.md`: recipes on slices, a compiled cell each.

A cell is kept in a file by what decides it: config, slice, mesh, flags, versions, and the package's
code that makes the program. Run again, only cells that are missing or out of date are compiled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sg4v_jax
from sg4v_jax import files
from sg4v_jax.chips import GIB
from sg4v_jax.errors import ConfigError
from sg4v_jax.plan import case, topology
from sg4v_jax.plan.case import Case

BEGIN, END = "<!-- plan:begin -->", "<!-- plan:end -->"
COMMAND = "sg4v plan --all --out=runs/plan --table=launch/README.md"

# What a program is made of; a change elsewhere leaves every cell valid.
CODE = ("batch.py", "chips.py", "sharding.py", "models", "plan", "tasks/step_of.py", "train")

SLICES = ("v5p-64", "v5e-256", "v5e-16", "v5e-64", "v6e-64", "v5p-16", "v6e-16")
WAYS = {  # what trains -> the config of that name
    "full": "sft_8b_full_181k",
    "LoRA": "sft_8b_lora_181k",
    "frozen tower": "sft_8b_lora_153k",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell: how a recipe is run on a slice."""

    slice: str
    way: str
    mesh: Mapping[str, int]
    accumulate: int
    remat: str

    @property
    def name(self) -> str:
        return f"{self.slice}-{self.way.replace(' ', '_')}"

    def case(self) -> Case:
        """What is compiled: the recipe's own rows, positions, tiles and scored positions."""
        module = importlib.import_module(f"sg4v_jax.configs.{WAYS[self.way]}")
        config = module.get_config()
        config.data.accumulate = self.accumulate
        return case.of_config(
            config, topology.parse(self.slice), mesh=dict(self.mesh), remat=self.remat
        )


# 64 rows of 6,144 positions a step on each slice: mesh, micro-batches, recomputation. On 256 chips
# four share a row; small slices take the rows in turns.
_LAYOUT = {
    "v5e-16": (dict(fsdp=16), 4, "full"),
    "v5e-64": (dict(fsdp=64), 1, "full"),
    "v5e-256": (dict(fsdp=64, tensor=4), 1, "full"),
    "v5p-16": (dict(fsdp=8), 2, "full"),
    "v5p-64": (dict(fsdp=32), 1, "projections"),
    "v6e-16": (dict(fsdp=16), 2, "full"),
    "v6e-64": (dict(fsdp=64), 1, "full"),
}


_COLUMNS = (
    "trains",
    "slice (chips)",
    "mesh",
    "micro-batches",
    "remat",
    "HBM GiB a chip",
    "step s",
    "est. MFU, computing",
    "hours",
    "chip-hours",
)


def cells() -> list[Cell]:
    """All cells, the most wanted first."""
    return [Cell(name, way, *_LAYOUT[name]) for way in WAYS for name in SLICES]


def key_of(one: Case) -> str:
    """A hash of all that decides a plan."""
    known = {
        "config": json.loads(one.config.to_json_best_effort()),
        "slice": one.slice.name,
        "mesh": dict(one.mesh),
        "flags": one.all_flags(),
        "versions": case.versions(),
        "code": code_hash(),
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def code_hash() -> str:
    """A hash of the sources of `CODE`."""
    root, digest = pathlib.Path(sg4v_jax.__file__).parent, hashlib.sha256()
    for name in CODE:
        found = [root / name] if name.endswith(".py") else sorted((root / name).rglob("*.py"))
        for path in found:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def make(
    wanted: Sequence[Cell],
    *,
    out: str | os.PathLike,
    plan: Callable[[Case], dict[str, Any]],
    said: Callable[[str], None] = lambda line: None,
) -> dict[str, dict[str, Any]]:
    """Compiles what is missing, and gives the plan of each cell by name.

    Each cell is written to `out` as it is done, so that a run that is stopped goes on later.
    """
    done = {}
    for number, cell in enumerate(wanted, 1):
        one = cell.case()
        key, path = key_of(one), files.path(out) / f"{cell.name}.json"
        kept = files.read_json(path) if path.exists() else {}
        if kept.get("key") != key:
            said(f"{number} of {len(wanted)}: {cell.name}")
            kept = {"key": key, "plan": plan(one)}
            files.write_json(path, kept)
        done[cell.name] = kept["plan"]
    return done


def kept(wanted: Sequence[Cell], *, out: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """The plans that are in `out`, compiled by whatever code: for a table of what there is."""
    found = {}
    for cell in wanted:
        path = files.path(out) / f"{cell.name}.json"
        if path.exists():
            found[cell.name] = files.read_json(path)["plan"]
    return found


def markdown(wanted: Sequence[Cell], plans: Mapping[str, dict[str, Any]]) -> str:
    """The table of the cells that have a plan, with what it was made by."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    lines += [_line(c, plans[c.name]) for c in wanted if c.name in plans]
    missing = [c.name for c in wanted if c.name not in plans]
    made = sorted({"; ".join(f"{k} {v}" for k, v in p["versions"].items()) for p in plans.values()})
    first = next(iter(plans.values()), None)
    rows = first["row"] if first else {}
    told = (
        f"Made by `{COMMAND}` ({' / '.join(made)}): **compiled for, not run on, TPU**. "
        f"{first['rows'] if first else 0} rows a step of {rows.get('positions')} positions, "
        f"{rows.get('tiles')} tiles and {rows.get('scored')} scored positions, two samples a row; "
        "hours are of one epoch of 181K samples (frozen tower: 153K). Memory is the compiler's plan. "
        "Seconds are its estimate of computation, Pallas kernels by arithmetic, and bytes that are "
        "not hidden over the links, 15 % either way."
    )
    if missing:
        told += f" Not compiled yet: {', '.join(missing)}."
    return "\n".join([told, "", *lines])


def _line(cell: Cell, plan: Mapping[str, Any]) -> str:
    mesh = " x ".join(f"{a} {n}" for a, n in plan["mesh"].items() if n > 1)
    memory, usable = plan["memory"], plan["memory"]["usable"] / GIB
    head = f"| {cell.way} | {cell.slice} ({plan['chips']}) | {mesh} | {plan['accumulate']} "
    head += f"| {plan['remat']} "
    if "time" not in plan:
        needed = plan["refused"]["needed"]
        size = f"over {usable:.1f}" if needed is None else f"{needed / GIB:.1f} of {usable:.1f}"
        return head + f"| **does not fit**: {size} | | | | |"
    verdict = f"{memory['total'] / GIB:.1f} of {usable:.1f}"
    if not plan["fits"]:
        verdict = f"**does not fit**: {verdict}"
    span = lambda pair, form: f"{format(pair[0], form)} to {format(pair[1], form)}"
    recipe = plan["recipe"]
    return (
        head + f"| {verdict} | {span(plan['time']['range'], '.2f')} "
        f"| {100 * plan['mfu']['compute']:.0f} % | {span(recipe['hours'], '.2f')} "
        f"| {span(recipe['chip_hours'], '.0f')} |"
    )


def write(path: str | os.PathLike, text: str) -> None:
    """Puts `text` between the markers of a Markdown file, or at its end with the markers.

    Raises:
      ConfigError: one of the markers is there without the other.
    """
    target = files.path(path)
    old = target.read_text() if target.exists() else ""
    block = f"{BEGIN}\n{text}\n{END}"
    if (BEGIN in old) != (END in old) or old.find(BEGIN) > old.find(END):
        raise ConfigError(
            f"{path}: the markers {BEGIN} and {END} are not a pair", mend="put both, in this order"
        )
    if BEGIN in old:
        before, rest = old.split(BEGIN, 1)
        new = before + block + rest.split(END, 1)[1]
    else:
        new = f"{old.rstrip()}\n\n{block}\n".lstrip()
    files.write_atomic(path, new)
