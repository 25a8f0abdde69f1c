"""`sg4v convert`: from a checkpoint to a model directory and back, and what users see."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sg4v_jax.text.tokenizer import train_byte_bpe
from sg4v_jax.weights import assemble, export_model, store
from sg4v_jax.weights.views import params_from

ROOT = pathlib.Path(__file__).parents[2]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}


def convert(*words) -> subprocess.CompletedProcess:
    """`sg4v convert WORDS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "sg4v_jax", "convert", *map(str, words)],
        check=False,
        env=environment() | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> pathlib.Path:
    """A folder in layout llava, of the preset sg4v-test with random weights."""
    from sg4v_jax.models.video_lm import PRESETS
    from sg4v_jax.weights import hf_settings

    config, rng = PRESETS["sg4v-test"](), np.random.default_rng(0)
    shapes = assemble.structure(config)
    flat = {p: rng.standard_normal(s.shape, np.float32) for p, s in shapes.shapes.items()}
    tokenizer = train_byte_bpe(["what moves in the video"], vocab_size=280, adds_bos=True)
    settings = store.ModelSettings(config, hf_settings.input_spec(config, {}), tokenizer)
    model = assemble.Assembled(settings, params_from(flat, shapes), shapes)
    out = tmp_path_factory.mktemp("convert") / "checkpoint"
    export_model.write(model, out, layout="llava")
    return out


def test_there_and_back_again(checkpoint, tmp_path):
    model, out = tmp_path / "model", tmp_path / "out"
    done = convert("import", f"--source={checkpoint}", f"--out={model}")
    assert done.returncode == 0, done.stderr
    assert "25,280 parameters" in done.stdout and "320 rows are kept" in done.stdout
    done = convert("export", f"--model={model}", f"--out={out}", "--layout=hf", "--shard_size=50KB")
    assert done.returncode == 0, done.stderr
    assert "<image> is token" in done.stdout
    done = convert("verify", f"--a={checkpoint}", f"--b={out}")
    assert done.returncode == 0, done.stderr
    assert "65 tensors are the same, 0 differ" in done.stdout
    shard = min(out.glob("*.safetensors"))
    tensors = load_file(shard)
    name = next(iter(tensors))
    tensors[name] = tensors[name] + 1
    save_file(tensors, shard)
    done = convert("verify", f"--a={model}", f"--b={out}")
    assert done.returncode == 1
    assert (
        "numbers differ, by up to" in done.stdout and "64 tensors are the same, 1 " in done.stdout
    )


def test_inspect_prints_a_table(checkpoint, tmp_path):
    done = convert("inspect", f"--source={checkpoint}")
    assert done.returncode == 0, done.stderr
    for text in ("checkpoint, layout llava", "25,280", "65 in float32", "llm.rope_theta", "10000"):
        assert text in done.stdout
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, broken / "model.safetensors")
    done = convert("inspect", f"--source={broken}")
    assert done.returncode == 1
    assert "missing" in done.stdout and "model.norm.weight" in done.stdout


def test_bad_input_is_one_message(checkpoint, tmp_path):
    source = shutil.copytree(checkpoint, tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    del config["rope_theta"]
    (source / "config.json").write_text(json.dumps(config))
    done = convert("import", f"--source={source}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 2 and "--set rope_theta=..." in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
    done = convert(
        "import", f"--source={source}", f"--out={tmp_path / 'out'}", "--set=rope_theta=10000"
    )
    assert done.returncode == 0, done.stderr
    done = convert("import", f"--source={source}")
    assert done.returncode == 2 and "needs --source and --out" in done.stderr


def test_help_names_the_shared_flags():
    done = convert("import", "--help")
    assert done.returncode == 0
    for flag in ("--source", "--base", "--tower", "--set", "--revision", "--dtype"):
        assert flag in done.stdout


def test_random_numbers_convert_like_any_checkpoint(tmp_path):
    source, model = tmp_path / "source", tmp_path / "model"
    done = convert("random", f"--out={source}", "--preset=sg4v-test", "--layout=hf")
    assert done.returncode == 0, done.stderr
    done = convert("import", f"--source={source}", f"--out={model}")
    assert done.returncode == 0, done.stderr
    x = np.concatenate([t.ravel() for t in load_file(source / "model.safetensors").values()])
    x = np.abs(x.astype(np.float32))
    assert 1 / 128 <= x.min() < x.max() < 1 / 64 and abs(x.mean() * 128 - 1.5) < 0.01


SLOW_EXPORT = """
import sys, time
from sg4v_jax.weights import assemble, export_model
model = assemble.model(assemble.Request(source=sys.argv[1]))
def progress(done):
    print("wrote", flush=True)
    time.sleep(0.2)
export_model.write(model, sys.argv[2], layout="llava", shard_size="10KB", progress=progress)
"""


@pytest.mark.parametrize("signals", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_export_never_looks_whole(checkpoint, tmp_path, signals):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_EXPORT, str(checkpoint), str(out)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for _ in range(6):
        assert process.stdout.readline().strip() == "wrote"
    process.send_signal(signals)
    process.wait(timeout=60)
    time.sleep(0.1)
    assert process.returncode != 0 and not out.exists()
    left = list(tmp_path.iterdir())
    assert len(left) == (1 if signals == signal.SIGKILL else 0)
    done = convert("export", f"--model={checkpoint}", f"--out={out}", "--layout=llava")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [out]


def test_a_training_by_low_rank_branches_becomes_an_adapter_and_comes_back(tmp_path):
    """Base and trained model are this package's own; the adapter is peft's."""
    from sg4v_jax.models.lora import LoRA
    from sg4v_jax.models.params import skeleton
    from sg4v_jax.models.video_lm import PRESETS
    from sg4v_jax.tasks.run_setup import builder
    from sg4v_jax.weights import hf_settings

    config, rng = PRESETS["sg4v-test"](), np.random.default_rng(1)
    tokenizer = train_byte_bpe(["what moves in the video"], vocab_size=280, adds_bos=True)
    lora = LoRA(rank=2, alpha=4.0, dropout=0.0, targets=("llm",))
    settings = store.ModelSettings(config, hf_settings.input_spec(config, {}), tokenizer, lora)
    shapes = skeleton(builder(settings)).shapes
    flat = {p: rng.standard_normal(s.shape, np.float32) for p, s in shapes.items()}
    plain = {p: v for p, v in flat.items() if ".lora_" not in p}
    for name, tensors, branch in (("base", plain, None), ("trained", flat, lora)):
        store.save_settings(tmp_path / name, dataclasses.replace(settings, lora=branch))
        save_file(tensors, tmp_path / name / "params.safetensors")

    adapter = tmp_path / "adapter"
    base = tmp_path / "base"
    done = convert(
        "export", f"--model={tmp_path / 'trained'}", f"--out={adapter}", f"--adapter={base}"
    )
    assert done.returncode == 0, done.stderr
    assert (adapter / "adapter_config.json").exists() and (adapter / "vision_tower").is_dir()
    shown = convert("inspect", f"--source={adapter}")
    assert "rank 2, alpha 4" in shown.stdout and "adapter, not merged" in shown.stdout

    back = tmp_path / "back"
    done = convert("import", f"--source={adapter}", f"--out={back}")  # it names its base
    assert done.returncode == 0, done.stderr
    same = convert("verify", f"--a={back}", f"--b={tmp_path / 'trained'}")
    assert same.returncode == 0 and ", 0 differ" in same.stdout, same.stdout
    other = convert("verify", f"--a={back}", f"--b={base}")
    assert other.returncode == 1 and ", 14 differ" in other.stdout, other.stdout
