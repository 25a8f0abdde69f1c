"""A window of steps is traced, readably, whatever ends it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.train import loop
from sg4v_jax.train.hosts import Hosts
from sg4v_jax.train.profile import Profile


def traced_steps(workdir) -> list[int]:
    """The step numbers that the traces below `workdir` have, as xprof finds them."""
    steps = set()
    for file in (workdir / "profile").glob("plugins/profile/*/*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                for event in line.events:
                    stats = dict(event.stats)
                    if event.name == "train" and "step_num" in stats:
                        steps.add(stats["step_num"])
    return sorted(steps)


def run_with(run_of, tmp_path, window, **more):
    profile = Profile(tmp_path, window=window)
    work = jax.jit(lambda x: x @ x)
    run = run_of(
        tmp_path,
        during=lambda n: work(jnp.ones((8, 8))) is None or {},
        around=loop.Around(profile=profile),
        **more,
    )
    assert run.go().finished
    return traced_steps(tmp_path)


def test_the_window_and_nothing_else_is_traced(run_of, tmp_path):
    assert run_with(run_of, tmp_path, "4:7") == [4, 5, 6]


@pytest.mark.parametrize(("window", "first", "want"), [("3:6", 4, [5]), ("8:20", 0, [8, 9, 10])])
def test_what_is_left_of_it_after_a_resumption_or_before_the_end(
    run_of, tmp_path, window, first, want
):
    assert run_with(run_of, tmp_path, window, first=first) == want


def test_no_window_no_trace(run_of, tmp_path):
    run_with(run_of, tmp_path, "")
    run_with(run_of, tmp_path, "50:60")
    assert not (tmp_path / "profile").exists()


def test_the_primary_or_all(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(jax.profiler, "start_trace", begun.append)
    other = Hosts(None, index=1, count=2)
    Profile(tmp_path, window="1:2", hosts=other).before(1)
    assert not begun
    Profile(tmp_path, window="1:2", who="all", hosts=other).before(1)
    assert begun == [str(tmp_path / "profile")]


@pytest.mark.parametrize("window", ["5", "5:5", "0:3", "7:3", "a:b", "1:2:3"])
def test_a_window_that_is_none(tmp_path, window):
    with pytest.raises(ConfigError, match="profile.steps"):
        Profile(tmp_path, window=window)


def test_nobody_of_that_name(tmp_path):
    with pytest.raises(ConfigError, match=r"profile\.who is 'some'"):
        Profile(tmp_path, window="1:2", who="some")
