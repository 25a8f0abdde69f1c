"""A config with a sweep of six runs, and a launcher whose `sg4v train` takes no time."""

from __future__ import annotations

import pathlib
import sys

import pytest

from sg4v_jax.sweep import Local

SWEEP = """
from sg4v_jax.configs import common


def get_config(arg=""):
    return common.base()


def sweep():
    for eps in (1.0, 2.0, 4.0):
        for seed in (0, 1):
            yield {"optim.eps": eps, "run": {"seed": seed}}
"""


@pytest.fixture
def config(tmp_path) -> str:
    (tmp_path / "config.py").write_text(SWEEP)
    return str(tmp_path / "config.py")


@pytest.fixture
def plan(tmp_path, monkeypatch) -> pathlib.Path:
    """The folder that tells the stand-in what shall happen to a run."""
    folder = tmp_path / "plan"
    folder.mkdir()
    monkeypatch.setenv("FAKE_PLAN", str(folder))
    return folder


@pytest.fixture
def fake(plan) -> Local:
    return Local(program=(sys.executable, str(pathlib.Path(__file__).with_name("fake_train.py"))))
