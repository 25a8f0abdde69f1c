"""What a recipe needs on a slice: its rows, and from seconds a step its hours."""

from __future__ import annotations

import dataclasses

import ml_collections

from sg4v_jax.data.packing import Budget

# A grid of 16 frames is five tiles and 1,944 to 2,928 visual tokens by its aspect; with its question
# and answer the planned packing needs at most about so many positions.
SAMPLE_TILES, SAMPLE_POSITIONS = 5, 3072


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Rows and steps of one epoch of a config's data, as it expects it."""

    budget: Budget
    rows: int  # a step
    samples_a_row: int
    samples: int  # of an epoch, as the parts of the mix expect; 0: unknown

    @property
    def samples_a_step(self) -> int:
        return self.rows * self.samples_a_row

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return -(-self.samples // self.samples_a_step)


def of_config(config: ml_collections.ConfigDict) -> Recipe:
    """The recipe of a config, without its data: how many samples fit a row, at their usual size.

    >>> of_config(sft_8b_lora_181k.get_config()).steps  # 181,000 samples, two a row, 64 rows
    1415
    """
    data = config.data
    fit = min(data.positions // SAMPLE_POSITIONS, data.tiles // SAMPLE_TILES)
    return Recipe(
        Budget(data.positions, data.tiles, data.scored),
        rows=data.batch_rows,
        samples_a_row=max(fit, 1),
        samples=sum(part.get("expected", 0) or 0 for part in data.parts) * config.optim.epochs,
    )
