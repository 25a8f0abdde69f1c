"""Which towers are probed, on whose clips; what the report tells of them; what is refused."""

from __future__ import annotations

import json
import re

import pytest
from rich.console import Console
from sg4v_jax.configs.study import smoke

from sg4v_jax.cli import main
from sg4v_jax.cli.exit_codes import BAD_INPUT
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.study import data, probing, report
from sg4v_jax.study.design import runs
from tests.study import made_up

pytestmark = pytest.mark.usefixtures("forget_verbs")
READ = {
    "colour": dict(value=0.9, chance=0.2, clips=10),
    "place": dict(value=0.8, chance=0.0, clips=10),
    "direction": dict(value=0.3, chance=0.25, clips=4),
    "direction_by_places": dict(value=0.7, chance=0.25, clips=4),
}


def lines_of(*values: float) -> list[dict]:
    about = dict(arm="detailed", path="grid", clips_of=9)
    return [
        {"id": f"d-{seed}", **about, "seed": seed, "read": {**READ, "colour": READ["colour"] | {"value": v}}}
        for seed, v in enumerate(values)
    ]  # fmt: skip


@pytest.fixture
def study(tmp_path):
    """A study's folder that has a design and, so far, two trained towers; no clip in it is drawn."""
    (tmp_path / "study.json").write_text(smoke.get_config().to_json_best_effort())
    for folder in ("bases/grid-901", "runs/detailed-unlocked-s901"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "trained.json").write_text("{}")
    return tmp_path


def test_each_tower_is_read_on_clips_of_another_seed(study, monkeypatch):
    asked = {}

    def probe(model, *, scenes, data, path):
        asked[model.name] = [scene.seed for scene in scenes]
        return READ

    monkeypatch.setattr(probing, "probe", probe)
    lines = probing.probe_study(study, clips=5, console=Console(quiet=True))
    config = smoke.get_config()
    other = [scene.seed for scene in data.caption_scenes(config, 902)]
    own = {scene.seed for scene in data.caption_scenes(config, 901)}
    assert asked == {"grid-901": other[:5], "detailed-unlocked-s901": other[:5]}
    assert not own & set(other)
    assert [(x["arm"], x["clips_of"]) for x in lines] == [("base", 902), ("detailed", 902)]
    assert [json.loads(x) for x in (study / "probe.jsonl").read_text().splitlines()] == lines


def test_a_frozen_tower_is_its_bases_and_is_not_read_twice():
    whole = runs(smoke.get_config().rows, arms=["vqa"], seeds=[901])
    assert {r.tower for r in whole} == {"frozen", "unlocked"}
    assert [folder for _, _, folder in probing.towers(whole)] == [
        "bases/grid-901",
        "runs/vqa-unlocked-s901",
    ]


def test_the_last_seed_takes_the_first_ones_clips_and_one_alone_is_refused():
    whole = runs(smoke.get_config().rows)
    last = next(r for r in whole if r.seed == 902)
    assert probing.next_seed(last, whole) == 901
    with pytest.raises(ConfigError, match="no other seed"):
        probing.next_seed(last, [r for r in whole if r.seed == 902])


def test_nothing_trained_is_told(study, capsys):
    assert main.run(["study", "probe", f"--out={study}", "--seeds=902"]) == BAD_INPUT
    assert "no tower of the choice is trained" in " ".join(capsys.readouterr().err.split())


def test_the_report_tells_means_over_seeds_beside_chance(tmp_path):
    folder = made_up.write(tmp_path, plan=made_up.rows([1, 2], [1, 2]))
    found = report.write(folder)
    assert "vision tower's features" not in (folder / "report.md").read_text() and found
    dosed = [{**lines_of(0.9)[0], "id": "false_25-unlocked-s1", "arm": "false_25"}]
    (folder / "probe.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines_of(0.9, 0.8) + dosed)
    )
    report.write(folder)
    text = (folder / "report.md").read_text()
    row = next(
        x
        for x in text.splitlines()
        if x.startswith("| VQA + detailed") and "R²" not in x and "85.0" in x
    )
    assert re.search(r"\| 85\.0 ± \d+\.\d \| 80\.0 ± 0\.0 \| 30\.0 ± 0\.0 \| 70\.0", row)
    assert "| VQA + detailed captions: false events, 25 % | grid | 1 | 90.0 |" in text
    nothing = next(x for x in text.splitlines() if "knows nothing" in x)
    assert re.findall(r"\d+\.\d", nothing) == ["20.0", "0.0", "25.0", "25.0"]
    assert len(json.loads((folder / "report.json").read_text())["probes"]) == 3


def test_a_damaged_line_is_named(tmp_path):
    folder = made_up.write(tmp_path, plan=made_up.rows([1], []))
    line = lines_of(0.9)[0]
    line["read"] = {"colour": {"value": "much", "chance": 0.2}}
    (folder / "probe.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(RecordError, match=r"probe.jsonl: line 1: field 'read.colour'"):
        report.write(folder)
