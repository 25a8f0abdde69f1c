"""The model that the package ships: small, loadable, and better than guessing at what comes first."""

from __future__ import annotations

import pytest

from sg4v_jax import files
from sg4v_jax.evals.runner import answer_items
from sg4v_jax.evals.world_qa import hits, load_items
from sg4v_jax.infer.engine import Engine
from sg4v_jax.weights.store import load_settings
from sg4v_jax.world.dataset import make_dataset

BASE = "asset:world"


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("held_out"))
    make_dataset(
        folder,
        videos=32,
        seed=501,
        split="heldout",
        questions_per_video=2,
        mix={"order": 1.0, "order_yesno": 1.0},
    )
    return load_items(folder)


def test_it_is_small_and_looks_at_tiles():
    folder = files.path(BASE)
    assert sum(f.stat().length for f in folder.iterdir()) < 4 << 20
    settings = load_settings(BASE)
    assert settings.inputs.visual == "anyres"
    assert settings.inputs.frames == 16
    assert settings.tokenizer.vocab_size <= settings.config.llm.vocab_size


def test_it_tells_what_comes_first_only_when_it_sees_the_video(items):
    engine = Engine.load(BASE)
    accuracy = {
        condition: hits(items, answer_items(engine, items, condition=condition)).mean()
        for condition in ("as_filmed", "shuffled_frames")
    }
    # 64 coin flips give 42 or more in under 1 of 100 runs.
    assert accuracy["as_filmed"] >= 42 / 64
    assert accuracy["shuffled_frames"] < 42 / 64
