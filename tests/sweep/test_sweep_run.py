"""A sweep ends with one table, whatever is stopped, killed or fails on the way."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from sg4v_jax.errors import WorkdirError
from sg4v_jax.jobs import open_store
from sg4v_jax.sweep import Local, expand, run, states, table
from sg4v_jax.sweep.work import read_metrics

ROOT = pathlib.Path(__file__).parents[2]
FAKE = pathlib.Path(__file__).with_name("fake_train.py")
EXPECTED_CSV = """run,optim.eps,run.seed,step,loss
run-0,1.0,0,6,0.16666666666666666
run-1,1.0,1,6,1.1666666666666667
run-2,2.0,0,6,0.3333333333333333
run-3,2.0,1,6,1.3333333333333333
run-4,4.0,0,6,0.6666666666666666
run-5,4.0,1,6,1.6666666666666665
"""
SWEEPER = """
import sys
from sg4v_jax.sweep import Local, expand, run
if __name__ == "__main__":
    config, out, fake = sys.argv[1:]
    run(expand(config), config=config, out=out, launcher=Local(program=(sys.executable, fake)),
        jobs=2, lease=2)
"""


def starts(plan: pathlib.Path, name: str) -> int:
    """How often run `name` was started."""
    file = plan / f"{name}.starts"
    return len(file.read_text().splitlines()) if file.exists() else 0


def read(out) -> tuple[str, str, str]:
    """The table in all its forms; workdirs are the folder's own."""
    text = (pathlib.Path(out) / "table.json").read_text().replace(str(out), "OUT")
    return text, *((pathlib.Path(out) / f"table.{kind}").read_text() for kind in ("csv", "md"))


EXPECTED = [
    {
        "id": f"run-{k}",
        "error": None,
        "overrides": {"optim.eps": eps, "run.seed": seed},
        "workdir": f"OUT/run-{k}",
        "metrics": {"step": 6, "loss": eps / 6 + seed},
    }
    for k, (eps, seed) in enumerate(itertools.product((1.0, 2.0, 4.0), (0, 1)))
]


def assert_whole(out) -> None:
    """The table is the one of a sweep to which nothing happened."""
    text, as_csv, as_markdown = read(out)
    assert json.loads(text) == EXPECTED
    assert as_csv == EXPECTED_CSV
    assert as_markdown.splitlines()[:3] == [
        "| run | optim.eps | run.seed | step | loss |",
        "| --- | --- | --- | --- | --- |",
        "| run-0 | 1 | 0 | 6 | 0.1667 |",
    ]


def test_six_runs_of_which_some_are_killed_or_stopped(config, fake, plan, tmp_path):
    (plan / "run-0").write_text("kill 5\nkill 6\n")
    (plan / "run-3").write_text("stop 3\nkill 6\nstop 5\n")
    options = dict(config=config, out=tmp_path / "o", launcher=fake)
    done = run(expand(config), **options, jobs=2)
    assert_whole(tmp_path / "o")
    assert not done.failed and done.rows[0]["metrics"] == EXPECTED[0]["metrics"]
    assert [starts(plan, f"run-{k}") for k in range(6)] == [3, 1, 1, 4, 1, 1]
    run(expand(config), **options)
    assert_whole(tmp_path / "o")
    assert starts(plan, "run-1") == 1, "what is done is not run again"


def test_failures_are_rows_and_can_be_tried_again(config, fake, plan, tmp_path):
    (plan / "run-0").write_text("fail\n")
    (plan / "run-2").write_text("crash\n")
    (plan / "run-3").write_text("kill 4\n" * 4)  # saved at 2, then nothing
    options = dict(config=config, out=tmp_path / "o", launcher=fake, restarts=2)
    runs = expand(config)[:4]
    done = run(runs, **options)
    assert [row["error"] for row in done.rows] == [
        "exit code 2: data.annotations: no file",
        None,
        "exit code 1: RuntimeError: a bug",
        "stopped 3 times without saving anything (exit code -9)",
    ]
    with open(tmp_path / "o/table.csv") as f:
        rows = list(csv.reader(f))
    assert rows[0][-1] == "error" and rows[1][1:5] == ["1.0", "0", "", ""]
    assert states(runs, out=tmp_path / "o")[1:3] == [
        ("run-1", "done"),
        ("run-2", "failed: exit code 1: RuntimeError: a bug"),
    ]
    assert not run(runs, **options, retry_failed=True).failed
    assert [starts(plan, r.name) for r in runs] == [2, 1, 2, 5]


def test_a_run_that_leaves_no_log_is_a_row(config, plan, tmp_path):
    launcher = Local(program=(sys.executable, "-c", "pass"))
    done = run(expand(config)[:1], config=config, out=tmp_path / "o", launcher=launcher)
    [row] = done.failed
    assert row.keys() == EXPECTED[0].keys()
    assert "metrics.jsonl: no such file" in row["error"]


def test_another_sweep_in_the_same_place_is_refused(config, fake, tmp_path):
    runs = expand(config)
    options = dict(config=config, out=tmp_path / "o", launcher=fake)
    done = run(runs[:1], **options, metrics=["loss"])
    assert done.rows[0]["metrics"] == {"loss": 1 / 6}
    with pytest.raises(WorkdirError, match="items: 1 there, 2 now"):
        run(runs[:2], **options, metrics=["loss"])
    text = pathlib.Path(config).read_text().replace("common.base()", "c()")
    pathlib.Path(config).write_text(
        text + "\n\ndef c():\n    c = common.base()\n    c.optim.clip = 2.0\n    return c\n"
    )
    with pytest.raises(WorkdirError, match=r"config.optim.clip: 1.0 there, 2.0 now"):
        run(runs[:1], **options, metrics=["loss"])


def test_numbers_of_a_log(tmp_path):
    lines = [{"step": 1, "loss": 2.0, "seconds": 1.0}, {"step": 1, "eval": "v", "eval/loss": 3.0}]
    lines += [{"step": 2, "loss": 1.5, "seconds": 1.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_metrics(tmp_path) == {"step": 2, "loss": 1.5, "eval/loss": 3.0}
    assert read_metrics(tmp_path, names=["seconds", "mfu"]) == {"seconds": 1.0}


def test_only_what_differs_is_a_column():
    rows = [
        {"id": "a", "error": None, "overrides": {"x": 1, "y": 2}, "metrics": {"loss": 0.123456}},
        {"id": "b", "error": None, "overrides": {"x": 1}, "metrics": {"eval/loss": 1e-9}},
    ]
    assert table.columns(rows) == (["y"], ["loss", "eval/loss"])
    assert table.as_csv(rows) == "run,y,loss,eval/loss\na,2,0.123456,\nb,,,1e-09\n"


def sweeper(tmp_path, config, out) -> subprocess.Popen:
    script = tmp_path / "sweeper.py"
    script.write_text(SWEEPER)
    command = [sys.executable, str(script), config, str(out), str(FAKE)]
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_sweeper_that_is_killed_or_stopped_goes_on(config, fake, plan, tmp_path, number):
    for k in range(6):
        (plan / f"run-{k}").write_text("hang 3\n")
    out = tmp_path / "o"
    first = sweeper(tmp_path, config, out)
    wait_for(lambda: len(list(out.glob("run-*/checkpoints/2"))) == 2 or first.poll() is not None)
    said = [state for _, state in states(expand(config), out=out)]
    assert sorted(said) == ["running"] * 2 + ["waiting"] * 4
    first.send_signal(number)
    _, said = first.communicate(timeout=60)
    assert first.returncode != 0, said
    # The runs are asked to save and stop, also when the sweeper could not do it itself.
    pids = [int(line) for f in plan.glob("*.starts") for line in f.read_text().splitlines()]
    wait_for(lambda: not any(alive(pid) for pid in pids))
    assert len(list(out.glob("run-*/checkpoints/3"))) == 2, "both saved"
    for k in range(6):
        if not starts(plan, f"run-{k}"):
            (plan / f"run-{k}").unlink()
    done = run(expand(config), config=config, out=out, launcher=fake, jobs=2, lease=2)
    assert_whole(out)
    assert not done.failed


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = pathlib.Path(f"/proc/{pid}/stat")
    return not (stat.exists() and ") Z " in stat.read_text())


def test_a_run_left_behind_is_waited_for(config, fake, plan, tmp_path):
    """Two processes in one workdir would spoil it; the lock lives as long as the run does."""
    (plan / "run-0").write_text("slow\n")
    out = tmp_path / "o"
    logs = out / "logs"
    logs.mkdir(parents=True)
    runs = expand(config)[:1]
    holder = "import fcntl, subprocess, sys\nf = open(sys.argv[1], 'w')\n"
    holder += "fcntl.flock(f, fcntl.LOCK_EX)\nsubprocess.Popen(sys.argv[2:], pass_fds=[f.fileno()])"
    command = fake.command(runs[0], config=config, workdir=str(out / "run-0"), slot=0)
    subprocess.run([sys.executable, "-c", holder, str(logs / "run-0.lock"), *command], check=True)
    done = run(runs, config=config, out=out, launcher=fake)
    assert done.rows[0]["metrics"]["step"] == 6
    lines = [json.loads(s) for s in (out / "run-0/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert open_store(f"{out}/sweep").names("done") == ["00000.json"]
