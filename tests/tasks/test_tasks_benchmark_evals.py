"""Benchmarks while training: asked of the training's own parameters, logged beside the loss."""

from __future__ import annotations

import shutil

import jax
import pytest
from rich.console import Console

from sg4v_jax import sharding
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.models.lora import LoRA, merge
from sg4v_jax.models.params import flatten
from sg4v_jax.tasks import benchmark_evals, run_setup, video_sft
from sg4v_jax.train import metrics
from tests.evals import asking, made_up

QUIET = Console(quiet=True)


@pytest.fixture
def data(tiny, tmp_path):
    """Four questions of MVBench on two videos, one of which is lost."""
    folder = tmp_path / "mvbench"
    rows = [made_up.mvbench_row(n, video=f"v{n % 2}.mp4") for n in range(4)]
    made_up.dump(folder / "json" / "object_existence.json", rows)
    videos = folder / "video" / "clevrer" / "video_validation"
    videos.mkdir(parents=True)
    shutil.copy(tiny.video, videos / "v0.mp4")
    return folder


def entry(data, **more):
    return dict(benchmark="mvbench", data=str(data), every=1, tasks=("OE",), batch=2) | more


def made(entries, config):
    return benchmark_evals.evaluations(
        entries,
        settings=run_setup.model_settings(config),
        dtype="float32",
        mesh=sharding.make_mesh(devices=jax.devices()[:1]),
        console=QUIET,
    )


def test_a_run_logs_benchmarks_beside_the_loss(tiny, tmp_path, data, monkeypatch):
    """With an engine that needs no compilation; the real one is asked below."""
    built = []

    def engine(settings, params, **how):
        made = asking.Engine()
        made.settings.inputs.missing = {"v1"}
        built.append((settings.inputs.visual, how["dtype"], set(params)))
        return made

    monkeypatch.setattr(benchmark_evals, "Engine", engine)
    answer = lambda engine, items, *, condition: [item.answer for item in items]
    monkeypatch.setattr(benchmark_evals.runner, "answer_items", answer)
    one = sharding.make_mesh(devices=jax.devices()[:1])  # a step compiles sooner for one
    monkeypatch.setattr(video_sft.sharding, "make_mesh", lambda *_, **__: one)
    config = tiny.config()
    config.data.batch_rows = 1
    config.optim.steps = 2
    config.evals = (
        entry(data, every=2),
        dict(benchmark="world", data=str(tiny.folder / "data"), every=1, limit=4, name="toy"),
    )
    video_sft.train(config, folder=str(tmp_path / "run"), console=QUIET)
    rows = metrics.read(tmp_path / "run" / "metrics.jsonl")
    [asked] = [r for r in rows if r.get("eval") == "mvbench"]
    assert asked["step"] == 2 and asked["eval/mvbench/missing"] == 2
    # Half of the questions have no video, the others are answered "(B) ...", which is right.
    assert asked["eval/mvbench/object_existence"] == 50.0
    assert asked["eval/mvbench"] == 50.0
    world = [r for r in rows if r.get("eval") == "toy"]
    assert [r["step"] for r in world] == [1, 2] and world[0]["eval/toy"] == 100.0
    assert sum("loss" in r for r in rows) == 2
    assert ("overview", "float32") in [made[:2] for made in built]
    assert "llm.layers.self_attn.q_proj.kernel" in built[0][2]


def test_branches_are_asked_as_if_merged(tiny, data, monkeypatch):
    config = tiny.config()
    lora = LoRA(rank=2, alpha=4.0, dropout=0.0, targets=("llm",))
    monkeypatch.setattr(run_setup, "lora_of", lambda config: lora)
    settings = run_setup.model_settings(config)
    flat = flatten(run_setup.builder(settings)(jax.random.key(0)))
    flat = {k: v + 0.1 if k.endswith("lora_b") else v for k, v in flat.items()}
    seen = []

    def texts(params):
        monkeypatch.setattr(
            benchmark_evals, "_answers", lambda a, qs: seen.append(list(a.answer([qs[0].id])))
        )
        [evaluation] = made([entry(data)], config)
        with pytest.raises(AttributeError):  # nothing is scored
            evaluation.run(params)
        return seen[-1][0]["prediction"]

    assert texts(flat) == texts(merge(flat, lora))


def test_entries_that_cannot_be_used_stop_the_run_at_its_start(tiny, data):
    config = tiny.config()
    wrong = [
        (entry(data, evry=2), r"evals\[0\]: no field 'evry'"),
        (dict(benchmark="mvbench"), r"evals\[0\]: needs benchmark, data and every"),
        (entry(data, benchmark="glue"), "benchmark 'glue' is unknown"),
        (entry(data, every=0), "every 0"),
        (entry(data, benchmark="videochatgpt", tasks=()), "needs a judge"),
        (entry(data, tasks=("XX",)), "'XX' is unknown"),
    ]
    for value, message in wrong:
        with pytest.raises(ConfigError, match=message):
            made([value], config)
    with pytest.raises(RecordError, match=r"state_change\.json: no such file"):
        made([entry(data, tasks=("SC",))], config)
