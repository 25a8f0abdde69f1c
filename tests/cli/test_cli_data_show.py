"""`sg4v data show` as a user runs it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from sg4v_jax.world.dataset import make_dataset

ROOT = pathlib.Path(__file__).parents[2]
# Shipped configs begin with the same base; here it is found without an installed package.
CONFIG = """
import importlib.util

_spec = importlib.util.spec_from_file_location("common", {common!r})
common = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(common)


def get_config(arg=""):
    c = common.base()
    c.model.preset = "sg4v-world"
    c.data.annotations = ({annotations!r},)
    c.data.tokenizer = "asset:world/tokenizer.json"
    c.data.template = "llama_3_bare"
    c.data.positions = 512
    c.data.tiles = 15
    c.data.scored = 160
    c.data.batch_rows = 2
    return c
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> pathlib.Path:
    """A config file whose data set has three videos."""
    folder = tmp_path_factory.mktemp("show")
    make_dataset(str(folder / "data"), videos=3, seed=0)
    file = folder / "config.py"
    common, annotations = str(ROOT / "configs/common.py"), str(folder / "data/train.json")
    file.write_text(CONFIG.format(common=common, annotations=annotations))
    return file


def sg4v(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sg4v_jax", "data", "show", *words]
    wide = os.environ | {"COLUMNS": "400"}
    return subprocess.run(command, cwd=ROOT, env=wide, capture_output=True, text=True, check=False)


def test_rows_and_pictures(config, tmp_path):
    out = tmp_path / "out"
    done = sg4v(
        f"--config={config}", f"--out={out}", "--n=2", "--start=1", "--config.data.positions=600"
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in out.glob("*.txt")} == {"row_0001.txt", "row_0002.txt"}
    text = (out / "row_0001.txt").read_text()
    assert " of 600 positions" in text and "[[" in text
    assert "<tile 0: 16 patches><tiles 1..4 plane: 8 rows x (8 + newline)>" in text
    samples = text.count("\nsample ")
    assert samples and len(list(out.glob("row_0001_sample_*_grid.png"))) == samples
    assert len(list(out.glob("row_0001_sample_*_tiles.png"))) == samples
    assert "row 1 (epoch 0, step 0)" in done.stdout and "row 2 (epoch" in done.stdout
    assert f"written to {out}" in done.stdout


def test_what_is_missing_is_said(config):
    done = sg4v(f"--config={config}")
    assert done.returncode == 2
    assert "data show needs --config and --out" in done.stderr and "mend:" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_tells_every_flag():
    done = sg4v("--help")
    assert done.returncode == 0
    for flag in ("--config", "--out", "--n", "--start"):
        assert f"\n  {flag}: " in done.stdout
