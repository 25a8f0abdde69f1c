"""The design: rows to runs, refusals, and which model captions for which seed."""

from __future__ import annotations

import collections

import pytest
from sg4v_jax.configs.study import base, mini, small, smoke

from sg4v_jax.errors import ConfigError
from sg4v_jax.study import design
from sg4v_jax.study.design import ARMS, Run, runs, sources

ROW = dict(arm="vqa", tower="frozen", seeds=(1, 2), group="main")


def test_rows_become_runs_in_order():
    found = runs([ROW, dict(ROW, arm="short", path="frames", seeds=(2,), group="path")])
    assert [r.id for r in found] == ["vqa-frozen-s1", "vqa-frozen-s2", "short-frozen-frames-s2"]
    assert [r.base for r in found] == ["grid-1", "grid-2", "frames-2"]


def test_a_choice_of_arms_and_seeds():
    rows = [ROW, dict(ROW, arm="short")]
    assert [r.id for r in runs(rows, arms=["short"], seeds=[2])] == ["short-frozen-s2"]


@pytest.mark.parametrize(
    "change, choice, said",
    [
        (dict(arm="other"), {}, "arm is 'other'"),
        (dict(tower="thawed"), {}, "tower is 'thawed'"),
        (dict(group="best"), {}, "group is 'best'"),
        (dict(path="anyres"), {}, "path is 'anyres'"),
        (dict(seeds=(1, 1)), {}, "vqa-frozen-s1 stands twice"),
        ({}, dict(arms=["short"]), "'short' is not in the design"),
        ({}, dict(seeds=[9]), "no run is left"),
    ],
)
def test_what_cannot_be(change, choice, said):
    with pytest.raises(ConfigError, match=said):
        runs([dict(ROW, **change)], **choice)


def test_every_arm_has_its_seeds():
    """The small study holds every arm, control and dose, with as many seeds as were planned."""
    c = small.get_config()
    seeds = collections.defaultdict(set)
    for run in runs(c.rows):
        seeds[run.arm, run.tower, run.path].add(run.seed)
    for arm in ("vqa", "short", "detailed"):
        assert len(seeds[arm, "unlocked", "grid"]) >= 5
        assert len(seeds[arm, "frozen", "grid"]) >= 8
        assert len(seeds[arm, "unlocked", "frames"]) >= 3
    for arm in set(ARMS) - {"vqa", "short", "detailed"}:
        assert len(seeds[arm, "unlocked", "grid"]) >= 3, arm
    assert {a.point["kind"] for a in ARMS.values() if a.point} == {
        "sentences",
        "omission",
        "false",
        "vqa_items",
    }


def test_pilot_seeds_are_not_used_again():
    study = {r.seed for r in runs(small.get_config().rows)}
    pilot = {r.seed for r in runs(small.get_config("pilot").rows)}
    assert not study & pilot and not study & {r.seed for r in runs(smoke.get_config().rows)}
    assert small.get_config().split == "test" and small.get_config("pilot").split == "dev"


def test_the_paper_rows_of_mini():
    few = [(r.arm, r.tower) for r in runs(mini.get_config().rows)]
    assert few == [("vqa", "frozen"), ("detailed", "unlocked")]
    full = collections.Counter((r.arm, r.tower) for r in runs(mini.get_config("gpu").rows))
    assert len(full) == 5 and set(full.values()) == {3}


def test_a_captioner_has_not_seen_the_clips():
    whole = runs(base.base().rows)
    for run in whole:
        found = sources(run, of=whole)
        if run.arm != "captioner":
            assert found is None
        else:
            assert (found.arm, found.tower, found.path) == ("detailed", "unlocked", "grid")
            assert found.seed != run.seed


def test_a_captioner_without_a_model():
    run = Run("captioner", "unlocked", 1, "grid", "captioner")
    with pytest.raises(ConfigError, match="no detailed arm of another seed"):
        sources(run, of=[run, Run("detailed", "unlocked", 1, "grid", "main")])


def test_groups_are_all_used():
    assert {r.group for r in runs(base.base().rows)} == set(design.GROUPS) - {"tuning"}
