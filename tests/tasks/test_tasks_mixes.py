"""The paper's mixes as named parts: what a config names is what `data split` and `build` make."""

from __future__ import annotations

import importlib
import json
import pathlib

import pytest

from sg4v_jax.caption.bridge import split
from sg4v_jax.cli import config_flag
from sg4v_jax.data import check
from sg4v_jax.data.mixture import parts_of, read_mix


@pytest.fixture(scope="module")
def mixes():
    """The module `configs/mixes.py` that ships."""
    file = config_flag.shipped_folder() / "mixes.py"
    spec = importlib.util.spec_from_file_location("mixes", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def thousands(parts) -> dict[str, int]:
    return {part.name: part.expected // 1000 for part in parts}


def test_the_181k_mix(mixes):
    parts = parts_of({"parts": mixes.mix_181k()})
    assert thousands(parts) == {
        "share4video": 28,
        "videochatgpt": 13,
        "clevrer": 45,
        "egoqa": 8,
        "nextqa": 34,
        "tgif": 53,
    }
    assert all(part.source and part.licence and part.next_step for part in parts)
    questions = parts_of({"parts": mixes.mix_181k(captions="none")})
    assert sum(part.expected for part in questions) == 153_000
    arm = parts_of({"parts": mixes.mix_181k(captions="runs/arms/short.json")})
    assert arm[0].file == "runs/arms/short.json" and arm[1:] == questions


def test_the_mix_of_the_first_experiment(mixes):
    before = parts_of({"parts": mixes.mix665k_videochatgpt()})
    after = parts_of({"parts": mixes.mix665k_videochatgpt(captions="runs/x/detailed.json")})
    assert thousands(before) == {"llava_mix665k": 665, "videochatgpt100k": 100} == thousands(after)
    assert before[0] == after[0] and before[1].file != after[1].file == "runs/x/detailed.json"
    assert "--replace_captions" in after[1].next_step


def test_what_split_writes_is_what_the_parts_name(mixes, tmp_path):
    records = []
    for i, media in enumerate(("panda/a", "bdd/b", "clevrer_qa/c", "ego4d/d", "next_qa/e", "x/f")):
        said = "word " * 80 if i < 2 else "Yes."
        turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": said}]
        records.append({"id": media, "image": f"{media}.jpg", "conversations": turns})
    (tmp_path / "mix.json").write_text(json.dumps(records))
    split.split(tmp_path / "mix.json", split.named("181k"), out=tmp_path / "mix181k")
    parts = mixes.mix_181k(root=str(tmp_path))
    here = [p | {"file": f"{tmp_path}/mix181k/{pathlib.Path(p['file']).name}"} for p in parts]
    found = read_mix(parts_of({"parts": here}))
    assert [(r.part, r.id) for r in found] == [
        ("share4video", "panda/a"),
        ("share4video", "bdd/b"),
        ("clevrer", "clevrer_qa/c"),
        ("egoqa", "ego4d/d"),
        ("nextqa", "next_qa/e"),
        ("tgif", "x/f"),
    ]
    reports = check.check_mix(parts_of({"parts": here}), quick=True)
    assert [r.found for r in reports] == [2, 0, 1, 1, 1, 1]
    assert check.exit_code(reports) == 1  # too few, and no pictures
