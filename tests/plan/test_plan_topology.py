"""Slices by name: both spellings, what is offered, and how chips are joined."""

from __future__ import annotations

import pytest

from sg4v_jax import chips
from sg4v_jax.chips import CHIPS
from sg4v_jax.errors import ConfigError
from sg4v_jax.plan import topology
from sg4v_jax.plan.topology import parse


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("v5e:4x4", (4, 4), 16),
        ("v5e-16", (4, 4), 16),
        ("v5e-256", (16, 16), 256),
        ("v5p-64", (2, 4, 4), 32),  # cores, two a chip
        ("v5p:2x4x4", (2, 4, 4), 32),
        ("v6e-8", (2, 4), 8),
        ("v4-8", (2, 2, 1), 4),
    ],
)
def test_names(name, shape, count):
    slice_ = parse(name)
    assert (slice_.shape, slice_.chips) == (shape, count)
    assert parse(slice_.name) == parse(slice_.common_name) == slice_


@pytest.mark.parametrize(
    ("name", "said", "offered"),
    [
        ("v9-64", "--topology=v9-64", "v5e:4x4"),
        ("v5e", "--topology=v5e", "v5e-256"),
        ("v5e:3x5", "v5e has no such slice", "v5e-16 (4x4)"),
        ("v5p-65", "v5p has no such slice", "v5p-64 (2x4x4)"),
        ("v6e-7", "v6e has no such slice", "v6e-8 (2x4)"),
    ],
)
def test_a_slice_that_is_not_offered_lists_what_is(name, said, offered):
    with pytest.raises(ConfigError) as error:
        parse(name)
    assert said in error.value.message
    assert offered in error.value.mend


def test_every_slice_has_the_chips_that_its_shape_says():
    for generation, shapes in topology.SHAPES.items():
        for count, shape in shapes.items():
            slice_ = parse(f"{generation}:{'x'.join(map(str, shape))}")
            assert slice_.chips == count
            assert len(shape) == CHIPS[generation].dimensions


def test_the_clock_gives_the_peak_with_whole_matrix_units():
    # A unit of 128 x 128 (v6e: 256 x 256) does as many multiply-adds a cycle.
    for name, units, side in (("v4", 8, 128), ("v5e", 4, 128), ("v5p", 8, 128), ("v6e", 4, 256)):
        chip = CHIPS[name]
        assert 2 * units * side**2 * chip.clock == pytest.approx(chip.peak, rel=0.01)


def test_bandwidth_counts_links_that_a_group_spans():
    small, full = parse("v5e-16"), parse("v5e-256")
    row, square = [(0, 0, 0), (0, 1, 0)], [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
    assert small.bandwidth(row) == 45e9
    assert small.bandwidth(square) == 2 * 45e9
    assert full.bandwidth(square) == 4 * 45e9  # a dimension of 16 wraps
    assert not parse("v5p-64").wraps(1)
    assert parse("v5p-128").bandwidth([(0, 0, 0, 0), (1, 1, 1, 0)]) == 6 * 90e9


def test_slices_are_joined_by_the_slower_network():
    two = parse("v5e-16", slices=2)
    assert (two.chips, two.name) == (32, "2 x v5e:4x4")
    assert two.bandwidth([(0, 0, 0), (0, 0, 1)]) == CHIPS["v5e"].dcn < CHIPS["v5e"].link


def test_a_device_tells_its_place_and_its_slice():
    class Device:
        coords, slice_index = [3, 2, 0], 1

    assert topology.coordinates([Device()], parse("v5e-16", slices=2)) == [(3, 2, 1)]


def test_flags_are_those_of_the_device_kind():
    assert chips.flags("TPU v5 lite") == dict(CHIPS["v5e"].flags)
    assert chips.flags("cpu") == {}
    assert all(isinstance(v, str) for c in CHIPS.values() for v in c.flags.values())


def test_the_environment_wins_over_ours(monkeypatch):
    for name in topology.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TPU_MIN_LOG_LEVEL", "0")
    topology.prepare()
    import os

    assert os.environ["TPU_MIN_LOG_LEVEL"] == "0"
    assert os.environ["TPU_SKIP_MDS_QUERY"] == "1"
    for name in topology.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
