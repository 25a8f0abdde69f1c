"""The weight-table engine: torch tensor names to our parameter paths, and back.

Legend: `D` width, `N` heads, `H` head dim, `O`, `I` channels out and in, `L` layers of a stack.

A table says, for each torch name, which parameter it is and how its axes lie. torch has one
tensor a layer, we have one array a stack with a leading `L`; `{i}` in a name is the layer.
One table serves both directions, so they cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.params import Skeleton
from sg4v_jax.weights.tensors import FLOATS

Problem = tuple[str, str]  # (what is wrong, with {} for the name; the name)
_LAYER = re.compile(r"\.(\d+)\.")


@dataclasses.dataclass(frozen=True)
class Transform:
    """How axes lie in torch: ours, with neighbours merged, then permuted.

    Attributes:
      groups: how many of our axes, from the left, make each merged axis.
      order: which merged axis each torch axis is.

    `SPLIT_HEADS`, groups (1, 2) and order (1, 0): our [D,N,H] = [8,2,4] merges to [8, 2*4] and
    turns to torch's (out, in) = [2*4, 8].
    """

    groups: tuple[int, ...]
    order: tuple[int, ...]

    def torch_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The torch shape of our `shape`: [8,2,4] -> (8, 8) for `SPLIT_HEADS`."""
        merged = self._merged(shape)
        return tuple(merged[axis] for axis in self.order)

    def to_torch(self, x: np.ndarray) -> np.ndarray:
        """Our array as torch holds it; a view where numpy can give one."""
        return x.reshape(self._merged(x.shape)).transpose(self.order)

    def to_ours(self, tensor: np.ndarray, *, shape: Sequence[int]) -> np.ndarray:
        """torch's array as our `shape`; undoes `to_torch`."""
        return tensor.transpose(np.argsort(self.order)).reshape(shape)

    def _merged(self, shape: Sequence[int]) -> tuple[int, ...]:
        ends = np.cumsum(self.groups)
        return tuple(
            math.prod(shape[end - size : end]) for size, end in zip(self.groups, ends, strict=True)
        )


VECTOR = Transform((1,), (0,))  # norms, biases
MATRIX = Transform((1, 1), (0, 1))  # embedding rows
LINEAR = Transform((1, 1), (1, 0))  # [in,out] <-> (out, in)
SPLIT_HEADS = Transform((1, 2), (1, 0))  # [D,N,H] <-> (N*H, D): q, k, v
MERGE_HEADS = Transform((2, 1), (1, 0))  # [N,H,D] <-> (D, N*H): the output projection
FLAT = Transform((2,), (0,))  # [N,H] <-> (N*H): biases of q, k, v; [1,D] <-> (D)
CONV = Transform((1, 1, 1, 1), (3, 2, 0, 1))  # [height,width,I,O] <-> (O, I, height, width)


@dataclasses.dataclass(frozen=True)
class Table:
    """What every torch name of a checkpoint layout means.

    Attributes:
      entries: torch name -> (parameter path, transform); `{i}` is the layer in a stack.
      continues: prefix of our stack -> prefix of the stack that holds the layers after it.
      copies: torch name -> the name whose tensor it repeats; may be absent, must be equal.
      ignored: torch names that the model does not have (buffers, other towers); may be absent;
        `{i}` is any layer, `{any}` any text.
      optional: those of `entries` that only some models of the kind have.
    """

    entries: Mapping[str, tuple[str, Transform]]
    continues: Mapping[str, str] = dataclasses.field(default_factory=dict)
    copies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def join(*tables: Table) -> Table:
    """One table of several parts of a model."""
    return Table(
        entries={k: v for t in tables for k, v in t.entries.items()},
        continues={k: v for t in tables for k, v in t.continues.items()},
        copies={k: v for t in tables for k, v in t.copies.items()},
        ignored=tuple(name for t in tables for name in t.ignored),
        optional=tuple(name for t in tables for name in t.optional),
    )


def torch_shapes(table: Table, skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """Every torch name that the model has in this layout, with its shape.

    Raises:
      CheckpointError: the table and the model do not cover each other.
    """
    return {name: place.torch_shape for name, place in table_places(table, skeleton).items()}


def table_places(table: Table, skeleton: Skeleton) -> dict[str, Place]:
    """Where every torch tensor of this layout lies in the model.

    Raises:
      CheckpointError: the table and the model do not cover each other.
    """
    places, problems = _places(table, skeleton)
    raise_all(problems, where="weight table", mend="give the table the model's own config")
    return places


def to_ours(
    tensors: Mapping[str, np.ndarray], table: Table, skeleton: Skeleton, *, where: str = ""
) -> dict[str, np.ndarray]:
    """Our parameters from torch tensors.

    Args:
      tensors: by torch name. A mapping with `shapes` (`safetensors_io.read`) is checked whole
        before any tensor is read.
      table: the checkpoint's layout.
      skeleton: the model; its dtypes are the result's.
      where: the file, for messages.

    Returns:
      Arrays by parameter path, ready for `skeleton.build`. Two layers of a norm, torch
      `layers.0.norm.weight` (D,) and `layers.1.norm.weight` (D,), give `layers.norm.scale` [2,D].

    Raises:
      CheckpointError: all missing, unexpected and mis-shaped names and unequal copies together.
    """
    places = checked_places(tensors, table, skeleton, where=where)
    flat = {path: np.empty(spec.shape, spec.dtype) for path, spec in skeleton.shapes.items()}
    for name, place in places.items():
        target = flat[place.path] if place.layer is None else flat[place.path][place.layer]
        target[...] = place.transform.to_ours(np.asarray(tensors[name]), shape=target.shape)
    return flat


def checked_places(
    tensors: Mapping[str, np.ndarray], table: Table, skeleton: Skeleton, *, where: str
) -> dict[str, Place]:
    """`table_places`, once `tensors` are known to be just those; see `to_ours`."""
    places, problems = _places(table, skeleton)
    expected = {name: place.torch_shape for name, place in places.items()}
    problems += _misfits(tensors, expected, allowed=(*table.copies, *table.ignored))
    problems += [
        (f"{{}} has dtype {dtype}, not one of {', '.join(map(str, FLOATS))}", name)
        for name, dtype in getattr(tensors, "dtypes", {}).items()
        if name in expected and dtype not in FLOATS
    ]
    if not problems:
        problems = [
            (f"{{}} differs from {original}, of which this model has only one", copy)
            for copy, original in table.copies.items()
            if copy in tensors and not np.array_equal(tensors[copy], tensors[original])
        ]
    mend = "use the config and layout that the weights were saved with"
    raise_all(problems, where=where, mend=mend)
    return places


def to_torch(
    flat: Mapping[str, np.ndarray], table: Table, skeleton: Skeleton, *, where: str = ""
) -> dict[str, np.ndarray]:
    """torch tensors from our parameters: undoes `to_ours`. Copies and buffers are not written.

    Returns:
      Arrays by torch name in the dtypes of `flat`; views of it where numpy can give them.

    Raises:
      CheckpointError: all missing, unexpected and mis-shaped paths in one message.
    """
    places, problems = _places(table, skeleton)
    expected = {path: tuple(spec.shape) for path, spec in skeleton.shapes.items()}
    problems += _misfits(flat, expected)
    raise_all(problems, where=where, mend="use the config that the parameters were made with")
    arrays = {path: np.asarray(x) for path, x in flat.items()}
    tensors = {}
    for name, place in places.items():
        source = arrays[place.path]
        tensors[name] = place.transform.to_torch(
            source if place.layer is None else source[place.layer]
        )
    return tensors


class Place(NamedTuple):
    """Where one torch tensor lies: a whole parameter, or one layer of a stack."""

    path: str
    layer: int | None
    transform: Transform
    torch_shape: tuple[int, ...]


def _places(table: Table, skeleton: Skeleton) -> tuple[dict[str, Place], list[Problem]]:
    places, problems = {}, []
    for name, (path, transform) in table.entries.items():
        if path not in skeleton.shapes:
            if name not in table.optional:
                problems.append(("the model has no parameter {}", path))
        elif "{i}" in name:
            places |= _stack_places(name, path, transform, table=table, skeleton=skeleton)
        else:
            shape = transform.torch_shape(skeleton.shapes[path].shape)
            places[name] = Place(path, None, transform, shape)
    covered = {place.path for place in places.values()}
    problems += [("the table has no name for {}", p) for p in skeleton.shapes if p not in covered]
    return places, problems


def _stack_places(name, path, transform, *, table, skeleton) -> dict[str, Place]:
    """The places of one name pattern: all layers of a stack, then those of the next one."""
    paths = [path] + [
        path.replace(stack, following, 1)
        for stack, following in table.continues.items()
        if path.startswith(stack)
    ]
    layers = [
        (p, layer)
        for p in paths
        if p in skeleton.shapes
        for layer in range(skeleton.shapes[p].shape[0])
    ]
    shape = transform.torch_shape(skeleton.shapes[path].shape[1:])
    return {
        name.format(i=i): Place(p, layer, transform, shape) for i, (p, layer) in enumerate(layers)
    }


def ignored(table: Table, names: Iterable[str]) -> list[str]:
    """Those of `names` that the table lists as of no use."""
    pattern = _pattern(table.ignored)
    return [name for name in names if pattern.fullmatch(name)]


def _pattern(names: Sequence[str]) -> re.Pattern:
    """Names with `{i}` and `{any}` as one regular expression; of no names, one that never fits."""
    parts = [re.escape(n).replace(r"\{i\}", r"\d+").replace(r"\{any\}", ".+") for n in names]
    return re.compile("|".join(parts) or r"(?!)")


def _misfits(
    arrays: Mapping[str, np.ndarray],
    expected: Mapping[str, tuple[int, ...]],
    *,
    allowed: Sequence[str] = (),
) -> list[Problem]:
    """What is missing, unexpected (and not among the patterns `allowed`) or of another shape."""
    known = getattr(arrays, "shapes", None)  # a lazy mapping knows them without reading
    shapes = {n: np.shape(x) for n, x in arrays.items()} if known is None else known
    optional = _pattern(allowed)
    problems = [("missing {}", n) for n in expected if n not in shapes]
    problems += [
        ("unexpected {}", n) for n in shapes if n not in expected and not optional.fullmatch(n)
    ]
    return problems + [
        (f"{{}} has shape {tuple(shapes[n])}, expected {shape}", n)
        for n, shape in expected.items()
        if n in shapes and tuple(shapes[n]) != shape
    ]


def raise_all(problems: Sequence[Problem], *, where: str, mend: str) -> None:
    """One `CheckpointError` for all `problems`, the layers of a stack in one line; none if none."""
    """One `CheckpointError` for all `problems`, the layers of a stack in one line; none if none."""
    if not problems:
        return
    # A wrong config touches every layer: one line for all layers keeps the message readable.
    groups: dict[tuple[str, str], list[str]] = {}
    for text, name in problems:
        groups.setdefault((text, _LAYER.sub(".{i}.", name, count=1)), []).append(name)
    lines = [
        text.format(names[0])
        if len(names) == 1
        else f"{text.format(pattern)} (i = {_numbers(names)})"
        for (text, pattern), names in groups.items()
    ]
    message = "\n  ".join([f"{len(problems)} names do not fit the model:", *lines])
    raise CheckpointError(f"{where}: {message}" if where else message, mend=mend)


def _numbers(names: Iterable[str]) -> str:
    numbers = sorted(int(_LAYER.search(name)[1]) for name in names)
    whole = numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]}..{numbers[-1]}" if whole else ", ".join(map(str, numbers))
