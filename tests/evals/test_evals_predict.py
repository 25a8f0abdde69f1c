"""The runner: each video read once, nothing asked twice, killed and shared runs end the same."""

from __future__ import annotations

import io
import pathlib
import subprocess
import sys
import threading

import jax
import pytest
from rich.console import Console

from sg4v_jax import files
from sg4v_jax.data.record import Visual
from sg4v_jax.errors import ConfigError, WorkdirError
from sg4v_jax.evals.answering import Pace
from sg4v_jax.evals.benchmarks import get_protocol
from sg4v_jax.evals.busy import BusyClock
from sg4v_jax.evals.pictures import Ahead
from sg4v_jax.evals.predict import Plan, engine_inputs, predict
from sg4v_jax.evals.score import score
from tests.evals import asking, made_up

QUESTIONS = 20
PACE = Pace(batch=2, workers=2, ahead=3)


@pytest.fixture
def data(tmp_path) -> pathlib.Path:
    """Twenty questions about five videos, not side by side."""
    rows = [
        made_up.mvbench_row(n, video=f"v{n % 5}.mp4", question=f"number {n}?")
        for n in range(QUESTIONS)
    ]
    made_up.dump(tmp_path / "data" / "json" / "state_change.json", rows)
    return tmp_path / "data"


def run(data, out, engine, *, pace=PACE, console=None, **plan):
    plan = {"tasks": ("SC",), "shard": 8, "lease": 0.5} | plan
    return predict(
        Plan(benchmark="mvbench", data=str(data), model="m", **plan),
        engine=engine,
        out=out,
        pace=pace,
        console=console or Console(file=io.StringIO()),
    )


def rows_of(out):
    return files.read_jsonl(out / "predictions.jsonl")


def test_all_questions_are_answered_and_scored(data, tmp_path):
    engine = asking.Engine()
    described = run(data, tmp_path / "run", engine)
    rows = rows_of(tmp_path / "run")
    assert [r["id"] for r in rows] == [f"state_change/{n}" for n in range(QUESTIONS)]
    assert rows[3] == {
        "id": "state_change/3",
        "task": "state_change",
        "group": None,
        "video": "video/perception/videos/v3.mp4",
        "question": "number 3?",
        "prompt": get_protocol("mvbench", "sg4v")
        .turns(_question(data, "state_change/3"))[0]
        .content,
        "prediction": "(B) number 3?",
        "error": None,
    }
    assert {"benchmark", "protocol", "model", "data", "tasks", "limit", "generation"} <= set(
        described
    )
    assert described["tasks"] == ["state_change"] and described["visual"] == "overview"
    assert described["generation"]["max_new_tokens"] == 32
    assert files.read_json(tmp_path / "run" / "run.json") == described
    assert set(engine.systems) == {get_protocol("mvbench", "sg4v").system}
    found = score("mvbench", data=data, predictions=tmp_path / "run", out=tmp_path / "scores")
    assert found["headline"]["value"] == 100.0 and found["model"] == "m"
    assert found["protocol"] == "sg4v"


def _question(data, name):
    from sg4v_jax.evals import mvbench

    return next(q for q in mvbench.load(data, tasks=["SC"]).questions if q.id == name)


def test_each_video_is_read_once(data, tmp_path):
    engine = asking.Engine()
    described = run(data, tmp_path / "run", engine, shard=4)
    loaded = engine.settings.inputs.loaded
    assert sorted(v.path for v in loaded) == [
        str(data / "video" / "perception" / "videos" / f"v{n}.mp4") for n in range(5)
    ]
    assert described["counts"]["host"]["pictures"] == 5
    assert loaded[0] == Visual("video", loaded[0].path, None, None)


def test_bounds_and_rates_reach_the_reader(tmp_path):
    row = made_up.mvbench_row(0, video="show", start=5, end=20)
    made_up.dump(tmp_path / "json" / "episodic_reasoning.json", [row])
    engine = asking.Engine()
    run(tmp_path, tmp_path / "run", engine, tasks=("ER",))
    [visual] = engine.settings.inputs.loaded
    assert (visual.bounds, visual.fps) == ((5.0, 20.0), 3.0)


def test_a_video_that_cannot_be_read_spoils_its_questions_alone(data, tmp_path):
    engine = asking.Engine()
    engine.settings.inputs.missing = {"v2"}
    out = tmp_path / "run"
    described = run(data, out, engine)
    failed = [r for r in rows_of(out) if r["error"]]
    assert [r["id"] for r in failed] == [f"state_change/{n}" for n in (2, 7, 12, 17)]
    assert failed[0]["error"] == "MissingVideoError: v2.mp4: no such file"
    assert failed[0]["prediction"] is None and set(failed[0]) == set(rows_of(out)[0])
    assert described["counts"]["failed"] == 4
    found = score("mvbench", data=data, predictions=out, out=tmp_path / "scores")
    assert found["headline"]["value"] == 80.0 and len(found["missing"]) == 4
    # Again: nothing is asked, unless it is to be tried again.
    again = asking.Engine()
    run(data, out, again)
    assert again.asked == [] and len(again.settings.inputs.loaded) == 0
    run(data, out, again, retry_failed=True)
    assert len(again.asked) == 4 and not any(r["error"] for r in rows_of(out))


def test_a_question_that_cannot_be_asked_is_an_error_of_its_own(data, tmp_path):
    name = data / "json" / "state_change.json"
    text = name.read_text().replace("number 4?", "x <|eot_id|>")
    name.write_text(
        text.replace('"v0.mp4", "question": "number 5?"', '"strange.mp4", "question": "5"')
    )
    run(data, tmp_path / "run", asking.Engine())
    failed = {r["id"]: r["error"] for r in rows_of(tmp_path / "run") if r["error"]}
    assert set(failed) == {"state_change/4", "state_change/5"}
    assert "control token" in failed["state_change/4"]
    assert failed["state_change/5"] == "ZeroDivisionError: a fault of a decoder"


class Stop(Exception):
    pass


def test_an_interrupted_run_goes_on_behind_the_last_batch(data, tmp_path):
    def stop(number):
        if number == 3:
            raise KeyboardInterrupt

    first, out = asking.Engine(stop), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(data, out, first)
    assert not (out / "predictions.jsonl").exists() and len(first.asked) == 6
    second = asking.Engine()
    run(data, out, second)
    assert len(second.asked) == QUESTIONS - 6
    assert not set(first.asked) & set(second.asked)
    assert len(rows_of(out)) == QUESTIONS


def test_a_killed_process_loses_one_batch_at_most(data, tmp_path):
    out = tmp_path / "run"
    program = [sys.executable, asking.__file__, str(data), str(out)]
    killed = subprocess.run([*program, "5"], capture_output=True, text=True, check=False)
    assert killed.returncode == 9, killed.stderr
    second = asking.Engine()
    run(data, out, second)
    assert len(second.asked) == QUESTIONS - 2 * 5
    run(data, tmp_path / "whole", asking.Engine())
    assert rows_of(out) == rows_of(tmp_path / "whole")


def test_two_hosts_share_a_run(data, tmp_path):
    out = tmp_path / "run"
    meet = threading.Barrier(2)
    engines = [asking.Engine(lambda n: meet.wait(20) if n == 0 else None) for _ in range(2)]
    failures = []

    def host(engine):
        try:
            run(data, out, engine, shard=2, lease=30.0)
        except BaseException as e:  # noqa: BLE001 - shown below
            failures.append(e)

    threads = [threading.Thread(target=host, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert sorted(engines[0].asked + engines[1].asked) == sorted(
        set(engines[0].asked) | set(engines[1].asked)
    )
    assert all(engine.asked for engine in engines)
    assert [r["id"] for r in rows_of(out)] == [f"state_change/{n}" for n in range(QUESTIONS)]


def test_more_questions_reuse_the_answers_there(data, tmp_path):
    out = tmp_path / "run"
    run(data, out, asking.Engine(), limit=5)
    assert len(rows_of(out)) == 5
    more = asking.Engine()
    run(data, out, more)
    assert len(more.asked) == QUESTIONS - 5 and len(rows_of(out)) == QUESTIONS


def test_another_run_does_not_get_into_the_same_folder(data, tmp_path):
    out = tmp_path / "run"
    run(data, out, asking.Engine(), limit=2)
    with pytest.raises(WorkdirError, match="protocol: 'sg4v' there, 'official' now"):
        run(data, out, asking.Engine(), protocol="official", limit=2)
    trained = asking.Engine()
    trained.weights = "2c3d"
    with pytest.raises(WorkdirError, match="weights: '0a1b' there, '2c3d' now"):
        run(data, out, trained, limit=2)
    with pytest.raises(WorkdirError, match="max_new_tokens"):
        run(data, out, asking.Engine(), limit=2, pace=Pace(max_new_tokens=5))


def test_a_device_that_fails_stops_the_run(data, tmp_path):
    def fail(number):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore")

    with pytest.raises(ConfigError, match="batch of 2 prompts of 64: RESOURCE_EXHAUSTED"):
        run(data, tmp_path / "run", asking.Engine(fail))


def test_the_protocol_sets_how_videos_are_shown():
    protocol = get_protocol("tempcompass", "sg4v")
    assert engine_inputs(protocol, visual=None, double_bos=False) == {
        "frames": 16,
        "sampling": "tempcompass",
        "band": 50,
        "longest_side": 0,
        "visual": "anyres",
        "double_bos": False,
    }
    assert engine_inputs(get_protocol("tempcompass", "official"), visual="overview") == {
        "visual": "overview"
    }


def test_pictures_are_made_ahead_and_no_further():
    begun, go = [], threading.Event()

    def make(key):
        begun.append(key)
        go.wait(20)
        if key == "bad":
            raise ValueError("bad")
        return key.upper()

    with Ahead(make, ahead=2, workers=4) as pictures:
        pictures.want(["a", "b", "bad", "c"])
        go.set()
        assert pictures.get("a") == "A" and pictures.count == 2
        pictures.done("a")
        for _ in range(2):
            with pytest.raises(ValueError, match="bad"):
                pictures.get("bad")
        assert pictures.count == 3
        pictures.want(["c"])  # b and bad are let go
        assert pictures.get("c") == "C" and pictures.get("x") == "X"
        assert sorted(begun) == ["a", "b", "bad", "c", "x"]


def test_the_idle_share_leaves_compilation_out():
    times = iter([0.0, 5.0, 6.0, 8.0, 9.0, 10.0, 12.0, 20.0])
    clock = BusyClock(now=lambda: next(times))
    for shape in ("a", "a", "a", "b"):  # 5 s with compiling; 1 idle, 2 busy; 1 idle, 1 busy; 8
        with clock.batch(shape):
            pass
    assert clock.idle_share == pytest.approx(2 / 5)
    assert clock.to_json() == {
        "batches": 2,
        "seconds": 5.0,
        "busy_seconds": 3.0,
        "first_batches_seconds": 13.0,
        "idle_share": 0.4,
    }
    assert BusyClock().idle_share is None


def test_nothing_ahead_makes_things_when_they_are_asked_for(data, tmp_path):
    here = threading.get_ident()
    with Ahead(lambda key: (key, threading.get_ident()), ahead=0) as pictures:
        pictures.want(["a", "b"])
        assert pictures.count == 0
        assert pictures.get("a") == pictures.get("a") == ("a", here) and pictures.count == 1
    with Ahead({}.__getitem__, ahead=0) as pictures:
        for _ in range(2):
            with pytest.raises(KeyError):
                pictures.get("a")
    run(data, tmp_path / "run", asking.Engine(), pace=Pace(batch=3, ahead=0))
    run(data, tmp_path / "other", asking.Engine())
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "other")
