"""The plan of a program that was compiled elsewhere, from its optimized text: ours or another's.

Beside the text may lie the numbers that `maxtext.py` writes; they add memory and versions.
"""

from __future__ import annotations

import math
import os
import pathlib
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.plan import estimate, hlo, topology
from sg4v_jax.plan.training import LABEL, bound, seconds_of


def plan(path: str | os.PathLike, slice_: topology.Slice) -> dict[str, Any]:
    """Reads `path`, HLO text or the JSON beside it.

    Raises:
      RecordError: no such file, or no HLO in it.
    """
    file, told = files.path(path), {}
    if file.suffix == ".json":
        told = files.read_json(file)
        file = file.parent / told["hlo"]
    if not file.exists():
        raise RecordError(f"{file}: no such file", mend="name the text that as_text() gave")
    text = file.read_text()
    if not hlo.parse(text).entry:
        raise RecordError(f"{file}: no ENTRY computation", mend="give optimized HLO text")
    guess = estimate.estimate(text, slice_, coordinates=_in_order(slice_))
    memory = told.get("memory", {})
    total = memory.get("arguments", 0) + memory.get("temporaries", 0)
    return {
        "label": LABEL,
        "what": f"program {pathlib.PurePath(str(file)).name}",
        "slice": slice_.name,
        "common_name": slice_.common_name,
        "chips": slice_.chips,
        "mesh": {},
        "shape": " ".join(a for a in told.get("arguments", []) if "=" in a) or "as it was compiled",
        "remarks": [],
        "flags": {},
        "memory": {
            "parts": {},
            "usable": slice_.chip.hbm,
            "arguments": memory.get("arguments", 0),
            "temporaries": memory.get("temporaries", 0),
            "outputs": 0,
            "code": 0,
            "total": total,
        },
        "fits": total <= slice_.chip.hbm,
        "over": max(0.0, total - slice_.chip.hbm),
        "advice": "see how it was compiled",
        "time": seconds_of(guess),
        "bound": bound(guess),
        "speed": {},
        "versions": told.get("versions", {}),
        "compile_seconds": 0.0,
    }


def _in_order(slice_: topology.Slice) -> list[tuple[int, ...]]:
    """Coordinates of a slice's chips, the first dimension fastest, as jax numbers them."""
    one = []
    for number in range(math.prod(slice_.shape)):
        place = []
        for size in slice_.shape:
            number, at = divmod(number, size)
            place.append(at)
        one.append(tuple(place))
    return [(*place, s) for s in range(slice_.slices) for place in one]
