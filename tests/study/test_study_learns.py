"""The study's model can learn at all: every question about eight clips, from nothing."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.study import records
from sg4v_jax.study.likelihood import Request, Scorer
from sg4v_jax.study.videos import Videos, read_questions, user_turn
from sg4v_jax.weights.store import save_params, save_settings
from tests.study.conftest import make_data, random_model, study_config

CONFIG = """
from sg4v_jax.configs import common


def get_config(arg=""):
    c = common.base()
    c.model.init = "{folder}/init"
    c.model.dtype = "float32"
    c.model.remat = "none"
    c.data.annotations = ("{folder}/data/train.json",)
    c.data.visual = "overview"
    c.data.band = 0
    c.data.longest_side = 0
    c.data.template = "llama_3_bare"
    c.data.preamble = ""
    c.data.positions = 224
    c.data.tiles = 4
    c.data.scored = 80
    c.data.batch_rows = 8
    c.optim.steps = 140
    c.optim.b2 = 0.98
    c.optim.floor = 0.1
    c.optim.groups = dict(all=dict(learning_rate=3e-3, weight_decay=0.0))
    c.run.log_every = 20
    c.run.save_every = 140
    return c
"""


@pytest.mark.slow
def test_eight_clips_are_learnt(sg4v, tmp_path):
    data = make_data(tmp_path / "data", counts=dict(train=8, dev=2))
    config = study_config(width=64, heads=4, tower=2, layers=2)
    settings, flat = random_model(data, config=config, scale=1.0)
    save_settings(tmp_path / "init", settings)
    save_params(tmp_path / "init", flat, dtype="float32")
    asked, _ = read_questions(data, split="train")
    known = [records.record(q["id"], [q["video"]], [(q["text"], q["answer"])]) for q in asked]
    (data / "train.json").write_text(json.dumps(known))
    (tmp_path / "eight.py").write_text(CONFIG.format(folder=tmp_path))
    run = tmp_path / "run"
    done = sg4v("train", f"--config={tmp_path / 'eight.py'}", f"--workdir={run}")
    assert done.returncode == 0, done.stderr

    scorer = Scorer.load(run)
    videos = Videos(scorer.show, data=data, path="grid")
    requests = [
        Request([user_turn(q["text"], images=1)], q["options"], videos.shown(q["video"]))
        for q in asked
    ]
    wrong = [
        q["id"]
        for q, scores in zip(asked, scorer.option_scores(requests), strict=True)
        if q["options"][int(scores.argmax())] != q["answer"]
    ]
    assert len(asked) > 100 and not wrong
