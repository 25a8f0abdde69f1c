"""Verify: are two checkpoints, of any layouts, the same numbers?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from sg4v_jax.errors import CheckpointError
from sg4v_jax.weights import video_lm
from sg4v_jax.weights.assemble import Request, as_source, merged, model, whole_source
from sg4v_jax.weights.source import Source, is_model_directory, local_folder
from sg4v_jax.weights.table import ignored


@dataclasses.dataclass(frozen=True)
class Difference:
    """One tensor that is not the same; `name` is as in layout llava."""

    name: str
    what: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
      parts: of the model that both have, and that were compared.
      same: tensors that are equal number by number.
      recast: among them, those of different dtypes.
      differences: the others, in the order of names.
    """

    parts: tuple[str, ...]
    same: int
    recast: int
    differences: tuple[Difference, ...]


def compare(
    a: Request, b: Request, *, progress: Callable[[int], None] = lambda read: None
) -> Comparison:
    """Compares tensor by tensor, holding two of them at a time; low-rank branches are merged in.

    Args:
      progress: called with the bytes read since the last call.

    Raises:
      CheckpointError: one of them cannot be read.
    """
    sources = _opened(a), _opened(b)
    parts = [p for p in video_lm.PARTS if all(p in s.parts for s in sources)]
    if not parts:
        raise CheckpointError(
            f"{a.source} has {', '.join(sources[0].parts)}, {b.source} has "
            f"{', '.join(sources[1].parts)}",
            mend="compare checkpoints that have a part in common",
        )
    left, right = (_names(s, parts) for s in sources)
    found, same, recast = [], 0, 0
    for name in sorted(left.keys() | right.keys()):
        if name not in left or name not in right:
            found.append(Difference(name, f"only in {'b' if name in right else 'a'}"))
            continue
        shapes = [s.tensors.shapes[n[name]] for s, n in zip(sources, (left, right), strict=True)]
        if tuple(shapes[0]) != tuple(shapes[1]):
            found.append(Difference(name, f"shape {shapes[0]} in a, {shapes[1]} in b"))
            continue
        x, y = sources[0].tensors[left[name]], sources[1].tensors[right[name]]
        progress(x.nbytes + y.nbytes)
        if what := _difference(x, y):
            found.append(Difference(name, what))
            continue
        same, recast = same + 1, recast + (x.dtype != y.dtype)
    return Comparison(tuple(parts), same, recast, tuple(found))


def _opened(request: Request) -> Source:
    if is_model_directory(local_folder(request.source, revision=request.revision)):
        return as_source(merged(model(request)), layout="llava", name=request.source)
    return whole_source(request)


def _names(source: Source, parts: Sequence[str]) -> dict[str, str]:
    """Name as in layout llava -> own name, of `parts` and of what belongs to no part."""
    table = video_lm.part_table(source.layout, parts=source.parts)
    unused = set(ignored(table, source.tensors))
    names = video_lm.canonical(source.layout, [n for n in source.tensors if n not in unused])
    return {n: own for n, own in names.items() if video_lm.part_of_name(n) in (*parts, None)}


def _difference(x: np.ndarray, y: np.ndarray, *, block: int = 1 << 22) -> str:
    """What differs between two arrays of one shape, empty where nothing does.

    Compared in f32 or wider, a block at a time; NaN equals NaN.
    """
    x, y = x.reshape(-1), y.reshape(-1)
    count, largest = 0, 0.0
    for start in range(0, x.size, block):
        a, b = x[start : start + block], y[start : start + block]
        if a.dtype == b.dtype and a.tobytes() == b.tobytes():
            continue
        wide = np.promote_types(np.promote_types(a.dtype, b.dtype), np.float32)
        a, b = a.astype(wide), b.astype(wide)
        with np.errstate(invalid="ignore"):
            unequal = (a != b) & ~(np.isnan(a) & np.isnan(b))
            gaps = np.abs(a - b)[unequal]
        if gaps.size:
            count += gaps.size
            largest = max(largest, float(np.nan_to_num(gaps, nan=np.inf).max()))
    return f"{count} of {x.size} numbers differ, by up to {largest:.3g}" if count else ""
