"""The wheel holds all that the commands need, and works where there is no checkout."""

from __future__ import annotations

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from sg4v_jax.cli.exit_codes import BAD_INPUT

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ("setup.cfg", "setup.py", "pyproject.toml", "LICENSE", "README.md")
NEEDED = {"build": 1, "setuptools": 77}  # the oldest versions that will do


def missing() -> list[str]:
    """What building needs and this Python does not have."""
    lacking = []
    for package, version in NEEDED.items():
        try:
            have = int(importlib.metadata.version(package).split(".")[0])
        except importlib.metadata.PackageNotFoundError:
            have = 0
        if have < version:
            lacking.append(f"{package}>={version}")
    return lacking


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"needs {', '.join(missing())}: pip install them"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """The wheel of a copy of the checkout, so that building leaves nothing there."""
    copy = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("sg4v_jax", "configs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    [file] = (copy / "dist").glob("sg4v_jax-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> pathlib.Path:
    """The folder that holds the wheel's content."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture(scope="module")
def run(installed, tiny, tmp_path_factory):
    """Runs Python with the wheel instead of the checkout."""
    env = tiny.environment() | {"PYTHONPATH": str(installed)}
    outside = tmp_path_factory.mktemp("outside")

    def run(*words) -> subprocess.CompletedProcess:
        command = [sys.executable, *map(str, words)]
        return subprocess.run(
            command, cwd=outside, env=env, capture_output=True, text=True, check=False
        )

    return run


def test_it_holds_every_module_config_and_asset(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {n: i.file_size for n, i in zip(archive.namelist(), archive.infolist(), strict=True)}
    wanted = [p.relative_to(ROOT) for p in (ROOT / "sg4v_jax").rglob("*.py")]
    wanted += [
        p.relative_to(ROOT) for p in (ROOT / "sg4v_jax" / "assets").rglob("*") if p.is_file()
    ]
    wanted += [
        pathlib.Path("sg4v_jax") / p.relative_to(ROOT) for p in (ROOT / "configs").glob("*.py")
    ]
    assert len(wanted) > 60
    assert not [str(p) for p in wanted if str(p) not in held]
    assert any(n.startswith("sg4v_jax/assets/world/") for n in held)
    assert not [n for n in held if n.startswith(("tests", "configs", "build", "runs"))]
    assert sum(held.values()) < 12_000_000


def test_its_configs_import_from_it(run, installed):
    code = "import sg4v_jax.configs.quickstart as q; q.get_config(); print(q.__file__)"
    result = run("-c", code)
    assert result.returncode == 0, result.stderr
    assert pathlib.Path(result.stdout.strip()).is_relative_to(installed)


def test_its_command_finds_shipped_configs_and_assets(run, tiny):
    assert "usage: sg4v VERB" in run("-m", "sg4v_jax", "--help").stdout
    wrong = ("--config=configs/quickstart.py", "--workdir=x", "--config.optim.stepz=1")
    refused = run("-m", "sg4v_jax", "train", *wrong)
    assert refused.returncode == BAD_INPUT
    assert "did you mean steps?" in refused.stderr
    answer = run(
        *("-m", "sg4v_jax", "chat", "--model=asset:world", f"--video={tiny.video}"),
        *("--query=What moves?", "--max_new_tokens=4"),
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()


def test_the_command_is_declared(installed):
    [file] = installed.glob("sg4v_jax-*.dist-info/entry_points.txt")
    assert "sg4v = sg4v_jax.cli.main:entry" in file.read_text()
