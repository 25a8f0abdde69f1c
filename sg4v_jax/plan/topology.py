"""Slices by name: `v5e:4x4` (chips along each dimension) or `v5e-16` (as Cloud TPU counts them).

`v4-N` and `v5p-N` count tensor cores, two a chip: v5p-64 is 32 chips. The others count chips.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence

from sg4v_jax.chips import CHIPS, Chip
from sg4v_jax.errors import ConfigError

# Slices that Cloud TPU offers, by number of chips.
SHAPES: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    "v4": {
        4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4), 64: (4, 4, 4), 128: (4, 4, 8),
        256: (4, 8, 8), 512: (8, 8, 8),
    },
    "v5e": {
        1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16),
        256: (16, 16),
    },
    "v5p": {
        4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4), 64: (4, 4, 4), 128: (4, 4, 8),
        256: (4, 8, 8), 512: (8, 8, 8),
    },
    "v6e": {
        1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16),
        256: (16, 16),
    },
}  # fmt: skip

# Set before jax is imported: libtpu compiles on a machine without a TPU, asks no metadata server,
# and lets other processes do the same.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """A named slice, or several equal ones that a data-center network joins."""

    chip: Chip
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def chips(self) -> int:
        return math.prod(self.shape) * self.slices

    @property
    def name(self) -> str:
        """`v5p:2x4x4`, with `2 x ` before it for two slices."""
        own = f"{self.chip.name}:{'x'.join(map(str, self.shape))}"
        return own if self.slices == 1 else f"{self.slices} x {own}"

    @property
    def common_name(self) -> str:
        """`v5p-64`."""
        return f"{self.chip.name}-{math.prod(self.shape) * self.chip.cores}"

    def wraps(self, dimension: int) -> bool:
        """Whether the first and the last chip of a dimension are joined.

        v5e and v6e join a full dimension of 16; v4 and v5p, by optical switches, slices of whole
        4 x 4 x 4 blocks.
        """
        if self.chip.dimensions == 2:
            return self.shape[dimension] == 16
        return all(n % 4 == 0 for n in self.shape)

    def bandwidth(self, coordinates: Sequence[Sequence[int]]) -> float:
        """Bytes a second that a chip at the edge can send within a group of chips, one way.

        Args:
          coordinates: where the group's chips stand; behind a chip's own, its slice's number.

        One link for each dimension in which they differ, two where that dimension wraps; the data
        center's network where their slices differ.
        """
        if len({c[-1] for c in coordinates}) > 1:
            return self.chip.dcn
        links = 0
        for dimension in range(len(self.shape)):
            if len({c[dimension] for c in coordinates}) > 1:
                links += 2 if self.wraps(dimension) else 1
        return max(links, 1) * self.chip.link


def parse(name: str, *, slices: int = 1) -> Slice:
    """The slice of a name in either spelling.

    >>> parse("v5p-64") == parse("v5p:2x4x4"), parse("v6e-64").shape
    (True, (8, 8))

    Raises:
      ConfigError: an unknown generation, or a size that is not offered; lists what is.
    """
    match = re.fullmatch(r"(v\d+[a-z]*)(?::(\d+(?:x\d+)*)|-(\d+))", name)
    if not match or match[1] not in CHIPS:
        known = ", ".join(f"{c}-{max(SHAPES[c]) * CHIPS[c].cores}" for c in CHIPS)
        near = difflib.get_close_matches(name, [c + "-64" for c in CHIPS], n=1, cutoff=0.3)
        raise ConfigError(
            f"--topology={name}: not a slice that can be compiled for"
            + (f" (nearest: {near[0]})" if near else ""),
            mend=f"give a generation and chips, as v5e:4x4, or a common name, up to {known}",
        )
    chip, shapes = CHIPS[match[1]], SHAPES[match[1]]
    if match[2]:
        shape = tuple(int(n) for n in match[2].split("x"))
        if shape in shapes.values():
            return Slice(chip, shape, slices)
    else:
        count, rest = divmod(int(match[3]), chip.cores)
        if count in shapes and not rest:
            return Slice(chip, shapes[count], slices)
    offered = ", ".join(
        f"{chip.name}-{n * chip.cores} ({'x'.join(map(str, s))})" for n, s in shapes.items()
    )
    raise ConfigError(
        f"--topology={name}: {chip.name} has no such slice", mend=f"use one of {offered}"
    )


def prepare() -> None:
    """Sets what libtpu wants of the environment. Call it before jax is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def devices(slice_: Slice) -> list:
    """The devices of a slice that is not there, to make a mesh of; nothing can run on them.

    Raises:
      ConfigError: libtpu is not installed, or does not know the slice.
    """
    from jax.experimental import topologies

    shape = slice_.shape
    options = {"num_slices": slice_.slices} if slice_.slices > 1 else {}
    if math.prod(shape) == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    wrap = tuple(slice_.wraps(d) for d in range(len(shape)))
    if slice_.chip.name == "v4":
        options["chip_config_name"] = "megacore"
    if any(wrap):
        options["wrap"] = (*wrap, False)[:3]  # always of three dimensions
    name = f"{_LIBTPU_NAME.get(slice_.chip.name, slice_.chip.name)}:{'x'.join(map(str, shape))}"
    try:
        return topologies.get_topology_desc(name, platform="tpu", **options).devices
    except Exception as e:  # jax and libtpu raise many types here
        said = " ".join(str(e).split())[:300]
        if "libtpu" in said and "not" in said.lower():
            raise ConfigError(
                f"the TPU compiler is not at hand ({said})",
                mend="pip install 'sg4v_jax[tpu]' -c constraints.txt",
            ) from e
        raise ConfigError(
            f"libtpu does not know the slice {slice_.name}: {said}", mend="choose another"
        ) from e


_LIBTPU_NAME = {"v5p": "v5"}


def coordinates(devices: Sequence, slice_: Slice) -> list[tuple[int, ...]]:
    """Where each device stands: its chip's coordinates, then the number of its slice."""
    size = len(slice_.shape)
    return [(*d.coords[:size], getattr(d, "slice_index", 0)) for d in devices]
