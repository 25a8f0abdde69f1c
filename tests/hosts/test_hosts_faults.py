"""Processes that are killed, hang, fail or are asked to stop: all end alike, and go on exactly."""

from __future__ import annotations

import json
import pathlib
import random
import signal

import numpy as np
import pytest

from sg4v_jax.cli.exit_codes import BAD_INPUT, HOST_LOST, STOPPED
from sg4v_jax.train import goodput, metrics
from sg4v_jax.weights.checkpoint_files import read_params

STEPS, ROWS = 30, 8


def steps_logged(workdir: pathlib.Path) -> int:
    return max((r["step"] for r in metrics.read(workdir / "metrics.jsonl")), default=0)


def saved(workdir: pathlib.Path) -> list[int]:
    folder = workdir / "checkpoints"
    names = (p.name for p in folder.iterdir()) if folder.exists() else ()
    return sorted(int(name) for name in names if name.isdigit())


def order(workdir: pathlib.Path) -> dict[int, set[tuple[int, ...]]]:
    """Step -> the rows that its batch had, each time that it was trained by all processes."""
    parts: dict[int, list[list[int]]] = {}
    for file in workdir.glob("order.*.jsonl"):
        for line in file.read_text().splitlines():
            step, rows = json.loads(line)
            parts.setdefault(step, []).append(rows)
    return {step: {tuple(rows) for rows in lists} for step, lists in parts.items()}


def assert_rows_in_order(workdir: pathlib.Path) -> None:
    """Whoever read it, step n had the rows that only step n has, and together all of them."""
    seen = order(workdir)
    assert sorted(seen) == list(range(1, STEPS + 1))
    for step, parts in seen.items():
        want = set(range((step - 1) * ROWS, step * ROWS))
        assert {r for rows in parts for r in rows} == want, step


def params(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    found = read_params(
        workdir, step=None, dtype_of=lambda path, kind: kind, sharding_of=lambda path: None
    )
    return {path: np.asarray(value) for path, value in found.items()}


def lines(workdir: pathlib.Path) -> list[tuple]:
    rows = metrics.read(workdir / "metrics.jsonl")
    return [(r["step"], r.get("loss"), r.get("skipped", 0)) for r in rows]


def start(pods, workdir, *words, **more):
    """Step 7 is a NaN on the host that reads row 5 of it."""
    return pods.worker(workdir, "--nan_at=7", *words, **more)


def kill_and_go_on(pods, workdir, whole, *, seed: int, processes: int) -> None:
    """kill -9 of one process; all again; a SIGTERM to another; the rest on half of them."""
    draw = random.Random(seed)
    victim, at = draw.randrange(processes), draw.randrange(2, 16)
    several = dict(processes=processes)
    pod = start(pods, workdir, "--pause=0.2", **several)
    pods.until(lambda: steps_logged(workdir) >= at)
    pod.signal(signal.SIGKILL, to=victim)
    codes = pod.wait()
    assert codes == [-9 if k == victim else HOST_LOST for k in range(processes)], pod.tails()
    for k in set(range(processes)) - {victim}:
        assert f"process {victim}" in pod.said(k), pod.said(k)
        assert "start all processes again" in pod.said(k)
    usable = saved(workdir)
    killed_at = steps_logged(workdir)

    again = start(pods, workdir, "--pause=0.6", **several)  # time to ask it to stop
    pods.until(lambda: again.processes[0].poll() is not None or resumed_beyond(workdir, killed_at))
    again.signal(signal.SIGTERM, to=(victim + 1) % processes)
    assert again.wait() == [STOPPED] * processes, again.tails()
    stopped = {again.said(k).split("ended at step ")[1].split()[0] for k in range(processes)}
    assert stopped == {str(saved(workdir)[-1])}, "all at the same step, which is saved"
    assert not usable or usable[-1] <= saved(workdir)[-1]

    rest = start(pods, workdir, processes=processes // 2)
    assert rest.wait() == [0] * (processes // 2), rest.tails()
    assert_same_run(workdir, whole)
    found = goodput.summary(goodput.read(workdir))
    assert found.starts == 3 and found.steps == STEPS
    assert found.seconds["down"] > 0 and found.seconds["step"] > 0


def resumed_beyond(workdir: pathlib.Path, step: int) -> bool:
    starts = goodput.read(workdir)
    return len(starts) > 1 and steps_logged(workdir) > step


def assert_same_run(workdir: pathlib.Path, whole: pathlib.Path) -> None:
    assert_rows_in_order(workdir)
    got, want = params(workdir), params(whole)
    assert got.keys() == want.keys()
    for path, value in want.items():
        np.testing.assert_allclose(got[path], value, rtol=1e-5, atol=1e-6, err_msg=path)
    for got, want in zip(lines(workdir), lines(whole), strict=True):
        assert got[::2] == want[::2]
        if want[1] is not None:
            assert got[1] == pytest.approx(want[1], rel=1e-5)
    assert [r for r in lines(workdir) if r[2]] == [(7, None, 1)], "skipped by all"


def test_one_is_killed_all_start_again_then_one_goes_on(pods, tmp_path, whole):
    kill_and_go_on(pods, tmp_path, whole, seed=0, processes=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_one_of_four_is_killed_at_a_random_step_then_two_go_on(pods, tmp_path, whole, seed):
    kill_and_go_on(pods, tmp_path, whole, seed=seed, processes=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill_at",
    [
        r"0:open \S+/8\.orbax-checkpoint-tmp/\S+/_METADATA",
        r"0:os\.rename \S+ \S+/checkpoints/8$",
        r"1:(open|os\.mkdir) \S+/8\.orbax-checkpoint-tmp/\S+",
    ],
)
def test_killed_within_a_save_the_one_before_is_usable(pods, tmp_path, whole, kill_at):
    victim = int(kill_at[0])
    pod = start(pods, tmp_path, f"--kill_at={kill_at}", processes=2)
    codes = pod.wait()
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == HOST_LOST, pod.tails()
    assert saved(tmp_path) == [4]
    rest = start(pods, tmp_path, processes=2)
    assert rest.wait() == [0, 0], rest.tails()
    assert goodput.read(tmp_path)[-1]["first"] == 4
    assert_same_run(tmp_path, whole)
    assert not list((tmp_path / "checkpoints").glob("*tmp*"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 2])
def test_a_process_that_is_frozen_is_named(pods, tmp_path, whole, victim):
    """SIGSTOP: its connections stay open, and nothing comes from it. Process 0 has the store."""
    pod = start(pods, tmp_path, "--pause=0.2", processes=4)
    pods.until(lambda: steps_logged(tmp_path) >= 5)
    before = saved(tmp_path)
    pod.signal(signal.SIGSTOP, to=victim)
    others = [k for k in range(4) if k != victim]
    pods.until(lambda: all(pod.processes[k].poll() is not None for k in others))
    assert [pod.processes[k].returncode for k in others] == [HOST_LOST] * 3, pod.tails()
    assert all(f"process {victim}" in pod.said(k) for k in others), pod.tails()
    pod.signal(signal.SIGKILL, to=victim)
    # A save that was under way may have come to its end; what is there is whole, in any case.
    assert set(before) <= set(saved(tmp_path))
    rest = start(pods, tmp_path, processes=2)
    assert rest.wait() == [0, 0], rest.tails()
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
def test_a_process_that_lives_but_does_not_come_is_named(pods, tmp_path):
    pod = start(pods, tmp_path, "--hang_at=6", "--hang_timeout=4", processes=2)
    assert pod.wait() == [HOST_LOST] * 2, pod.tails()
    assert "process 1" in pod.said(0) and "in input at step 6) is hanging" in pod.said(0)


@pytest.mark.slow
def test_an_error_on_one_ends_all_with_its_code_and_words(pods, tmp_path):
    pod = start(pods, tmp_path, "--raise_at=1:6", processes=2)
    assert pod.wait() == [BAD_INPUT] * 2, pod.tails()
    assert "error: row 40 is bad" in pod.said(1) and "mend: mend it" in pod.said(1)
    assert "process 1 stopped: row 40 is bad" in pod.said(0)
    assert saved(tmp_path) == [4]


@pytest.mark.slow
def test_a_nan_on_one_stops_all_at_its_step(pods, tmp_path):
    pod = start(pods, tmp_path, "--nonfinite=stop", processes=2)
    assert pod.wait() == [BAD_INPUT] * 2, pod.tails()
    assert all("the loss is nan at step 7" in pod.said(k) for k in range(2))
    assert saved(tmp_path) == [4]


@pytest.mark.slow
def test_those_that_do_not_come_are_named(pods, tmp_path):
    """Process 1 of 2 is never started."""
    pod = start(pods, tmp_path, "--join_seconds=5", processes=2, only=(0,))
    assert pod.wait() == [HOST_LOST], pod.tails()
    said = pod.said(0)  # where jax's coordinator is faster than its client, no number is known
    assert "process 1 did not come within 5 s" in said or "not all 2 processes came" in said
