"""Batched scores are the scores of each option alone, and those of the training loss."""

from __future__ import annotations

import pytest

from sg4v_jax.study.evaluate import Videos, read_questions, user_turn
from sg4v_jax.study.likelihood import Request, Scorer
from tests.study.conftest import random_model, study_config

PATHS = {"grid": 96, "frames": 24}


@pytest.fixture(scope="module", params=PATHS)
def asked(request, world):
    """(path, scorer, questions, their requests, their scores)."""
    config = study_config(image=PATHS[request.param])
    scorer = Scorer(*random_model(world, config=config))
    videos = Videos(scorer, data=world.folder, path=request.param)
    lines, _ = read_questions(world.folder, split="dev", scenes=5)
    requests = []
    for line in lines:
        shown = videos.shown(line["video"])
        turn = user_turn(line["text"], pictures=len(shown))
        requests.append(Request([turn], line["options"], shown))
    return request.param, scorer, lines, requests, scorer.option_scores(requests)
