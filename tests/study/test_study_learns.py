"""The study's model can learn at all: every question about eight clips, from nothing."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from sg4v_jax.configs import common

from sg4v_jax.study import records
from sg4v_jax.study.likelihood import Request, Scorer
from sg4v_jax.study.videos import Videos, read_questions, user_turn
from sg4v_jax.tasks import video_sft
from sg4v_jax.weights.store import save_params, save_settings
from tests.study.conftest import make_data, random_model, study_config


@pytest.mark.slow
def test_eight_clips_are_learnt(tmp_path):
    data = make_data(tmp_path / "data", counts=dict(train=8, dev=2))
    config = study_config(width=64, heads=4, tower=2, layers=2)
    settings, flat = random_model(data, config=config, scale=1.0)
    save_settings(tmp_path / "init", settings)
    save_params(tmp_path / "init", flat, dtype="float32")
    asked, _ = read_questions(data, split="train")
    known = [records.record(q["id"], [q["video"]], [(q["text"], q["answer"])]) for q in asked]
    (data / "train.json").write_text(json.dumps(known))

    c = common.base()
    c.model.init = str(tmp_path / "init")
    c.model.dtype, c.model.remat = "float32", "none"
    c.data.annotations = (str(data / "train.json"),)
    c.data.visual, c.data.band, c.data.longest_side = "overview", 0, 0
    c.data.template, c.data.preamble = "llama_3_bare", ""
    c.data.positions, c.data.tiles, c.data.scored, c.data.batch_rows = 336, 3, 72, 8
    c.optim.steps, c.optim.b2, c.optim.floor = 180, 0.98, 0.1
    c.optim.groups = dict(all=dict(learning_rate=3e-3, weight_decay=0.0))
    c.run.mesh = dict(fsdp=1)
    c.run.log_every = 20
    video_sft.train(c, folder=str(tmp_path / "run"), console=Console(file=io.StringIO()))

    scorer = Scorer.load(tmp_path / "run")
    videos = Videos(scorer.show, data=data, path="grid")
    requests = [
        Request([user_turn(q["text"], images=1)], q["options"], videos.shown(q["video"]))
        for q in asked
    ]
    scores = scorer.option_scores(requests)
    wrong = [
        q["id"]
        for q, found in zip(asked, scores, strict=True)
        if q["options"][int(found.argmax())] != q["answer"]
    ]
    assert len(asked) > 100 and not wrong
