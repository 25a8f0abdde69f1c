"""What a run trains and what it holds in memory: one line a parameter, totals a group.

Built from an abstract state (`jax.eval_shape`), so that it costs nothing and tells of a run that
would not fit. Bytes are of all devices together.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sg4v_jax import files
from sg4v_jax.train.optim import FROZEN
from sg4v_jax.train.state import TrainState, slot_of

TEXT, JSON = "parameters.txt", "parameters.json"
_HEADS = ("name", "shape", "dtype", "group", "numbers", "parameter", "gradient", "slots")


@dataclasses.dataclass(frozen=True)
class Line:
    """One parameter: its size, and the bytes that training it holds."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    group: str
    trainable: bool
    parameter_bytes: int
    gradient_bytes: int  # 0 where it is frozen
    slot_bytes: int  # optimizer slots; 0 where it is frozen

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Total:
    """Sums over lines."""

    name: str
    parameters: int  # lines
    numbers: int
    trained_numbers: int
    parameter_bytes: int
    gradient_bytes: int
    slot_bytes: int

    @property
    def all_bytes(self) -> int:
        return self.parameter_bytes + self.gradient_bytes + self.slot_bytes


def parameter_table(state: TrainState, *, groups: Mapping[str, str]) -> list[Line]:
    """A line for each parameter of a (concrete or abstract) state, in the order of paths.

    A gradient has its parameter's dtype. The layers of a stack are one line.

    Args:
      groups: the group of each path.

    >>> parameter_table(state, groups={"llm.kernel": "llm", "tower.kernel": "frozen"})[0]
    Line(name='llm.kernel', shape=(8, 4), dtype='float32', group='llm', trainable=True,
         parameter_bytes=128, gradient_bytes=128, slot_bytes=256)
    """
    slots = _slot_bytes(state)
    lines = []
    for name, array in sorted(state.params().items()):
        size, trainable = _bytes(array), name in state.trained
        lines.append(
            Line(
                name=name,
                shape=tuple(array.shape),
                dtype=np.dtype(array.dtype).name,
                group=groups.get(name, FROZEN),
                trainable=trainable,
                parameter_bytes=size,
                gradient_bytes=size if trainable else 0,
                slot_bytes=slots.get(name, 0),
            )
        )
    return lines


def totals(lines: Iterable[Line], *, by: str) -> list[Total]:
    """Sums by `group` or by `module` (the first two parts of a name), and of all."""
    lines, parts = list(lines), {}
    for line in lines:
        key = line.group if by == "group" else ".".join(line.name.split(".")[:2])
        parts.setdefault(key, []).append(line)
    return [_total(name, part) for name, part in parts.items()] + [_total("all", lines)]


def show(lines: Iterable[Line], *, console: Console) -> None:
    """Prints one row a module and one a group."""
    lines = list(lines)
    table = Table("", "numbers", "trained", "weights", "gradients", "slots", box=SIMPLE)
    for column in table.columns:
        column.no_wrap = True
        column.justify = "right" if column.header else "left"
    for by in ("module", "group"):
        rows = totals(lines, by=by)
        for row in rows[:-1] if by == "module" else rows:
            name = f"group {row.name}" if by == "group" and row.name != "all" else row.name
            numbers = [_count(row.numbers), _count(row.trained_numbers)]
            table.add_row(name, *numbers, *map(_size, _three(row)))
        table.add_section()
    console.print(table)


def write(folder: str | os.PathLike, lines: Iterable[Line]) -> None:
    """Writes every line and all totals to `parameters.txt` and `parameters.json`."""
    lines = list(lines)
    sums = [*totals(lines, by="group")]
    files.write_atomic(files.path(folder) / TEXT, _text(lines, sums))
    value: dict[str, Any] = {
        "parameters": [dataclasses.asdict(line) for line in lines],
        "groups": [dataclasses.asdict(s) | {"all_bytes": s.all_bytes} for s in sums],
    }
    files.write_json(files.path(folder) / JSON, value)


def _text(lines: list[Line], sums: list[Total]) -> str:
    rows = [_HEADS]
    for line in lines:
        shape = "x".join(map(str, line.shape)) or "-"
        about = (line.name, shape, line.dtype, line.group, f"{line.numbers}")
        rows.append((*about, *map(_size, _three(line))))
    for s in sums:
        about = (s.name, f"{s.parameters} parameters", "", "", f"{s.numbers}")
        rows.append((*about, *map(_size, _three(s))))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]

    def aligned(row):
        left = [c.ljust(w) for c, w in zip(row[:4], widths[:4], strict=True)]
        return "  ".join(left + [c.rjust(w) for c, w in zip(row[4:], widths[4:], strict=True)])

    text = [aligned(row).rstrip() for row in rows]
    rule = "-" * max(map(len, text))
    end = len(lines) + 1
    return "\n".join([text[0], rule, *text[1:end], rule, *text[end:]]) + "\n"


def _total(name: str, lines: list[Line]) -> Total:
    return Total(
        name=name,
        parameters=len(lines),
        numbers=sum(x.numbers for x in lines),
        trained_numbers=sum(x.numbers for x in lines if x.trainable),
        parameter_bytes=sum(x.parameter_bytes for x in lines),
        gradient_bytes=sum(x.gradient_bytes for x in lines),
        slot_bytes=sum(x.slot_bytes for x in lines),
    )


def _slot_bytes(state: TrainState) -> dict[str, int]:
    """Bytes of optimizer slots by the parameter that they belong to; counters belong to none."""
    found: dict[str, int] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(state.slots):
        path = slot_of(keys)
        if path in state.trained or path in state.frozen:
            found[path] = found.get(path, 0) + _bytes(leaf)
    return found


def _bytes(array) -> int:
    return math.prod(array.shape) * np.dtype(array.dtype).itemsize


def _three(sizes: Line | Total) -> tuple[int, int, int]:
    return sizes.parameter_bytes, sizes.gradient_bytes, sizes.slot_bytes


def _size(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e4 else f"{number}"
