"""The TPU generations that the package knows: memory, speed, links, and compiler flags of each.

The trainer passes the same flags to XLA on a real slice as `sg4v plan` does when it compiles for a
named one. Speeds are the makers' figures (Cloud TPU documentation, "System architecture"); the clock
is the one at which the matrix units give the peak. Usable memory is what XLA says that it has when a
program does not fit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One generation; all figures are of one chip.

    Attributes:
      name: as in `v5e:4x4`; `kinds`: what jax calls such devices.
      hbm: usable bytes of memory; `hbm_bandwidth`: its bytes a second.
      peak: bf16 operations a second; `clock`: cycles a second of its core.
      dimensions: of the torus that chips form; each has two links a chip.
      link: bytes a second of one link, one way.
      dcn: bytes a second of its share of the data center's network, one way.
      host: chips of one host, along each dimension.
      cores: tensor cores that a slice's common name counts a chip (`v5p-64` has 32 chips).
      flags: of the compiler, in training; unlike defaults.
    """

    name: str
    kinds: tuple[str, ...]
    hbm: float
    hbm_bandwidth: float
    peak: float
    clock: float
    dimensions: int
    link: float
    dcn: float
    host: tuple[int, ...]
    cores: int
    flags: Mapping[str, str]

    @property
    def links(self) -> int:
        """Links of a chip in a whole torus."""
        return 2 * self.dimensions


# A gradient of a sharded weight as many small permutes inside its product ("windowed einsum") took
# three times as long by the compiler's own estimate as the product and one reduction.
_COMMON = {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}

# SparseCores gather weights and scatter gradients while the tensor core computes. Without these flags
# v5p and v6e send both before and after the products, and reduce whole gradients where a part is kept
# (as MaxText's defaults do); v5e, which has no SparseCore, hides its gathers by default.
_SPARSE_CORE = dict.fromkeys(
    (
        "xla_tpu_enable_sparse_core_collective_offload_all_gather",
        "xla_tpu_enable_sparse_core_collective_offload_2d_all_gather",
        "xla_tpu_enable_sparse_core_collective_offload_3d_all_gather",
        "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter",
        "xla_tpu_enable_sparse_core_collective_offload_nd_reduce_scatter",
        "xla_tpu_enable_sparse_core_reduce_scatter_v2",
        "xla_tpu_enable_all_gather_offload_tracing",
        "xla_tpu_enable_reduce_scatter_offload_tracing",
        "xla_tpu_use_tc_device_shape_on_sc",
        "xla_sc_disable_megacore_partitioning",
    ),
    "true",
)

CHIPS: Mapping[str, Chip] = {
    c.name: c
    for c in (
        Chip(
            name="v4",
            kinds=("TPU v4",),
            hbm=30.75 * GIB,
            hbm_bandwidth=1228e9,
            peak=275e12,
            clock=1.05e9,
            dimensions=3,
            link=45e9,
            dcn=6.25e9,
            host=(2, 2, 1),
            cores=2,
            flags=_COMMON,
        ),
        Chip(
            name="v5e",
            kinds=("TPU v5 lite", "TPU v5e"),
            hbm=15.75 * GIB,
            hbm_bandwidth=819e9,
            peak=197e12,
            clock=1.5e9,
            dimensions=2,
            link=45e9,
            dcn=3.125e9,
            host=(2, 2, 1),
            cores=1,
            flags=_COMMON,
        ),
        Chip(
            name="v5p",
            kinds=("TPU v5", "TPU v5p"),
            hbm=95.74 * GIB,
            hbm_bandwidth=2765e9,
            peak=459e12,
            clock=1.75e9,
            dimensions=3,
            link=90e9,
            dcn=6.25e9,
            host=(2, 2, 1),
            cores=2,
            flags={**_COMMON, **_SPARSE_CORE},
        ),
        Chip(
            name="v6e",
            kinds=("TPU v6 lite", "TPU v6e"),
            hbm=31.25 * GIB,
            hbm_bandwidth=1640e9,
            peak=918e12,
            clock=1.75e9,
            dimensions=2,
            link=90e9,
            dcn=12.5e9,
            host=(2, 2, 1),
            cores=1,
            flags={**_COMMON, **_SPARSE_CORE},
        ),
    )
}


def of_kind(device_kind: str) -> Chip | None:
    """The chip that jax calls `device_kind`; None for other machines."""
    return next((c for c in CHIPS.values() if device_kind in c.kinds), None)


def flags(device_kind: str) -> dict[str, str]:
    """What XLA is told when it compiles for such devices; nothing for other machines."""
    chip = of_kind(device_kind)
    return dict(chip.flags) if chip else {}
