"""Every way of training learns: eight videos by heart, told apart by their pixels alone."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.data.record import Visual
from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.models.lora import is_lora
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER, Turn
from sg4v_jax.world.dataset import make_dataset

QUESTION = "Which video is this?"
NAMES = ("ash", "birch", "cedar", "elm", "fir", "lime", "oak", "yew")
# name -> (what each part does, LoRA rank)
MODES = {
    "lora": (dict(llm="lora", projector="full", tower="frozen"), 8),
    "full": (dict(llm="full", projector="full", tower="full"), 0),
    "frozen": (dict(llm="full", projector="full", tower="frozen"), 0),
    "unlocked": (dict(llm="lora", projector="full", tower="full"), 8),
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The annotation file of eight videos that share one question, and have a name each."""
    folder = tmp_path_factory.mktemp("eight")
    make_dataset(str(folder), videos=8, seed=5)
    made = json.loads((folder / "train.json").read_text())
    videos = sorted({record["video"] for record in made})
    items = [
        {
            "id": name,
            "video": video,
            "conversations": [
                {"from": "human", "value": f"<image>\n{QUESTION}"},
                {"from": "gpt", "value": name},
            ],
        }
        for name, video in zip(NAMES, videos, strict=True)
    ]
    (folder / "eight.json").write_text(json.dumps(items))
    return folder / "eight.json"


CONFIG = """
import importlib.util

spec = importlib.util.spec_from_file_location("tiny", {tiny!r})
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


def get_config(arg=""):
    c = tiny.get_config()
    c.data.annotations = ({records!r},)
    c.data.positions, c.data.tiles, c.data.scored = 200, 10, 32
    c.model.lora.update(rank={rank}, alpha=16.0, dropout=0.0)
    c.optim.parts = {parts}
    c.optim.groups = {groups}
    c.optim.steps = 150
    c.run.log_every, c.run.save_every = 50, 150
    return c
"""


@pytest.mark.parametrize("mode", MODES)
def test_eight_videos_are_learnt_by_heart(tiny, records, tmp_path, mode):
    parts, rank = MODES[mode]
    trained = {part for part, way in parts.items() if way != "frozen"}
    trained |= {"separators"} if parts["llm"] == "full" else set()
    rates = {"tower": 1e-4}  # a hundredth of the others, as in the recipes
    groups = {part: dict(learning_rate=rates.get(part, 1e-2)) for part in sorted(trained)}
    config = tmp_path / "config.py"
    config.write_text(
        CONFIG.format(
            tiny=str(tiny.config_file), records=str(records), rank=rank, parts=parts, groups=groups
        )
    )
    workdir = tmp_path / "run"
    done = tiny.run("train", f"--config={config}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr

    engine = Engine.load(workdir)
    folder = records.parent
    items = json.loads(records.read_text())
    inputs = engine.settings.inputs
    requests = [
        Request(
            [Turn("user", f"{IMAGE_PLACEHOLDER}\n{QUESTION}")],
            [inputs.load(Visual("video", str(folder / item["video"]))).pixels],
        )
        for item in items
    ]
    assert engine.answer(requests, max_new_tokens=8) == list(NAMES)

    # What the mode leaves alone has no slot, and what it trains has two.
    lines = json.loads((workdir / "parameters.json").read_text())["parameters"]
    assert any(is_lora(line["name"]) for line in lines) == bool(rank)
    for line in lines:
        part, branch = line["name"].split(".")[0], is_lora(line["name"])
        never_run = line["name"].startswith(("tower.tail", "tower.post_layernorm"))
        way = parts.get(part, "full" if part in trained else "frozen")
        assert line["trainable"] == (branch if way == "lora" else way == "full" and not never_run)
        size = line["parameter_bytes"] if line["trainable"] else 0
        assert (line["gradient_bytes"], line["slot_bytes"]) == (size, 2 * size), line
