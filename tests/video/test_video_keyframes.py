from __future__ import annotations

import math

import numpy as np
import pytest

from sg4v_jax.errors import ConfigError, EmptyVideoError, RecordError
from sg4v_jax.video import keyframes


def cosine(a, b):
    return float(a @ b / max(np.sqrt(a @ a) * np.sqrt(b @ b), 1e-8))


def paper(features, numbers, last):
    """The paper's rule, word by word: on similarity to the latest key frame; the last always."""
    keys = {numbers[0]}
    latest = features[0]
    for number, feature in zip(numbers, features, strict=True):
        if number != numbers[0] and cosine(feature, latest) < 0.93:
            keys.add(number)
            latest = feature
    keys.add(last)
    return sorted(keys)


def released(feature_of, total, interval):
    """The example script's loop over all frames that were read."""
    keys = []
    for i in range(total):
        if i % interval:
            continue
        if not keys or cosine(feature_of[i], feature_of[keys[-1]]) < 0.93:
            keys.append(i)
    if len(keys) == 1:
        if total - 1 != 0:
            keys.append(total - 1)
    elif total - 1 - keys[-1] >= interval:
        keys.append(total - 1)
    return keys


def walk(rng, count):
    """A random walk on the sphere, as slow videos and quick ones make it."""
    position, rows = rng.normal(size=8), []
    size = rng.uniform(0.02, 1.5)
    for _ in range(count):
        position = position / np.linalg.norm(position) + size * rng.normal(size=8) / np.sqrt(8)
        rows.append(position * rng.uniform(0.1, 30))
    return np.array(rows, np.float32)


def test_both_rules_equal_their_transcriptions_on_random_sequences():
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(1000):
        total, fps = int(rng.integers(1, 400)), float(rng.uniform(1, 31))
        numbers = keyframes.candidates(total, fps=fps)
        features = walk(rng, len(numbers))
        chosen = keyframes.select(numbers, features, last=total - 1)
        assert chosen == paper(features.astype(float), numbers, total - 1)
        counts.append(len(chosen) / len(numbers))

        total = min(total, 120 * int(fps))  # the script reads no further
        interval = math.ceil(int(fps) * 2)
        numbers = keyframes.candidates(total, fps=fps, rule="released")
        features = walk(rng, len(numbers))
        chosen = keyframes.select(numbers, features, last=total - 1, rule="released", step=interval)
        table = dict(zip(numbers, features.astype(float), strict=True))
        assert chosen == released(table, total, interval)
    assert np.mean(np.array(counts) < 0.5) > 0.1 and np.mean(np.array(counts) == 1) > 0.1


def test_the_worked_example():
    angles = np.radians([0, 5, 40, 42])
    features = np.stack([np.cos(angles), np.sin(angles)], 1)
    numbers = [0, 20, 40, 60]
    assert keyframes.select(numbers, features, last=69) == [0, 40, 69]
    assert keyframes.select(numbers[:3], features[:3], last=59) == [0, 40, 59]
    args = {"rule": "released", "step": 20}
    assert keyframes.select(numbers[:3], features[:3], last=59, **args) == [0, 40]
    assert keyframes.select(numbers, features, last=60, **args) == [0, 40, 60]
    assert keyframes.select(numbers[:2], features[:2], last=21, **args) == [0, 21]
    assert keyframes.select([0], features[:1], last=0) == [0]
    assert keyframes.select([0], features[:1], last=0, **args) == [0]


@pytest.mark.parametrize("scale", [1e-12, 0.0])
def test_a_feature_without_length_is_like_nothing(scale):
    features = np.array([[1.0, 0], [scale, 0], [1, 0]])
    assert keyframes.select([0, 1, 2], features, last=2) == [0, 1, 2]


@pytest.mark.parametrize(
    ("total", "fps", "rule", "expected"),
    [
        (100, 10, "paper", [0, 20, 40, 60, 80]),
        (101, 10, "paper", [0, 20, 40, 60, 80, 100]),
        (200, 29.97, "paper", [0, 60, 120, 180]),
        (200, 29.97, "released", [0, 58, 116, 174]),
        (1, 25, "paper", [0]),
        (3, 0.25, "paper", [0, 1, 2]),
        (5, 0.9, "released", [0]),
    ],
)
def test_candidates(total, fps, rule, expected):
    assert keyframes.candidates(total, fps=fps, rule=rule) == expected


def test_the_released_limits():
    assert not keyframes.long_enough(290, fps=29.97) and keyframes.long_enough(291, fps=29.97)
    assert keyframes.readable(10**6, fps=29.97) == 29 * 120
    assert keyframes.candidates(10**6, fps=30, rule="released")[-1] == 30 * 120 - 60
    assert keyframes.leading_pure([True, True, False, True], step=58) == 2
    assert keyframes.leading_pure([True] * 100, step=58) == 58
    assert keyframes.leading_pure([False, True], step=58) == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rule": "mine"}, ConfigError, "unknown rule 'mine'"),
        ({"threshold": 93}, ConfigError, "threshold=93"),
        ({"step": 0}, ConfigError, "step=0"),
        ({"features": np.ones((2, 3))}, RecordError, r"features \(2, 3\) for 3 candidates"),
        ({"features": np.array([[1.0], [math.nan], [1]])}, RecordError, "frame 20 is not finite"),
        ({"last": 39}, RecordError, "do not rise"),
        ({"frames": [0, 40, 20]}, RecordError, "do not rise"),
        ({"frames": [], "features": np.ones((0, 3))}, RecordError, "for 0 candidates"),
    ],
)
def test_what_cannot_be_used(change, error, message):
    arguments = {"frames": [0, 20, 40], "features": np.ones((3, 3)), "last": 45} | change
    with pytest.raises(error, match=message):
        keyframes.select(arguments.pop("frames"), arguments.pop("features"), **arguments)


def test_no_frames_and_no_rate():
    with pytest.raises(EmptyVideoError):
        keyframes.candidates(0, fps=25)
    for fps in (0, -1, math.nan):
        with pytest.raises(ConfigError, match="fps"):
            keyframes.candidates(10, fps=fps)
