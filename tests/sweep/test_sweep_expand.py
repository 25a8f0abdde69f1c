"""`sweep()` of a config becomes runs, and every mistake in it is named before anything starts."""

from __future__ import annotations

import pathlib
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from sg4v_jax.errors import ConfigError
from sg4v_jax.sweep import Run, expand

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
HEAD = (
    "from sg4v_jax.configs import common\n\ndef get_config(arg=''):\n    return common.base()\n\n"
)


def write(tmp_path, body: str) -> str:
    (tmp_path / "c.py").write_text(HEAD + body)
    return str(tmp_path / "c.py")


def test_runs_are_named_in_order_and_flat(config):
    runs = expand(config)
    assert [r.name for r in runs] == [f"run-{k}" for k in range(6)]
    assert runs[3].overrides == {"optim.eps": 2.0, "run.seed": 1}
    assert runs[3].flags() == ["--config.optim.eps=2.0", "--config.run.seed=1"]


def test_names_arguments_and_overrides_of_all_runs(tmp_path):
    body = "def sweep(arg):\n    yield {'name': arg, 'run.seed': 3}\n    yield {}\n"
    runs = expand(write(tmp_path, body) + ":base", common={"run.seed": 7, "optim.steps": 5})
    assert [(r.name, dict(r.overrides)) for r in runs] == [
        ("base", {"run.seed": 3, "optim.steps": 5}),
        ("run-1", {"run.seed": 7, "optim.steps": 5}),
    ]


def test_twelve_runs_sort_by_name(tmp_path):
    runs = expand(
        write(tmp_path, "def sweep():\n    yield from ({'run.seed': k} for k in range(12))")
    )
    assert [r.name for r in runs][9:] == ["run-09", "run-10", "run-11"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", r"has no sweep\(\)"),
        ("def sweep():\n    return []\n", "has no runs"),
        ("def sweep():\n    yield 'run.seed'\n", "yielded 'run.seed'"),
        ("def sweep():\n    yield {'run.sead': 1}\n", "run 'run-0': run.sead=1"),
        ("def sweep():\n    yield {'run.seed': 'one'}\n", "run.seed='one'"),
        ("def sweep():\n    yield {'run.seed': {1, 2}}\n", r"run.seed=\{1, 2\}"),
        ("def sweep():\n    yield {}\n    yield {}\n", "'run-1' is the same as 'run-0'"),
        ("def sweep():\n    yield {'name': '../x'}\n", "'../x': not a name"),
        ("def sweep():\n    yield {'name': 'logs'}\n", "'logs': not a name"),
        (
            "def sweep():\n    for s in (1, 2):\n        yield {'name': 'a', 'run.seed': s}\n",
            "two runs",
        ),
    ],
)
def test_mistakes(tmp_path, body, said):
    with pytest.raises(ConfigError, match=said) as error:
        expand(write(tmp_path, body))
    assert error.value.mend


def test_a_missing_file():
    with pytest.raises(ConfigError, match="no file nowhere.py"):
        expand("nowhere.py")


def test_train_reads_the_flags_as_they_were_meant(tmp_path, monkeypatch):
    overrides = {
        "data.annotations": ("a b.json", "c.json"),
        "data.preamble": 'it\'s "this"',
        "optim.eps": 1e-7,
        "run.tensorboard": True,
        "optim.steps": 5,
    }
    file = write(tmp_path, "")
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    argv = ["train", f"--config={file}", *Run("r", overrides).flags()]
    monkeypatch.setattr(sys, "argv", argv)  # where config_flags looks for overrides
    values(argv)
    got = values.config
    assert {field: _at(got, field) for field in overrides} == overrides


def _at(config, field: str):
    for part in field.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(CONFIGS.glob("*.py")) if "\ndef sweep(" in p.read_text()],
    ids=lambda path: path.stem,
)
def test_a_shipped_sweep_fits_its_config(path):
    assert len(expand(str(path))) > 1
    assert f"sg4v sweep --config=configs/{path.name}" in path.read_text()


def test_the_quickstart_has_a_sweep():
    runs = expand(str(CONFIGS / "quickstart.py"))
    assert [r.name for r in runs][:2] == ["rate-x0.33-seed-0", "rate-x0.33-seed-1"]
    assert runs[0].overrides["optim.groups.llm.learning_rate"] * 3 == pytest.approx(
        runs[2].overrides["optim.groups.llm.learning_rate"]
    )
