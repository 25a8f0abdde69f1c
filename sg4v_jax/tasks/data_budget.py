"""`sg4v data budget`: the rows that waste least on a data set, and what other ways would waste."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sg4v_jax.data import assumed_mix, budget
from sg4v_jax.data.budget import KINDS, Flops, Result
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import ConfigError
from sg4v_jax.models.splash import block_size, largest_block
from sg4v_jax.models.video_lm import VideoLMConfig

_SHORT = ("pos", "attn", "tiles", "head")
_LEGEND = (
    "S positions, T tiles, L scored positions of a row; rows of a batch, of so many samples; then "
    "the share of useful flops, of all and of each kind. Last line: if attention did not skip the "
    "blocks between samples"
)


def flops_of(config: VideoLMConfig, *, attention: str = "segments", chip: str = "v5e") -> Flops:
    """What a model's parts cost forward, by the sizes of their matrices (see `data.budget`).

    Blocks of attention are those that the splash kernel takes on `chip`, a TPU generation.
    Of sg4v-8b: 13.96 GFLOP a position, 0.52 MFLOP a pair, 390 GFLOP a tile, 1.05 a scored position.
    """
    llm, tower = config.llm, config.tower
    wide, heads = llm.hidden_size, llm.num_attention_heads * llm.head_dim
    kv = llm.num_key_value_heads * llm.head_dim
    layer = 2 * wide * heads + 2 * wide * kv + 3 * wide * llm.intermediate_size
    d, patches = tower.hidden_size, tower.patches**2
    tokens = patches + int(tower.class_token)
    block = 4 * d * d + 2 * d * tower.intermediate_size
    tower_layer = 2 * tokens * block + 4 * tokens**2 * d
    embedding = 2 * patches * 3 * tower.patch_size**2 * d
    projector = 2 * patches * (d * wide + wide * wide)
    return Flops(
        position=2 * llm.num_hidden_layers * layer,
        pair=4 * llm.num_hidden_layers * heads,
        tile=tower.layers_run * tower_layer + embedding + projector,
        scored=2 * wide * llm.vocab_size,
        block=lambda positions: block_size(positions, largest=largest_block(chip, packed=True)),
        attention=attention,
    )


@dataclasses.dataclass(frozen=True)
class Report:
    """What `compare` found.

    Attributes:
      lengths: i64[records, 3]: positions, tiles, scored positions.
      chosen: the best rows, the best first; or the one that was asked for.
      others: single samples in length buckets, and the original's way.
      whole: `chosen[0]` with a kernel that does not skip blocks between samples.
      batch, shards: what was asked for.
      assumed: what the lengths stand on where no data was read.
    """

    lengths: np.ndarray
    chosen: tuple[Result, ...]
    others: tuple[Result, ...]
    whole: Result
    batch: int
    shards: int
    assumed: tuple[tuple, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "records": len(self.lengths),
            "lengths": {
                name: {"mean": float(values.mean()), "max": int(values.max())}
                for name, values in zip(
                    ("positions", "tiles", "scored"), self.lengths.T, strict=True
                )
            },
            "batch": self.batch,
            "shards": self.shards,
            "assumed": [list(row) for row in self.assumed],
            "packed": [_json(r) for r in self.chosen],
            "packed_if_blocks_between_samples_were_computed": _json(self.whole),
            "others": [_json(r) for r in self.others],
        }


def compare(
    lengths: np.ndarray,
    *,
    flops: Flops,
    batch: int,
    shards: int,
    microbatch: int,
    rows: Budget | None = None,
    longest: int = 16384,
    step: int = 128,
    assumed: Sequence[tuple] = (),
    progress: Callable[[Sequence], Iterable] = lambda x: x,
) -> Report:
    """Chooses rows for samples of these lengths, or measures the `rows` given.

    Raises:
      ConfigError: a batch of fewer samples than shards, or numbers below 1.
      BudgetError: a sample longer than a row.
    """
    if min(batch, shards, microbatch, step) < 1 or batch < shards or batch < microbatch:
        raise ConfigError(
            f"batch {batch}, shards {shards}, microbatch {microbatch}, step {step}",
            mend="give 1 or more of each, and at least one sample a shard",
        )
    how = dict(flops=flops, batch=batch, shards=shards)
    if rows is not None:
        chosen = [budget.packed(lengths, budget=rows, **how)]
    else:
        search = dict(longest=longest, step=step, progress=progress)
        chosen = budget.choose(lengths, **how, **search)
    causal = dataclasses.replace(flops, attention="causal")
    whole = budget.packed(lengths, budget=chosen[0].budget, **(how | {"flops": causal}))
    others = [
        budget.buckets(lengths, **how),
        budget.original(lengths, flops=flops, batch=batch, microbatch=microbatch),
    ]
    return Report(lengths, tuple(chosen), tuple(others), whole, batch, shards, tuple(assumed))


def assumed_lengths(name: str, *, spec: InputSpec, records: int) -> tuple[np.ndarray, list[tuple]]:
    """The lengths of a mix that is not at hand, and what they stand on."""
    return assumed_mix.lengths_of(name, spec=spec, records=records), assumed_mix.described(name)


def _json(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "budget": dataclasses.asdict(result.budget) if result.budget else None,
        "batch_rows": result.batch_rows,
        "samples_a_batch": result.samples,
        "rows": result.rows,
        "useful": result.share,
        "useful_by_kind": {kind: float(share) for kind, share in result.shares.items()},
        "executed_share": {
            kind: e / sum(result.executed) for kind, e in zip(KINDS, result.executed, strict=True)
        },
    }


def as_table(report: Report) -> RenderableType:
    """The report for the terminal, 80 columns wide."""
    parts: list[RenderableType] = []
    if report.assumed:
        table = Table("part", "samples", "frames", "asked", "said", title="assumed, not measured")
        for name, count, frames, asked, said in report.assumed:
            table.add_row(name, str(count), frames, str(asked), str(said))
        parts += [table]
    n, t, m = report.lengths.mean(axis=0)
    parts.append(
        Text(
            f"{len(report.lengths)} samples: mean {n:.0f} positions (longest "
            f"{report.lengths[:, 0].max()}), {t:.2f} tiles, {m:.0f} scored; batch {report.batch}, "
            f"{report.shards} data shards"
        )
    )
    rows = Table("S", "T", "L", "rows", "of", "useful", *_SHORT, title="packed rows, best first")
    for result in report.chosen:
        rows.add_row(*_size(result), *_shares(result))
    rows.add_section()
    rows.add_row(*_size(report.whole), *_shares(report.whole), style="dim")
    parts += [rows, Text(_LEGEND, style="dim")]
    other = Table("way", "rows", "useful", *_SHORT, title="other ways")
    for result in report.others:
        other.add_row(result.name, str(result.batch_rows), *_shares(result))
    parts += [other, Text(_verdict(report))]
    return Group(*parts)


def _size(result: Result) -> list[str]:
    b = result.budget
    numbers = (b.positions, b.tiles, b.scored, result.batch_rows)
    return [*map(str, numbers), f"{result.samples:.0f}"]


def _shares(result: Result) -> list[str]:
    return [f"{share:.1%}" for share in (result.share, *result.shares.values())]


def _verdict(report: Report) -> str:
    best = report.chosen[0]
    b, rows = best.budget, best.batch_rows
    said = f"data.positions={b.positions} data.tiles={b.tiles} data.scored={b.scored} "
    said += f"data.batch_rows={rows}: {best.share:.1%} of the flops are useful"
    bucket = report.others[0]
    if bucket.share > best.share:
        said += f"; {bucket.name} would have {bucket.share:.1%}, but batches of like lengths"
    return said
