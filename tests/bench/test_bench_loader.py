"""`bench loader`: a complete report, with decord and without, and its arithmetic."""

from __future__ import annotations

import io
import json
import os
import time

import numpy as np
import pytest
from rich.console import Console

from sg4v_jax.bench import loader, original, show, stages, streams
from sg4v_jax.errors import ConfigError, MissingVideoError
from sg4v_jax.video.encode import write_mp4

SPREAD = {"median", "low", "high"}
STORED = {"arrayrecord", "jpeg record"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> str:
    """Two small clips."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for name, width in (("a", 64), ("b", 128)):
        frames = rng.integers(0, 256, (1, 64, width, 3), np.uint8)
        write_mp4(str(folder / f"{name}.mp4"), np.repeat(frames, 18, axis=0), fps=8)
    return str(folder)


def printed(report: dict) -> str:
    text = io.StringIO()
    show.print_report(report, console=Console(width=120, file=text), by_clip=True)
    return text.getvalue()


def check(report: dict, *, methods: set[str], workers: int) -> None:
    assert json.loads(json.dumps(report)).keys() == report.keys()
    assert {c["method"] for c in report["cells"]} == methods
    for cell in report["cells"]:
        assert cell["workers"] == workers and cell["wall"] > 0
        assert cell["grids"] % 2 == 0, "whole passes over both clips"
    for entry in report["speed"]:
        assert entry["grids_per_s"].keys() == SPREAD
        compared = "original" in methods and entry["method"] != "original"
        assert ("ratio" in entry) == compared
        assert ("mp4_ratio" in entry) == (entry["method"] not in ("mp4", "original"))
        cpu = entry["cpu_ms_per_grid"]["median"]
        assert entry["cores"] == pytest.approx(cpu / 1e3 * 32 / 4.36)
    assert [a["clip"] for a in report["agreement"]] == ["a.mp4", "b.mp4"]
    assert {name for _, _, name in stages.OURS if name[0] != ":"} <= set(
        report["stages"][0]["ours"]
    )
    rates = report["to_device"]["rates"]
    assert rates["f32 pixel values"]["bytes"] == 4 * rates["u8 tiles"]["bytes"]
    assert report["machine"]["versions"]["numpy"] == np.__version__


def test_without_decord(videos, monkeypatch):
    monkeypatch.setattr(original, "available", lambda: False)
    report = loader.measure(videos=videos, workers=[0], rounds=1, seconds=0.01)
    check(report, methods={"mp4", "png", "jpg"} | STORED, workers=0)
    assert report["between_processes"] == {}
    text = printed(report)
    assert "decord is not installed" in text and "nan" in text and "tiles: resize" in text


def test_with_decord(videos):
    pytest.importorskip("decord", reason="needs decord2 (extra [bench])")
    report = loader.measure(videos=videos, workers=[0], rounds=1, seconds=0.01)
    check(report, methods={"mp4", "original", "png", "jpg"} | STORED, workers=0)
    assert max(a["mean_abs"] for a in report["agreement"]) < 0.5
    assert {"normalise", "tiles: resize"} <= set(report["stages"][1]["original"])
    assert "decord is not installed" not in printed(report)


@pytest.mark.slow
def test_in_processes(videos, monkeypatch):
    monkeypatch.setattr(original, "available", lambda: False)
    report = loader.measure(videos=videos, workers=[2], rounds=1, seconds=0.01)
    check(report, methods={"mp4", "png", "jpg"} | STORED, workers=2)
    assert report["between_processes"].keys() == {"u8 tiles and text", "f32 pixel values"}


def cell(method: str, turn: int, *, wall: float, cpu: float | None) -> dict:
    return dict(method=method, workers=1, round=turn, grids=10, wall=wall, cpu=cpu)


def test_ratios_are_paired_by_round():
    cells = [
        cell("original", 0, wall=4.0, cpu=8.0),
        cell("mp4", 0, wall=2.0, cpu=4.0),
        cell("mp4", 1, wall=20.0, cpu=10.0),  # the machine was busy in this round
        cell("original", 1, wall=60.0, cpu=40.0),
    ]
    ours, theirs = loader.summarise(cells)
    assert (ours["method"], theirs["method"]) == ("mp4", "original")
    assert ours["ratio"] == {"median": 2.5, "low": 2.0, "high": 3.0}
    assert ours["cpu_ratio"] == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert ours["grids_per_s"] == {"median": 2.75, "low": 0.5, "high": 5.0}
    assert ours["cpu_ms_per_grid"]["low"] == 400.0 and "ratio" not in theirs


def test_a_store_is_compared_with_videos():
    cells = [
        cell("mp4", 0, wall=6.0, cpu=8.0),
        cell("arrayrecord", 0, wall=1.0, cpu=2.0),
        cell("original", 0, wall=12.0, cpu=16.0),
    ]
    entry = loader.summarise(cells)[-1]
    assert entry["method"] == "arrayrecord"
    assert entry["mp4_ratio"]["median"] == 6.0 and entry["mp4_cpu_ratio"]["median"] == 4.0
    assert entry["ratio"]["median"] == 12.0
    assert loader._cores(entry, step_seconds=2.0, step_grids=10) == {"cores": 1.0}


def test_unknown_cpu_time_is_left_out():
    cells = [cell("original", 0, wall=2.0, cpu=None), cell("mp4", 0, wall=1.0, cpu=None)]
    ours, _ = loader.summarise(cells)
    assert (
        ours["ratio"]["median"] == 2.0 and loader._cores(ours, step_seconds=1, step_grids=1) == {}
    )
    assert "cpu_ratio" not in ours and "cpu_ms_per_grid" not in ours


def test_a_clock_books_each_moment_once(monkeypatch):
    now = iter([(t, 10 * t) for t in (0.0, 1.0, 3.0, 6.0, 10.0, 15.0)])
    monkeypatch.setattr(stages, "_now", lambda: next(now))
    clock = stages.Clock()
    clock.start()
    with clock.stage("tiles"), clock.stage(": resize"):
        pass
    clock.stop()
    assert clock.wall == {"rest": 1.0 + 5.0, "tiles": 2.0 + 4.0, "tiles: resize": 3.0}
    assert clock.cpu["tiles: resize"] == 30.0


def test_watched_functions_are_put_back():
    before = [getattr(owner, name) for owner, name, _ in stages.OURS]
    with pytest.raises(ZeroDivisionError), stages.watched(stages.OURS, clock=stages.Clock()):
        assert stages.inputs.make_tiles is not before[4]
        raise ZeroDivisionError
    assert [getattr(owner, name) for owner, name, _ in stages.OURS] == before


def test_cpu_seconds_of_a_process():
    before = streams.cpu_seconds(os.getpid())
    if before is None:
        pytest.skip("needs /proc")
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert 0.05 < streams.cpu_seconds(os.getpid()) - before < 5
    assert streams.cpu_seconds(2**30) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": [-1]},
        {"workers": []},
        {"rounds": 0},
        {"seconds": 0.0},
        {"limit": 0},
        {"step_seconds": 0},
        {"step_grids": 0},
    ],
)
def test_numbers_out_of_range(wrong, videos):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        loader.measure(videos=videos, **wrong)


def test_no_videos(tmp_path):
    with pytest.raises(MissingVideoError, match="no video files"):
        loader.measure(videos=str(tmp_path))
    (tmp_path / "bad.mp4").write_bytes(b"junk")
    with pytest.raises(ConfigError, match=r"bad\.mp4"):
        loader.measure(videos=str(tmp_path))
