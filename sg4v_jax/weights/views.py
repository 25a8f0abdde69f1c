"""Parameters as views of tensors, and tensors as views of parameters: nothing is read until used.

`params_of` shows a checkpoint's tensors as our parameters and `TorchView` shows parameters as a
layout's tensors. Import, export, verification and merging are chains of such views, so that each
holds one layer's matrix in memory, whatever the model's size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from sg4v_jax.models.params import Skeleton
from sg4v_jax.weights.table import Place, Table, checked_places, raise_all, table_places


@dataclasses.dataclass(frozen=True)
class Param:
    """One parameter, read a piece at a time.

    Attributes:
      shape, dtype: of the whole.
      layers: number of pieces along the first axis of a stack; None: it is one piece.
      read: `read(layer)` gives that layer of a stack, `read(None)` the only piece.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    layers: int | None
    read: Callable[[int | None], np.ndarray]

    @property
    def nbytes(self) -> int:
        """Size of the whole in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def pieces(self) -> Iterator[tuple[int | None, np.ndarray]]:
        """(layer, array) of each piece in order."""
        for layer in [None] if self.layers is None else range(self.layers):
            yield layer, self.read(layer)

    def whole(self) -> np.ndarray:
        """All of it in memory."""
        out = np.empty(self.shape, self.dtype)
        for layer, piece in self.pieces():
            out[... if layer is None else layer] = piece
        return out

    def as_type(self, dtype: np.dtype | None) -> Param:
        """The same numbers in `dtype` (rounded where it is shorter); None keeps them."""
        if dtype is None or dtype == self.dtype:
            return self
        return dataclasses.replace(self, dtype=dtype, read=lambda i: self.read(i).astype(dtype))


Params = Mapping[str, Param]


def params_from(flat: Mapping[str, np.ndarray], skeleton: Skeleton) -> dict[str, Param]:
    """Arrays by path (numpy, jax, or lazy tensors with a first axis to index) as `Params`."""

    def one(path: str, x) -> Param:
        stacked = skeleton.axes[path][:1] == ("layers",)
        read = lambda i: np.asarray(x if i is None else x[i])
        return Param(tuple(x.shape), np.dtype(x.dtype), x.shape[0] if stacked else None, read)

    return {path: one(path, x) for path, x in flat.items()}


def params_of(
    tensors: Mapping[str, np.ndarray], table: Table, skeleton: Skeleton, *, where: str = ""
) -> dict[str, Param]:
    """The parameters that torch `tensors` hold, as views.

    Args:
      tensors: by torch name, with `shapes` and `dtypes` (`tensors.Tensors`).
      table: their layout.
      skeleton: the model; its dtypes do not matter.
      where: the file, for messages.

    Raises:
      CheckpointError: names missing, unexpected, of another shape or not of floats, copies that
        differ, and layers of one stack in different dtypes, all in one message.
    """
    places = checked_places(tensors, table, skeleton, where=where)
    sources: dict[str, dict[int | None, tuple[str, Place]]] = {}
    for name, place in places.items():
        sources.setdefault(place.path, {})[place.layer] = name, place
    problems = []
    for path, found in sources.items():
        kinds = sorted({str(tensors.dtypes[name]) for name, _ in found.values()})
        if len(kinds) > 1:
            problems.append((f"the layers of {{}} have dtypes {', '.join(kinds)}", path))
    raise_all(problems, where=where, mend="save the checkpoint anew in one dtype")
    return {path: _param(found, tensors, skeleton) for path, found in sources.items()}


def _param(found, tensors, skeleton: Skeleton) -> Param:
    name, place = next(iter(found.values()))
    shape = skeleton.shapes[place.path].shape
    stacked = place.layer is not None

    def read(layer: int | None) -> np.ndarray:
        name, place = found[layer]
        return place.transform.to_ours(tensors[name], shape=shape[1:] if stacked else shape)

    return Param(shape, tensors.dtypes[name], shape[0] if stacked else None, read)


class TorchView(Mapping[str, np.ndarray]):
    """The tensors that `params` are in a layout, each made when it is asked for.

    Attributes:
      shapes, dtypes: of every tensor by name.

    Raises:
      CheckpointError: `params` are not just the parameters of `skeleton`.
    """

    def __init__(self, params: Params, table: Table, skeleton: Skeleton):
        self._places = table_places(table, skeleton)
        problems = [("missing {}", p) for p in skeleton.shapes if p not in params]
        problems += [("unexpected {}", p) for p in params if p not in skeleton.shapes]
        problems += [
            (f"{{}} has shape {params[p].shape}, expected {s.shape}", p)
            for p, s in skeleton.shapes.items()
            if p in params and params[p].shape != s.shape
        ]
        raise_all(problems, where="", mend="use the config that the parameters were made with")
        self._params = params
        self.shapes = {n: p.torch_shape for n, p in self._places.items()}
        self.dtypes = {n: params[p.path].dtype for n, p in self._places.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        place = self._places[name]
        return place.transform.to_torch(self._params[place.path].read(place.layer))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
