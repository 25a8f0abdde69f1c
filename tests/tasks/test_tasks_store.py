"""Training from a store is training from its videos, to the bit, with the videos gone."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.data.readers import read_llava_json
from sg4v_jax.data.store.write import write_shards
from sg4v_jax.tasks import run_setup


def losses(workdir) -> list[float]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


@pytest.mark.slow
def test_losses_from_a_store_equal_those_from_videos(tiny, trained, tmp_path):
    config = tiny.config()
    records = read_llava_json(tiny.folder / "data" / "train.json", root=tiny.folder / "data")
    spec = run_setup.model_settings(config).inputs
    write_shards(records, out=tmp_path / "store", spec=spec, shards=3, workers=0)
    part = {"name": "train", "file": str(tmp_path / "store"), "format": "arrayrecord"}
    text = tiny.config_file.read_text()
    text = text.replace(
        next(line.strip() for line in text.splitlines() if "data.annotations" in line),
        f"c.data.parts = ({part!r},)",
    )
    (tmp_path / "stored.py").write_text(text)
    words = ("train", f"--config={tmp_path / 'stored.py'}", f"--workdir={tmp_path / 'run'}")
    done = tiny.run(*words)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run") == losses(trained)
    # The second start measures nothing, and the index lies beside the checkpoints.
    assert (tmp_path / "run" / "index" / "train.json").exists()
