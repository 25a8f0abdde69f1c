"""Batched scores are the scores of each option alone, and those of the training loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data.inputs import measure
from sg4v_jax.data.layout import Placed, place
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.readers.llava import llava_record
from sg4v_jax.errors import BudgetError, RecordError
from sg4v_jax.study import likelihood
from sg4v_jax.study.evaluate import Videos, read_questions, user_turn
from sg4v_jax.study.likelihood import Request, Scorer
from sg4v_jax.train.losses import next_token_loss
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
