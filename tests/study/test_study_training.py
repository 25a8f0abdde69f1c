"""Every stage, arm and row of the shipped studies is a config that `sg4v train` takes."""

from __future__ import annotations

import functools

import pytest
from sg4v_jax.configs.study import mini, small, smoke

from sg4v_jax import files
from sg4v_jax.cli import config_flag
from sg4v_jax.models.lora import LoRA
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.study import data, training, work
from sg4v_jax.study.design import ARMS, runs
from sg4v_jax.sweep import expand
from sg4v_jax.tasks import run_setup
from sg4v_jax.train import optim
from sg4v_jax.weights.store import ModelSettings

STUDIES = {
    "small": small.get_config(),
    "pilot": small.get_config("pilot"),
    "smoke": smoke.get_config(),
    "mini": mini.get_config(),
    "mini:gpu": mini.get_config("gpu"),
}


@functools.cache
def paths_of(preset: str, lora: LoRA | None) -> tuple[str, ...]:
    settings = ModelSettings(PRESETS[preset](), None, None, lora)
    return tuple(skeleton(run_setup.builder(settings)).shapes)


def groups_of(config) -> dict[str, str]:
    """The group of each parameter of the model that the config trains, branches among them."""
    paths = paths_of(config.model.preset, run_setup.lora_of(config))
    return optim.assign(list(paths), run_setup.rules(config))


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_is_a_config(name):
    study = STUDIES[name]
    for run in runs(study.rows):
        c = training.arm_config(study, run, out="OUT")
        rows = c.optim.steps * c.data.batch_rows
        counts = {"vqa": ARMS[run.arm].items, "captions": study.counts.captions}
        drawn = {p["name"]: p["weight"] * counts[p["name"]] for p in c.data.parts}
        assert sum(drawn.values()) == pytest.approx(rows), "an epoch is the whole run"
        if ARMS[run.arm].style:
            assert drawn["vqa"] == pytest.approx(drawn["captions"])
            assert c.data.parts[1]["loss_weight"] == study.caption_weight
        assert c.data.too_long == "truncate", "a captioner says what it likes"
        assert c.run.seed == run.seed and c.model.init == f"OUT/bases/{run.base}"
        run_setup.parts_of(c.data)
        trained = set(groups_of(c).values()) - {optim.FROZEN}
        assert trained == set(c.optim.groups)
        assert ("tower" in trained) == (run.tower == "unlocked")


@pytest.mark.parametrize("name", STUDIES)
def test_every_stage_is_a_config(name):
    study = STUDIES[name]
    assert sorted(study.order) == sorted(study.stages)
    for path, seed in {(r.path, r.seed) for r in runs(study.rows)}:
        for stage in study.stages:
            c = training.stage_config(
                study, out="OUT", path=path, seed=seed, stage=stage, init="OUT/before"
            )
            assert c.model.init == "OUT/before" and c.run.seed == seed
            assert all(p["file"].startswith("OUT/data/seed-") for p in c.data.parts)
            groups = groups_of(c)
            trained = {path.split(".")[0] for path in groups if groups[path] != optim.FROZEN}
            every = {path.split(".")[0] for path in groups}
            assert trained == ({"projector"} if name.startswith("mini") else every)


def test_the_first_stage_needs_a_tokenizer_and_later_ones_have_it():
    study = STUDIES["small"]
    make = functools.partial(training.stage_config, study, out="OUT", path="grid", seed=1)
    assert make(stage="read", init="").data.tokenizer == "OUT/data/tokenizer.json"
    assert not training.arm_config(study, runs(study.rows)[0], out="OUT").data.tokenizer


def test_stages_come_in_their_order(monkeypatch):
    """Whatever order the config's fields have in JSON."""
    done = []
    monkeypatch.setattr(work, "train", lambda c, folder: done.append((folder, c.model.init)))
    monkeypatch.setattr(work.Spent, "write", lambda *a, **k: None)
    one = work.BaseWork(STUDIES["small"].to_json_best_effort(), "OUT")
    one.one({"id": "grid-1", "path": "grid", "seed": 1})
    base = "OUT/bases/grid-1"
    assert done == [
        (f"{base}.read", ""),
        (f"{base}.stills", f"{base}.read"),
        (base, f"{base}.stills"),
    ]


def test_a_configs_hash_knows_no_folder():
    study = STUDIES["small"]
    first, second = runs(study.rows)[:2]
    hashed = lambda run, out: work.config_hash(training.arm_config(study, run, out=out), out=out)
    assert hashed(first, "/a/b") == hashed(first, "/c") != hashed(second, "/c")


def test_arms_differ_in_nothing_but_what_they_say():
    """Paired arms: same steps, rows, rates, questions, order."""
    study = STUDIES["small"]
    found = {
        run.arm: training.arm_config(study, run, out="OUT").to_dict()
        for run in runs(study.rows, seeds=[1])
        if run.tower == "unlocked" and run.path == "grid"
    }
    same = ("short", "detailed", "long_static", "shuffled", "detailed_short_tokens", "false_50")
    first = found["short"]
    for arm in same:
        one, other = (dict(c, data=dict(c["data"])) for c in (first, found[arm]))
        parts = [c["data"].pop("parts") for c in (one, other)]
        assert one == other
        assert parts[0][0] == parts[1][0], "the same questions"
        differ = {k for k in parts[0][1] if parts[0][1][k] != parts[1][1][k]}
        assert differ == (set() if arm == "short" else {"file"})


def test_files_of_arms_are_apart():
    whole = runs(STUDIES["small"].rows)
    by_file: dict[str, set] = {}
    for run in whole:
        if ARMS[run.arm].style:
            by_file.setdefault(data.captions_file(run), set()).add(
                (ARMS[run.arm].style, ARMS[run.arm].dose, bool(ARMS[run.arm].blind))
            )
    assert all(len(kinds) == 1 for kinds in by_file.values())
    blind = next(r for r in whole if r.arm == "blind")
    assert "/blank/" in data.questions_file(blind)
    only_text = next(r for r in whole if r.arm == "text_only")
    assert "/blank/" in data.captions_file(only_text)
    assert "/grid/" in data.questions_file(only_text)


def test_the_rows_of_the_paper_at_its_own_size():
    """Fifteen runs: five rows, three seeds; rows 1 and 5 are the released recipes."""
    file = str(files.path(config_flag.shipped_folder()) / "study/8b.py")
    found = {run.name: run.overrides for run in expand(file)}
    assert len(found) == 15
    rows = {name: o for name, o in found.items() if name.endswith("seed42")}
    frozen = {name: o["optim.parts.tower"] == "frozen" for name, o in rows.items()}
    assert frozen == {
        "row1-seed42": True,
        "row2-seed42": True,
        "row3-seed42": False,
        "row4-seed42": True,
        "row5-seed42": False,
    }
    names = lambda row: [p["name"] for p in rows[f"row{row}-seed42"]["data.parts"]]
    assert "share4video" not in names(1) and names(2) == names(5)
    captions = lambda row: next(
        p["file"] for p in rows[f"row{row}-seed42"]["data.parts"] if p["name"] == "share4video"
    )
    assert captions(2) == captions(3) != captions(4) == captions(5)
