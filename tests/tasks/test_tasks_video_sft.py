"""The fine-tuning task: what a config turns into, and which mistakes stop it early."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from sg4v_jax.errors import BudgetError, CheckpointError, ConfigError, RecordError, WorkdirError
from sg4v_jax.tasks import run_setup, video_sft
from sg4v_jax.text.tokenizer import train_byte_bpe
from sg4v_jax.weights.store import load_params, load_settings, save_params, save_settings

QUIET = Console(quiet=True)


@pytest.fixture
def config(tiny):
    """The tiny config on all devices: a row each."""
    config = tiny.config()
    config.data.batch_rows = 8
    config.optim.steps = 1
    return config


def rows_of(config):
    return run_setup.build_rows(config, run_setup.model_settings(config), console=QUIET)


def test_steps_are_counted_from_the_data_unless_given(config):
    rows = rows_of(config)
    assert not rows.index.skipped
    assert run_setup.total_steps(config, rows) == 1
    config.optim.steps, config.optim.epochs = 0, 3
    whole = -(-len(rows.plan(0).rows) // config.data.batch_rows)
    assert rows.steps_in(0) == whole
    assert run_setup.total_steps(config, rows) == sum(rows.steps_in(e) for e in range(3)) >= 3


def test_an_unknown_preset_offers_the_known(config):
    config.model.preset = "sg4v-9b"
    with pytest.raises(ConfigError, match="'sg4v-9b' is unknown") as error:
        run_setup.model_settings(config)
    assert "sg4v-8b" in error.value.mend


def test_a_tokenizer_with_more_ids_than_the_model_embeds(config, tmp_path):
    words = [f"word{i} " * 9 for i in range(200)]
    train_byte_bpe(words, vocab_size=330).save(tmp_path / "tokenizer.json")
    config.data.tokenizer = str(tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match="330 token ids, the model embeds 320"):
        run_setup.model_settings(config)


def test_a_missing_annotation_file_is_named(config):
    config.data.annotations = ("nothing/train.json",)
    with pytest.raises(RecordError, match=r"nothing/train\.json: no such file"):
        rows_of(config)


def test_a_row_too_small_for_a_record_says_how_large_it_must_be(config):
    config.data.positions = 100
    with pytest.raises(BudgetError, match="a row has 100") as error:
        rows_of(config)
    assert "data.positions" in error.value.mend


def test_records_that_cannot_be_used_are_listed_beside_the_run(tiny, config, tmp_path):
    records = json.loads((tiny.folder / "data" / "train.json").read_text())
    records[0]["video"] = "videos/gone.mp4"
    annotations = tmp_path / "train.json"
    annotations.write_text(json.dumps(records))
    config.data.annotations, config.data.root = (str(annotations),), str(tiny.folder / "data")
    count = len(records)
    with pytest.raises(RecordError, match=f"1 of {count} records cannot be used.*gone.mp4"):
        rows_of(config)
    config.data.max_skipped = 1.5 / count
    rows = rows_of(config)
    assert len(rows.index.records) == count - 1
    [(where, reason)] = rows.index.skipped
    assert records[0]["id"] in where and "gone.mp4" in reason


def test_a_mistake_claims_no_workdir(config, tmp_path):
    config.optim.rules = (("tower", "frozen"), ("nothing", "all"), (".*", "all"))
    with pytest.raises(ConfigError, match="'nothing' matches no parameter"):
        video_sft.train(config, folder=str(tmp_path), console=QUIET)
    assert not (tmp_path / "config.json").exists()


def test_training_from_another_model_keeps_what_is_frozen(tiny, config, trained, tmp_path):
    """One step on eight devices, from the tiny run's weights, with a frozen tower."""
    base = tmp_path / "base"
    save_settings(base, load_settings(trained))
    save_params(base, load_params(trained), dtype="float32")
    config.model.init, config.data.tokenizer = str(base), ""
    config.optim.rules = (("tower", "frozen"), (".*", "all"))
    config.optim.warmup_ratio = 0.0
    outcome = video_sft.train(config, folder=str(tmp_path / "run"), console=QUIET)
    assert outcome.finished and int(outcome.state.step) == 1

    before, after = load_params(base), load_params(tmp_path / "run")
    assert before.keys() == after.keys()
    for path, value in before.items():
        same = np.array_equal(after[path], value)
        assert same == path.startswith("tower"), path
    assert load_settings(tmp_path / "run").config == load_settings(trained).config

    config.optim.clip = 0.5
    with pytest.raises(WorkdirError, match="optim.clip: 1.0 there, 0.5 now"):
        video_sft.train(config, folder=str(tmp_path / "run"), console=QUIET)


def test_a_model_folder_without_weights(tiny, config, trained, tmp_path):
    save_settings(tmp_path / "base", load_settings(trained))
    config.model.init, config.data.tokenizer = str(tmp_path / "base"), ""
    with pytest.raises(CheckpointError, match="no weights"):
        video_sft.train(config, folder=str(tmp_path / "run"), console=QUIET)
