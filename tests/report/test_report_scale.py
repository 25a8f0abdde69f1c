"""Ticks, labels, numbers, thinning and smoothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.report import scale


def test_ticks_worked_examples():
    assert scale.ticks(0.13, 0.94).tolist() == [0.2, 0.4, 0.6, 0.8]
    assert scale.ticks(0, 1).tolist() == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert scale.ticks(-12, 11).tolist() == [-10, -5, 0, 5, 10]
    assert scale.ticks(1, 3, whole=True).tolist() == [1, 2, 3]
    assert scale.ticks(4, 4).tolist() == [4]


def test_ticks_are_round_evenly_spaced_and_inside():
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = rng.normal() * 10.0 ** rng.integers(-6, 7)
        high = low + 10.0 ** rng.uniform(-6, 7)
        found = scale.ticks(low, high)
        step = np.diff(found)
        assert 3 <= len(found) <= 9
        assert low - 1e-6 * step[0] <= found[0] and found[-1] <= high + 1e-6 * step[0]
        assert np.allclose(step, step[0], rtol=1e-5)
        mantissa = step[0] / 10.0 ** math.floor(math.log10(step[0] * 1.0001))
        assert min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-3


def test_log_ticks_by_span():
    assert scale.log_ticks(0.02, 3).tolist() == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
    assert scale.log_ticks(0.001, 100).tolist() == pytest.approx([0.001, 0.01, 0.1, 1, 10, 100])
    assert len(scale.log_ticks(1e-12, 1e12)) <= 6
    assert scale.log_ticks(2.1, 2.9).tolist() == pytest.approx([2.2, 2.4, 2.6, 2.8])


def test_labels_share_decimals():
    assert scale.labels(np.array([0, 0.5, 1])) == ["0.0", "0.5", "1.0"]
    assert scale.labels(np.array([-2000, 0, 2000])) == ["−2,000", "0", "2,000"]
    assert scale.labels(np.array([0, 2e-5, 4e-5])) == ["0", "2×10⁻⁵", "4×10⁻⁵"]
    assert scale.labels(np.array([0.01, 0.1, 1]), log=True) == ["0.01", "0.1", "1"]


def test_numbers_worked_examples():
    shown = [scale.number(v) for v in (12345, 0.123456, 1.5e-7, 0.0, -3.0, 1e6, 99.999)]
    assert shown == ["12,345", "0.1235", "1.5×10⁻⁷", "0", "−3", "10⁶", "100"]
    assert [scale.number(v) for v in (math.nan, math.inf, -math.inf)] == ["n/a", "∞", "−∞"]
    assert scale.number(np.float32(0.5)) == "0.5" and scale.number(np.int64(1200)) == "1,200"


def test_columns_of_numbers_share_decimals_where_sizes_are_alike():
    assert scale.numbers([0.347, 0.2406]) == ["0.3470", "0.2406"]
    assert scale.numbers([12, 3]) == ["12", "3"]
    assert scale.numbers([12345.6, 0.1234]) == ["12,346", "0.1234"]
    assert scale.numbers([0.5, math.nan]) == ["0.5", "n/a"]
    assert scale.numbers([-0.25, 1.0]) == ["−0.25", "1.00"]
    assert scale.numbers([]) == []


def test_thin_keeps_ends_and_extremes():
    assert scale.thin(np.array([0, 9, 1, 1, -5, 2, 0]), limit=4).tolist() == [0, 1, 4, 6]
    rng = np.random.default_rng(0)
    for n in (399, 400, 401, 1000, 54321):
        y = rng.normal(size=n)
        keep = scale.thin(y)
        assert len(keep) <= 400 and (n > 400 or len(keep) == n)
        assert keep[0] == 0 and keep[-1] == n - 1 and np.all(np.diff(keep) > 0)
        assert {int(y.argmin()), int(y.argmax())} <= set(keep.tolist())


def test_ema_by_its_weighted_sum():
    y = np.random.default_rng(0).normal(size=30)
    found = scale.ema(y, decay=0.8)
    for i in (0, 1, 7, 29):
        weights = 0.8 ** np.arange(i, -1, -1)
        assert found[i] == pytest.approx((weights * y[: i + 1]).sum() / weights.sum())
    assert scale.ema(np.array([4.0, 0.0]), decay=0.5) == pytest.approx([4, 4 / 3])
    assert scale.ema(y, decay=0) == pytest.approx(y)
    with pytest.raises(ConfigError, match=r"smooth=1\.0"):
        scale.ema(y, decay=1.0)
