from __future__ import annotations

import numpy as np
import pytest

from sg4v_jax.errors import ConfigError, EmptyVideoError
from sg4v_jax.video.decode import sample_frames
from sg4v_jax.video.sampling import (
    RULES,
    mvbench_indices,
    rand_indices,
    run_indices,
    sample_indices,
    tempcompass_indices,
)

# What the published scripts pick of 10, 100 and 300 frames.
OF_10 = [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8, 8]
OF_100 = [3, 9, 15, 22, 28, 34, 40, 46, 53, 59, 65, 71, 77, 83, 90, 96]
OF_300 = [9, 28, 46, 65, 84, 102, 121, 140, 159, 177, 196, 215, 233, 252, 271, 289]


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


@pytest.mark.parametrize("total, expected", [(10, OF_10), (100, OF_100), (300, OF_300)])
def test_whole_clips_by_every_rule_of_the_scripts(total, expected):
    for rule in ("run", "mvbench", "tempcompass"):
        assert sample_indices(total, rule=rule) == expected, rule


def test_mvbench_bounds():
    assert mvbench_indices(100, fps=25, bounds=(1.0, 3.5)) == [
        *(26, 30, 34, 38, 42, 46, 50, 54, 58, 61, 65, 69, 73, 77, 81, 85),
    ]
    of_files = mvbench_indices(180, fps=3, bounds=(5, 20), first=1)
    assert [index + 1 for index in of_files] == [
        *(16, 19, 22, 24, 27, 30, 33, 36, 38, 41, 44, 47, 50, 53, 55, 58),
    ]


def official_mvbench(bounds, fps, max_frame, first_idx, n=16):
    """The published arithmetic, in the numbers by which its readers open frames."""
    start, end = bounds or (-100000, 100000)
    start_idx = max(first_idx, round(start * fps))
    end_idx = min(round(end * fps), max_frame)
    seg_size = float(end_idx - start_idx) / n
    return [int(start_idx + (seg_size / 2) + np.round(seg_size * idx)) for idx in range(n)]


def test_mvbench_equals_run_on_whole_clips_and_the_published_rule_within_bounds():
    rng = np.random.default_rng(0)
    for total in range(1, 6001):
        assert mvbench_indices(total) == run_indices(total), total
        assert mvbench_indices(total, first=1) == run_indices(total), total
        fps = float(rng.uniform(1, 60))
        bounds = tuple(np.sort(rng.uniform(0, (total - 1) / fps, 2)) * (1, 1.1))
        ours = mvbench_indices(total, fps=fps, bounds=bounds)
        assert ours == official_mvbench(bounds, fps, total - 1, 0), (total, fps, bounds)
        if round(bounds[1] * fps) >= 1:
            of_files = mvbench_indices(total, fps=fps, bounds=bounds, first=1)
            official = official_mvbench(bounds, fps, total, 1)
            assert [index + 1 for index in of_files] == official, (total, fps, bounds)


def test_tempcompass_is_near_run():
    """The published scripts differ by at most one frame, in about 47 % of lengths."""
    different = 0
    for total in range(1, 6001):
        ours, run = tempcompass_indices(total), run_indices(total)
        assert max(abs(a - b) for a, b in zip(ours, run, strict=True)) <= 1
        different += ours != run
    assert 0.46 < different / 6000 < 0.48
    assert tempcompass_indices(18)[8:10] == [9, 10] and run_indices(18)[8:10] == [8, 10]


def test_docstring_examples():
    assert mvbench_indices(100, n=4, fps=25, bounds=(1.0, 3.5)) == [32, 48, 64, 79]
    assert mvbench_indices(180, n=4, fps=3, bounds=(5, 20), first=1) == [19, 30, 41, 53]
    assert tempcompass_indices(10, n=4) == [1, 3, 5, 8]
    assert rand_indices(2, n=4, rng=np.random.default_rng(0)) == [0, 0, 1, 1]


def test_rand_draws_one_of_each_part():
    rng = np.random.default_rng(0)
    drawn = np.array([rand_indices(64, n=16, rng=rng) for _ in range(2000)])
    assert (drawn // 4 == np.arange(16)).all()
    shares = np.bincount(drawn.ravel(), minlength=64) / 2000  # 1/4 each, give or take 0.01
    assert 0.2 < shares.min() and shares.max() < 0.3


@pytest.mark.parametrize("total", [1, 3, 5, 16, 23])
def test_rand_treats_all_frames_alike(total):
    rng = np.random.default_rng(1)
    drawn = np.array([rand_indices(total, rng=rng) for _ in range(3000)])
    assert (np.diff(drawn, axis=1) >= 0).all() and drawn.min() >= 0 and drawn.max() < total
    shares = np.bincount(drawn.ravel(), minlength=total) / drawn.size
    assert np.abs(shares * total - 1).max() < 0.1


def test_rand_repeats_with_its_seed():
    draws = [sample_indices(500, rule="rand", rng=np.random.default_rng(s)) for s in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]


class TopOfTheRange:
    def random(self, n):
        return np.full(n, np.nextafter(1, 0))


def test_rand_never_rounds_past_the_end():
    assert max(rand_indices(10**17, n=3, rng=TopOfTheRange())) == 10**17 - 1


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(rule="middle"), "'middle' is unknown.*run, mvbench, tempcompass, rand"),
        (dict(rule="run", bounds=(0, 1)), "'run' takes no bounds"),
        (dict(rule="tempcompass", bounds=(0, 1), fps=5), "'tempcompass' takes no bounds"),
        (dict(rule="rand"), "'rand' with rng=None"),
        (dict(rule="run", rng=np.random.default_rng(0)), "'run' with rng=Gen"),
        (dict(rule="mvbench", bounds=(2, 1), fps=5), r"bounds 2\.\.1 .* reversed"),
        (dict(rule="mvbench", bounds=(-1, 1), fps=5), "not times"),
        (dict(rule="mvbench", bounds=(0, float("inf")), fps=5), "not times"),
        (dict(rule="mvbench", bounds=(0, 1)), "fps=None"),
        (dict(rule="mvbench", bounds=(0, 1), fps=0), "fps=0"),
        (dict(rule="mvbench", bounds=(4, 5), fps=5), "start after the last frame, 9 at 5"),
    ],
)
def test_rules_and_bounds_that_do_not_fit(kwargs, message):
    with pytest.raises(ConfigError, match=f"(?s){message}") as e:
        sample_indices(10, **kwargs)
    assert e.value.mend


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_checks_its_numbers(rule):
    rng = np.random.default_rng(0) if rule == "rand" else None
    with pytest.raises(EmptyVideoError, match="0 frames"):
        sample_indices(0, rule=rule, rng=rng)
    with pytest.raises(ConfigError, match="n=0"):
        sample_indices(5, rule=rule, n=0, rng=rng)
    assert len(sample_indices(5, rule=rule, n=7, rng=rng)) == 7


def test_sample_frames_follows_the_rule(tmp_path, clips):
    path = clips.write(tmp_path / "a.mp4", 60)  # 25 a second

    def shown(**kwargs):
        decoded = sample_frames(path, n=4, **kwargs)
        numbers = [clips.number_of(frame) for frame in decoded.frames]
        assert list(decoded.indices) == numbers
        return numbers

    assert shown() == run_indices(60, n=4)
    assert shown(rule="tempcompass") == tempcompass_indices(60, n=4)
    assert shown(rule="mvbench", bounds=(1, 2)) == mvbench_indices(60, n=4, fps=25, bounds=(1, 2))
    at_10 = mvbench_indices(60, n=4, fps=10, bounds=(1, 2))
    assert shown(rule="mvbench", bounds=(1, 2), fps=10) == at_10
    drawn = shown(rule="rand", rng=np.random.default_rng(5))
    assert drawn == rand_indices(60, n=4, rng=np.random.default_rng(5))
    with pytest.raises(ConfigError, match=rf"{path}: bounds 9\.\.10"):
        sample_frames(path, rule="mvbench", bounds=(9, 10))
