"""The command line: help for every verb, and a short message for every mistake."""

from __future__ import annotations

import importlib
import json
import re
import subprocess

import pytest

import sg4v_jax
from sg4v_jax.cli import config_flag, main
from sg4v_jax.cli.exit_codes import BAD_INPUT
from sg4v_jax.errors import ConfigError


def refused(result: subprocess.CompletedProcess, *parts: str) -> None:
    """A bad input: exit code 2, a message with `parts` and a mend, no traceback."""
    assert result.returncode == BAD_INPUT, result.stderr
    for part in parts:
        assert part in result.stderr
    assert re.search(r"^error: ", result.stderr, re.MULTILINE)
    assert "\n  mend: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb(capsys, words):
    assert main.run(words) == 0
    text = capsys.readouterr().out
    for verb, (_, said) in main.VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(said)}$", text, re.MULTILINE)
    assert all(len(line) <= 100 for line in text.splitlines())


def test_version_as_module_and_as_command(tiny, capsys):
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"sg4v {sg4v_jax.__version__}\n"
    result = tiny.run("--version")
    assert (result.returncode, result.stdout) == (0, f"sg4v {sg4v_jax.__version__}\n")


@pytest.mark.parametrize("verb", main.VERBS)
def test_every_verb_has_a_short_help_without_loading_jax(tiny, verb):
    program = (
        "import sys; from sg4v_jax.cli import main; code = main.run(sys.argv[1:]); "
        "assert 'jax' not in sys.modules, 'help must be fast'; sys.exit(code)"
    )
    result = tiny.run(*verb.split(), "--help", program=("-c", program))
    assert result.returncode == 0, result.stderr
    usage, *rest = result.stdout.splitlines()
    assert usage.startswith(f"sg4v {verb} ")
    assert len(rest) < 40, "short"
    asked = set(re.findall(r"--(\w+)=", usage)) - {"config"} | set(
        re.findall(r"\[--(\w+)\]", usage)
    )
    listed = set(re.findall(r"^  --(\w+): \S", result.stdout, re.MULTILINE))
    assert asked <= listed and listed
    defined = flags_in(main.VERBS[verb][0])
    if verb in ("convert import", "convert export", "convert verify"):  # where a model comes from
        defined |= flags_in("convert_flags")
    assert listed == defined


def flags_in(module: str) -> set[str]:
    source = importlib.util.find_spec(f"sg4v_jax.cli.{module}").loader.get_source
    return set(re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", source(f"sg4v_jax.cli.{module}")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown verb 'trian'"),
        (["world"], "unknown verb 'world'"),
        (["world", "mak", "--out=x"], "unknown verb 'world mak'"),
        (["--workdir=x"], "unknown verb '--workdir=x'"),
    ],
)
def test_an_unknown_verb_offers_the_known(capsys, words, message):
    assert main.run(words) == BAD_INPUT
    text = capsys.readouterr().err
    assert message in text
    assert "world make" in text
    assert ("train" in text) == (words[0] != "world")


def test_train_mistakes(tiny, tmp_path):
    refused(tiny.run("train"), "train needs --config and --workdir")
    refused(tiny.train(tmp_path, "--wrkdir=x"), "'wrkdir'", "sg4v train --help")
    refused(
        tiny.train(tmp_path, "--config.optim.stepz=5"),
        "--config.optim.stepz=5",
        "mend: did you mean steps?",
    )
    refused(tiny.train(tmp_path, "--config.optim.steps=five"), "steps=five", "invalid literal")
    refused(
        tiny.run("train", "--config=configs/quikstart.py", f"--workdir={tmp_path}"),
        "no file configs/quikstart.py",
        "did you mean configs/quickstart.py?",
    )
    assert not list(tmp_path.iterdir())


def test_a_workdir_of_another_config_shows_the_difference(tiny, trained):
    result = tiny.train(trained, "--config.optim.b2=0.5", "--config.run.keep=1")
    refused(result, str(trained), "optim.b2: 0.999 there, 0.5 now", "--workdir")
    assert "keep" not in result.stderr


def test_a_finished_run_has_nothing_to_do(tiny, trained):
    log = (trained / "metrics.jsonl").read_text()
    result = tiny.train(trained)
    assert result.returncode == 0, result.stderr
    assert "resume at step 12 of 12" in result.stdout
    assert (trained / "metrics.jsonl").read_text() == log


def test_config_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = config_flag.shipped_folder() / "quickstart.py"
    want = ["train", f"--config={shipped}", "--workdir=x"]
    assert config_flag.resolve(["train", "--config=configs/quickstart.py", "--workdir=x"]) == want
    assert (
        config_flag.resolve(["train", "--config", "configs/quickstart.py", "--workdir=x"]) == want
    )
    base = config_flag.shipped_folder() / "world_base.py"
    assert config_flag.resolve(["--config=configs/world_base.py:look"]) == [f"--config={base}:look"]

    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.py").write_text("")
    own = ["--config=configs/quickstart.py"]
    assert config_flag.resolve(own) == own, "a file that is there wins"


@pytest.mark.parametrize("name", ["runs/quickstart.py", "configs/common", "nothing"])
def test_other_names_are_not_looked_up(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"no file {name}") as error:
        config_flag.resolve([f"--config={name}"])
    assert "configs/" in error.value.mend
    assert "__init__" not in error.value.mend


def test_world_make_twice_makes_it_once(tiny, tmp_path):
    words = ("world", "make", f"--out={tmp_path}/w", "--videos=2", "--seed=5", "--mix=temporal:1")
    first = tiny.run(*words)
    assert first.returncode == 0, first.stderr
    made = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.*")}
    assert sum(p.suffix == ".mp4" for p in made) == 2
    records = json.loads((tmp_path / "w" / "train.json").read_text())
    said = " ".join(first.stdout.split())
    assert re.search(rf"2 videos, \d+ questions, {len(records)} training records", said)

    again = tiny.run(*words)
    assert again.returncode == 0, again.stderr
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.*")} == made

    other = tiny.run(*words, "--seed=6")
    refused(other, "seed: 5 -> 6")
    refused(tiny.run("world", "make", "--videos=2"), "needs --out and --videos")
    refused(tiny.run(*words[:-1], "--mix=temporal"), "--mix=temporal", "name:share")
