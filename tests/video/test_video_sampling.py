from __future__ import annotations

import numpy as np
import pytest

from sg4v_jax.errors import ConfigError, EmptyVideoError
from sg4v_jax.video.sampling import run_indices


def test_spec_examples():
    assert run_indices(300) == [
        *(9, 28, 46, 65, 84, 102, 121, 140, 159, 177, 196, 215, 233, 252, 271, 289),
    ]
    assert run_indices(8) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7]
    assert run_indices(9, n=4) == [1, 3, 5, 7]
    assert (8 in run_indices(18)) and (9 not in run_indices(18)) and (10 in run_indices(18))


def test_halves_round_to_even():
    # The step is 0.5: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4.
    assert run_indices(9)[:8] == [0, 0, 1, 2, 2, 2, 3, 4]


def test_equals_the_numpy_rule_for_every_length():
    for total in range(1, 6001):
        step = float(total - 1) / 16
        expected = int(step / 2) + np.round(step * np.arange(16)).astype(int)
        indices = run_indices(total)
        assert indices == expected.tolist(), total
        assert 0 <= indices[0] and indices[-1] < total


def test_one_frame_repeats():
    assert run_indices(1) == [0] * 16


@pytest.mark.parametrize("total", [0, -3])
def test_no_frames(total):
    with pytest.raises(EmptyVideoError, match=f"{total} frames"):
        run_indices(total)


def test_none_wanted():
    with pytest.raises(ConfigError, match="n=0"):
        run_indices(5, n=0)
