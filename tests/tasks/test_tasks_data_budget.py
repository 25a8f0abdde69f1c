"""`data budget`: flops by the model's own parameters, and the report."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sg4v_jax.bench.clips import input_spec
from sg4v_jax.chips import CHIPS
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import ConfigError
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM
from sg4v_jax.tasks.data_budget import as_table, assumed_lengths, compare, flops_of


@pytest.mark.parametrize("preset", ["sg4v-8b", "sg4v-test"])
def test_flops_are_twice_the_numbers_of_the_matrices(preset):
    config = PRESETS[preset]()
    shapes = skeleton(lambda key: VideoLM(config, key=key)).shapes
    size = lambda start, end: sum(
        s.size for path, s in shapes.items() if path.startswith(start) and path.endswith(end)
    )
    flops, patches = flops_of(config), config.tower.patches**2
    assert flops.position == 2 * size("llm.layers", "kernel")
    assert flops.scored == 2 * config.llm.hidden_size * config.llm.vocab_size
    tokens = patches + int(config.tower.class_token)
    matrices = 2 * tokens * size("tower.layers", "kernel")
    attention = config.tower.layers_run * 4 * tokens**2 * config.tower.hidden_size
    rest = 2 * patches * (size("projector", "kernel") + size("tower.embeddings", "kernel"))
    assert flops.tile == pytest.approx(matrices + attention + rest)


def test_flops_of_the_8b_model():
    flops = flops_of(PRESETS["sg4v-8b"]())
    assert flops.position == pytest.approx(13.96e9, rel=1e-3)
    assert flops.tile == pytest.approx(390e9, rel=1e-2)
    assert flops.block(7168) == 512 and flops.attention == "segments"
    assert flops_of(PRESETS["sg4v-8b"](), chip="v5p").block(7168) == 512


@pytest.fixture(scope="module")
def lengths():
    return assumed_lengths("released_181k", spec=input_spec(), records=3000)


def test_the_released_mix(lengths):
    how = dict(flops=flops_of(PRESETS["sg4v-8b"]()), batch=128, shards=32, microbatch=2)
    report = compare(lengths[0], rows=Budget(7168, 15, 2048), assumed=lengths[1], **how)
    found = json.loads(json.dumps(report.as_json()))
    [row] = found["packed"]
    whole = found["packed_if_blocks_between_samples_were_computed"]
    assert row["batch_rows"] == 32 and 0.75 < whole["useful"] < row["useful"] - 0.04
    assert row["useful_by_kind"]["attention"] > 2 * whole["useful_by_kind"]["attention"]
    assert found["others"][0]["useful"] > 0.88  # single samples, in lengths
    assert sum(row["executed_share"].values()) == pytest.approx(1)
    text = io.StringIO()
    Console(width=80, file=text).print(as_table(report))
    shown = text.getvalue()
    assert "assumed, not measured" in shown and "data.positions=7168" in shown
    assert "…" not in shown  # nothing is cut at 80 columns


@pytest.mark.parametrize("rows", [Budget(4736, 10, 1280), Budget(7168, 15, 1280)])
def test_nine_tenths_of_the_released_mix_are_useful(rows):
    lengths, _ = assumed_lengths("released_181k", spec=input_spec(), records=20_000)
    for chip in CHIPS:
        flops = flops_of(PRESETS["sg4v-8b"](), chip=chip)
        how = dict(flops=flops, batch=128, shards=32, microbatch=2)
        assert compare(lengths, rows=rows, **how).chosen[0].share >= 0.9, chip


@pytest.mark.parametrize("wrong", [dict(batch=8), dict(shards=0), dict(microbatch=0), dict(step=0)])
def test_numbers_that_cannot_be(lengths, wrong):
    how = dict(flops=flops_of(PRESETS["sg4v-8b"]()), batch=128, shards=32, microbatch=2)
    with pytest.raises(ConfigError, match="at least one sample a shard"):
        compare(lengths[0], **(how | wrong))
