"""Frames by real times: constant and changing rates, candidates of both rules."""

from __future__ import annotations

import fractions
import random

import av
import numpy as np
import pytest

from sg4v_jax.caption import frames as reading
from sg4v_jax.errors import VideoError
from sg4v_jax.video.encode import write_mp4
from sg4v_jax.video.frame_times import at_interval
from sg4v_jax.video.keyframes import candidates
from sg4v_jax.video.sampling import run_indices


def grey(levels) -> np.ndarray:
    return np.stack([np.full((32, 48, 3), level, np.uint8) for level in levels])


def write_uneven(path, *, times_ms) -> None:
    """A video whose frames are shown at the given times."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.time_base = fractions.Fraction(1, 1000)
        for number, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(grey([10 * number])[0], format="rgb24")
            frame.pts, frame.time_base = time, fractions.Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_at_interval():
    assert at_interval(np.arange(6.0), interval=2.0) == [0, 2, 4]
    assert at_interval(np.array([0, 0.1, 0.2, 3.9, 4.0]), interval=2.0) == [0, 2, 4]
    assert at_interval(np.zeros(1), interval=2.0) == [0]
    assert at_interval(np.array([0.0, 9.0]), interval=1.0) == [0, 1]


def test_at_an_even_rate_they_are_the_paper_s_candidates():
    chance = random.Random(0)
    for _ in range(300):
        total, fps = chance.randint(1, 3000), chance.choice([8, 23.976, 24, 25, 29.97, 30, 59.94])
        interval = chance.choice([0.5, 1.0, 2.0, 3.7])
        times = np.arange(total) / fps
        assert at_interval(times, interval=interval) == candidates(
            total, fps=fps, interval=interval
        )


def test_times_are_the_file_s_own_where_the_rate_changes(tmp_path):
    shown = [0, 40, 80, 120, 2000, 2040, 4100, 6000]
    write_uneven(tmp_path / "v.mp4", times_ms=shown)
    found = reading.sample(tmp_path / "v.mp4", choose=reading.every(2.0, with_last=True))
    assert found.numbers == [0, 4, 6, 7] and found.total == 8
    np.testing.assert_allclose(found.times, [0, 2.0, 4.1, 6.0], atol=2e-3)
    levels = [int(frame.mean()) for frame in found.frames]
    assert all(abs(a - 10 * b) < 4 for a, b in zip(levels, found.numbers, strict=True))


def test_how_frames_are_chosen(tmp_path):
    write_mp4(tmp_path / "v.mp4", grey(range(0, 250, 10)), fps=10)
    numbers = lambda choose: reading.sample(tmp_path / "v.mp4", choose=choose).numbers
    assert numbers(reading.every(1.0, with_last=False)) == [0, 10, 20]
    assert numbers(reading.every(1.0, with_last=True)) == [0, 10, 20, 24]
    assert numbers(reading.every_step(0.75)) == [0, 7, 14, 21]
    assert numbers(reading.evenly(3)) == run_indices(25, n=3)
    with pytest.raises(VideoError, match="25 frames, 30 are wanted"):
        numbers(reading.evenly(30))


def test_frames_come_in_pieces_and_in_order(tmp_path):
    write_mp4(tmp_path / "v.mp4", grey(range(0, 240, 5)), fps=10)
    found = reading.sample(tmp_path / "v.mp4", choose=lambda video: list(range(48)))
    levels = np.array([frame.mean() for frame in found.frames])
    assert np.abs(levels - np.arange(0, 240, 5)).max() < 4 and found.substituted == 0


def test_shrink_averages_areas_and_leaves_small_frames():
    wide = np.zeros((512, 2048, 3), np.uint8)
    wide[:, ::2] = 200
    small = reading.shrink(wide)
    assert small.shape == (256, 1024, 3) and (small == 100).all()
    frame = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    same = reading.shrink(frame)
    assert (same == frame).all() and not np.shares_memory(same, frame)


@pytest.mark.parametrize(("plain", "first"), [(0, 0), (3, 3), (9, 9), (30, 20)])
def test_the_released_rule_leaves_out_a_plain_opening(tmp_path, plain, first):
    stripes = grey([50])[0]
    stripes[:, ::8] = 250
    frames = np.stack([grey([0])[0]] * plain + [stripes] * (120 - plain))
    write_mp4(tmp_path / "v.mp4", frames, fps=10)
    numbers, last, step = reading.with_video(
        tmp_path / "v.mp4",
        work=lambda video: reading.candidates(video, rule="released", interval=2.0),
    )
    assert (numbers, last, step) == (list(range(first, 120, 20)), 119, 20)


def test_the_released_rule_leaves_out_short_videos(tmp_path):
    write_mp4(tmp_path / "v.mp4", grey([0] * 100), fps=10)
    with pytest.raises(VideoError, match="10.0 s; the released rule"):
        reading.with_video(
            tmp_path / "v.mp4",
            work=lambda video: reading.candidates(video, rule="released", interval=2.0),
        )
