"""The numbers of a study against scipy, closed forms and made-up effects."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import scipy.stats

from sg4v_jax.errors import RecordError
from sg4v_jax.study import contrasts, gates, measures, results, totals
from sg4v_jax.study.accuracy import FIVE
from sg4v_jax.study.analysis import Analysis, analyse, as_json
from sg4v_jax.study.results import Design
from tests.study import made_up

DETAILED, SHORT = Design("detailed", "unlocked"), Design("short", "unlocked")


def main_rows(seeds=(1, 2, 3, 4, 5)) -> list[dict[str, Any]]:
    return made_up.rows(list(seeds), list(seeds))


def analysis(folder: pathlib.Path, *, draws: int = 400, **options) -> Analysis:
    return analyse(results.read(made_up.write(folder, **options)), draws=draws)


def rewrite(name: pathlib.Path, change) -> None:
    rows = [json.loads(line) for line in name.read_text().splitlines()]
    name.write_text("".join(json.dumps(row) + "\n" for row in map(change, rows)))


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> tuple[Analysis, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("study")
    a = analysis(folder, plan=main_rows(), draws=2000)
    return a, results.files.read_jsonl(folder / "results.jsonl")


def by_seed(rows, arm: str, tower: str = "unlocked") -> np.ndarray:
    own = [r for r in rows if (r["arm"], r["tower"]) == (arm, tower)]
    return np.array(
        [r["accuracy"]["right"]["average"] for r in sorted(own, key=lambda r: r["seed"])]
    )


def test_primary_tests_are_scipys_with_holm(known):
    a, rows = known
    first, second = a.primary
    pairs = [by_seed(rows, "detailed"), by_seed(rows, "short"), by_seed(rows, "vqa")]
    tests = [scipy.stats.ttest_rel(pairs[0], other) for other in pairs[1:]]
    for found, test in zip((first, second), tests, strict=True):
        low, high = test.confidence_interval()
        d = found.difference
        assert found.p == pytest.approx(test.pvalue)
        assert (d.low, d.high) == (pytest.approx(low), pytest.approx(high))
    p = sorted(t.pvalue for t in tests)
    adjusted = [min(1, 2 * p[0]), max(min(1, 2 * p[0]), p[1])]
    assert sorted([first.holm, second.holm]) == pytest.approx(adjusted)
    assert first.significant and second.significant
    assert all(c.holm is None for c in a.contrasts if c.kind != "primary")
    assert [c.name for c in a.primary] == ["detailed − short, unlocked", "detailed − vqa, unlocked"]


def test_the_interaction_is_a_difference_of_differences(known):
    a, rows = known
    found = next(c for c in a.contrasts if c.name == contrasts.INTERACTION)
    own = [by_seed(rows, arm, t) for t in ("unlocked", "frozen") for arm in ("detailed", "vqa")]
    each = own[0] - own[1] - (own[2] - own[3])
    assert list(found.difference.by_seed.values()) == pytest.approx(list(each))
    assert found.p == pytest.approx(scipy.stats.ttest_1samp(each, 0).pvalue)


def test_the_detectable_effect_is_found_four_times_in_five(known):
    for c in known[0].primary:
        nc = c.detectable / (c.difference.spread / math.sqrt(5))
        power = scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, 4), 4, nc)
        assert power == pytest.approx(0.8, abs=1e-3)


def test_the_bootstrap_is_close_to_the_analytic_interval(tmp_path):
    """Each video is asked the same, so that the average is a mean over seeds and videos.

    With seed, video and rest effects of population variances r, c, e, drawing S seeds and C videos
    anew gives the variance r / S + c / C + e / (S C).
    """
    folder = made_up.write(tmp_path, plan=main_rows())
    study = results.read(folder)
    c = analyse(study, draws=4000).primary[0]
    right = {}
    for run in study.runs:
        five = totals.totals_of(study, run).right[:, : 5 * 3]
        right[run.design, run.seed] = five.mean(axis=1)
    x = np.array([right[DETAILED, s] - right[SHORT, s] for s in range(1, 6)])
    assert x.mean() == pytest.approx(c.difference.mean)
    seed, video = x.mean(axis=1), x.mean(axis=0)
    rest = x - seed[:, None] - video + x.mean()
    variance = seed.var() / 5 + video.var() / x.shape[1] + rest.var() / x.size
    low, high = c.bootstrap
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.06)
    assert abs((low + high) / 2 - x.mean()) < 0.05 * (high - low)


def test_the_bootstrap_value_is_the_difference(known, tmp_path):
    folder = made_up.write(tmp_path, plan=main_rows((1, 2)))
    study = results.read(folder)
    runs = {(r.design, r.seed): r for r in study.runs}
    rows = [[runs[DETAILED, s], runs[SHORT, s]] for s in (1, 2)]
    sums = totals.stacked([[(r, totals.totals_of(study, r)) for r in own] for own in rows])
    found = totals.weighted_average([1.0, -1.0])(sums.sum(1))
    expected = [
        a.row["accuracy"]["right"]["average"] - b.row["accuracy"]["right"]["average"]
        for a, b in rows
    ]
    assert found == pytest.approx(expected)


def test_weighted_average_counts_what_was_asked_alone():
    sums = np.zeros((1, 2, len(totals.CELLS)))
    put = {("speed", "choice"): (1, 2), ("speed", "yesno"): (3, 3), ("order", "yesno"): (0, 4)}
    put[("camera", "choice")] = (5, 5)  # no part of the average
    for cell, (right, asked) in put.items():
        sums[0, :, totals.CELLS.index(cell)] = right, asked
    found = totals.weighted_average([1.0])(sums.reshape(1, -1))
    assert found == pytest.approx([(0.75 + 0.0) / 2])
    assert np.isnan(totals.weighted_average([1.0])(np.zeros((1, 2 * len(totals.CELLS)))))


def test_null_data_reject_no_more_often_than_they_should(tmp_path):
    """Forty nulls at 5 % after Holm: more than six rejections have a chance below 0.4 %."""
    effects = {arm: 0.2 for arm in made_up.MAIN}
    claims = 0
    for repeat in range(40):
        rng = np.random.default_rng(repeat)
        rows = {}
        for arm in made_up.MAIN:
            values = {s: 0.5 + 0.02 * rng.standard_normal() for s in range(5)}
            design = Design(arm, "unlocked")
            runs = tuple(results.Run(f"{arm}{s}", design, s, "main") for s in values)
            rows[design] = measures.Row(design, "main", runs, {"average": measures.mean_of(values)})
        found = contrasts.measured(contrasts.planned([]), rows, answers={}, due={})
        claims += any(c.significant for c in found if c.kind == "primary")
    assert claims <= 6
    a = analysis(tmp_path, plan=main_rows(), effects=effects)
    assert not any(c.significant for c in a.primary)


def test_one_seed_has_no_interval(tmp_path):
    a = analysis(tmp_path, plan=main_rows((4,)))
    for c in a.primary:
        assert c.difference.n == 1 and math.isnan(c.p) and c.holm is None
        assert math.isnan(c.difference.low) and math.isnan(c.bootstrap[0])
        assert math.isnan(c.detectable) and not c.significant
    assert {g.learnt for g in a.gates} == {None}
    assert json.dumps(as_json(a), allow_nan=False)


def test_what_is_missing_is_named_and_in_no_number(tmp_path):
    gone = ("short-unlocked-s2", "vqa-unlocked-s5")
    a = analysis(tmp_path, plan=main_rows(), keep=lambda run: run.id not in gone)
    assert (a.done, a.planned, a.missing) == (28, 30, (gone[1], gone[0]))
    assert a.absent == "missing"
    assert a.incomplete == "incomplete: 28 of 30 runs"
    first, second = a.primary
    assert first.missing == ("short, unlocked: seed 2",) and first.difference.n == 4
    assert list(second.difference.by_seed) == [1, 2, 3, 4]
    whole = analysis(tmp_path / "none", plan=main_rows(), keep=lambda run: False)
    assert whole.done == 0 and all(c.difference is None for c in whole.primary)


def test_without_a_plan_gaps_between_paired_arms_are_still_seen(tmp_path):
    folder = made_up.write(tmp_path, plan=main_rows(), keep=lambda r: r.id != "vqa-frozen-s1")
    settings = json.loads((folder / "study.json").read_text())
    del settings["rows"]
    (folder / "study.json").write_text(json.dumps(settings))
    a = analyse(results.read(folder), draws=50)
    assert a.planned is None and not a.incomplete
    by_name = {c.name: c.missing for c in a.contrasts}
    assert by_name["detailed − vqa, frozen"] == ("vqa, frozen: seed 1",)
    assert by_name["detailed − vqa, unlocked"] == ()


def test_gates_need_slots_and_an_interval_above_blind_guessing(tmp_path):
    a = analysis(tmp_path / "good", plan=main_rows())
    assert a.trained is True and all(g.learnt for g in a.gates)
    assert a.learnt == FIVE
    row = a.row("detailed").measures
    assert row["average_learnt"].mean == pytest.approx(row["average"].mean)
    low = analysis(tmp_path / "low", plan=main_rows(), verbs=0.7)
    assert low.trained is False and low.gates[0].learnt is False
    assert "70.0%" in low.gates[0].reason
    assert "action" not in low.learnt and len(low.learnt) == 4
    without = low.row("detailed").measures["average_learnt"]
    four = [low.row("detailed").measures[f"aspect/{x}"].mean for x in low.learnt]
    assert without.mean == pytest.approx(np.mean(four))
    blind = analysis(tmp_path / "blind", plan=main_rows(), effects=dict.fromkeys(made_up.MAIN, 0.0))
    assert blind.trained is True and not any(g.learnt for g in blind.gates)
    assert "no arm's interval" in blind.gates[1].reason


def test_the_gates_bar_is_the_better_of_chance_and_the_prior():
    runs = tuple(results.Run(f"d{s}", DETAILED, s, "main") for s in (1, 2, 3))
    numbers = {
        "aspect/order": {1: 0.60, 2: 0.61, 3: 0.62},
        "slot/order": dict.fromkeys((1, 2, 3), 0.9),
    }
    means = {name: measures.mean_of(values) for name, values in numbers.items()}
    rows = {DETAILED: measures.Row(DETAILED, "main", runs, means)}

    def learnt(prior: Mapping[str, float]) -> bool | None:
        found = gates.gates(rows, chance={"aspect/order": 0.42}, prior=prior)
        return next(g.learnt for g in found if g.aspect == "order")

    assert learnt({}) and learnt({"aspect/order": 0.5})
    assert learnt({"aspect/order": 0.6}) is False  # inside the interval
    slot = measures.mean_of(dict.fromkeys((1, 2, 3), 0.8))
    means["slot/order"] = slot
    assert learnt({}) is False  # above 0.8, not at it


def test_slots_are_shares_and_reliance_is_a_difference():
    row = {
        "accuracy": {
            "right": {"average": 0.6},
            "wrong": {"average": 0.45},
            "none": {"average": 0.4},
        },
        "slots": {"colour": [9, 10], "size": [10, 30], "verb": [0, 0]},
        "yes_share": {"right": 0.7, "truth": 0.5},
        "captions": {"events_told": 8, "events_false": 2, "events_true": 6, "events_missing": 4},
        "captioning": {"action": 0.5, "speed": 0.7, "camera": 0.1},
        "unseen": {"average": None},
    }
    found = measures.of(row)
    assert found["slot/colour"] == pytest.approx(0.9) and "slot/verb" not in found
    assert found["reliance/wrong"] == pytest.approx(0.15)
    assert found["reliance/none"] == pytest.approx(0.2)
    assert found["yes_bias"] == pytest.approx(0.2) and "unseen" not in found
    assert (found["events/false"], found["events/missing"]) == (0.25, 0.4)
    assert found["captioning"] == pytest.approx(0.6)


def test_chance_is_the_mean_of_one_over_options():
    asked = [
        {"aspect": "speed", "form": "choice", "options": list("abcd")},
        {"aspect": "speed", "form": "choice", "options": list("ab")},
        {"aspect": "speed", "form": "yesno", "options": list("ab")},
        {"aspect": "camera", "form": "yesno", "options": list("abcde")},
    ]
    found = measures.chance_of(asked)
    assert found["cell/speed/choice"] == 0.375 and found["aspect/speed"] == 0.4375
    assert found["average"] == 0.4375 and found["aspect/camera"] == 0.2
    assert measures.chance_of([]) == {}


@pytest.fixture(scope="module")
def dosed(tmp_path_factory) -> Analysis:
    folder = tmp_path_factory.mktemp("dosed")
    plan = [r for r in made_up.whole() if r["tower"] == "unlocked" and r["group"] != "control"]
    return analysis(folder, plan=plan, draws=50)


def test_dose_curves_hold_the_undamaged_arm_at_the_doses_seeds(dosed):
    curves = {(c.kind, c.arm): c.points for c in dosed.curves}
    assert [p.dose for p in curves["sentences", "detailed"]] == [1, 2, 4, "all"]
    assert [p.x for p in curves["sentences", "detailed"]] == [1, 2, 4, 6]  # dev captions have six
    assert [p.dose for p in curves["false", "detailed"]] == [0, 0.1, 0.25, 0.5]
    assert [p.dose for p in curves["omission", "detailed"]] == [0, 0.25, 0.5]
    assert [p.x for p in curves["vqa_items", "vqa"]] == [400, 1600, 6400]
    assert [p.x for p in curves["vqa_items", "detailed"]] == [400, 1600, 6400]
    base, *_, worst = curves["false", "detailed"]
    assert base.change is None and list(base.score.by_seed) == [1, 2, 3]
    each = [worst.score.by_seed[s] - base.score.by_seed[s] for s in (1, 2, 3)]
    assert list(worst.change.by_seed.values()) == pytest.approx(each)
    assert worst.change.mean < 0


def test_detailed_and_vqa_are_compared_at_every_amount_of_vqa(dosed):
    own = [c for c in dosed.contrasts if c.kind == "dose"]
    assert [c.name for c in own] == [
        "detailed − vqa, 400 questions",
        "detailed − vqa, 6,400 questions",
    ]
    assert all(c.difference.n == 3 and c.holm is None and not c.missing for c in own)


def test_the_captioner_is_predicted_between_the_points(dosed):
    false, missing = dosed.predictions
    assert (false.kind, missing.kind) == ("false", "omission") and false.inside
    assert false.rate.by_seed == {1: 0.19, 2: 0.20, 3: 0.21}
    points = next(c.points for c in dosed.curves if c.kind == "false")
    at = {p.dose: p.score.by_seed[1] for p in points}
    by_hand = at[0.1] + (0.19 - 0.1) / 0.15 * (at[0.25] - at[0.1])
    assert false.predicted.by_seed[1] == pytest.approx(by_hand)
    got = dosed.row("captioner").measures["average"].by_seed
    assert false.gap.by_seed[2] == pytest.approx(got[2] - false.predicted.by_seed[2])
    assert math.isfinite(false.gap.low)


def test_damaged_lines_are_named_by_file_and_line(tmp_path):
    folder = made_up.write(tmp_path, plan=main_rows((1, 2)))
    name = folder / "results.jsonl"
    whole = name.read_text()

    def fails(text: str, match: str) -> None:
        name.write_text(text)
        with pytest.raises(RecordError, match=match):
            analyse(results.read(folder), draws=10)

    first, second, *rest = whole.splitlines()
    fails(f"{first}\n{second[:200]}\n", r"results.jsonl: line 2: not JSON")
    fails(f"{first}\n{first}\n", r"line 2: run 'vqa-unlocked-s1' stands in line 1 already")
    for field, value, match in [
        ("tower", "open", "line 1: field 'tower' is 'open'"),
        ("seed", "1", "line 1: field 'seed' is '1'"),
        ("accuracy", {"right": {"average": 57.8}}, "line 1: field 'accuracy.right.average'"),
        ("accuracy", {}, "line 1: field 'accuracy.right.average'"),
        ("dose", {"kind": "sugar", "value": 1}, "line 1: field 'dose' is"),
        ("dose", {"kind": "false", "value": "much"}, "line 1: field 'dose.value' is 'much'"),
        ("split", "dev", "runs of several splits"),
        ("curve", [[1, 2], [3]], "line 1: field 'curve' is"),
        ("slots", {"verb": [1]}, "line 1: run 'vqa-unlocked-s1': not a result row"),
        ("captions", {"events_told": 1}, "not a result row .KeyError: 'events_true'"),
    ]:
        fails("\n".join([json.dumps(json.loads(first) | {field: value}), second, *rest]), match)
    row = json.loads(first)
    del row["path"]
    fails(json.dumps(row), r"line 1: no field 'path'")
    name.write_text(whole)
    answers = folder / "runs" / "vqa-unlocked-s1" / "answers.jsonl"
    kept = answers.read_text()
    answers.write_text(kept[:1000])
    with pytest.raises(RecordError, match=r"vqa-unlocked-s1/answers.jsonl: line \d+: not JSON"):
        analyse(results.read(folder), draws=10)
    answers.write_text(kept.split("\n", 1)[1])
    with pytest.raises(RecordError, match=r"action, choice: \[right, asked\].*results.jsonl says"):
        analyse(results.read(folder), draws=10)
    answers.write_text(json.dumps({"scene": 1}) + "\n")
    with pytest.raises(RecordError, match=r"line 1: no field 'aspect'"):
        analyse(results.read(folder), draws=10)
    with pytest.raises(RecordError, match=r"no study.json"):
        results.read(tmp_path / "nowhere")
    pilots = tmp_path / "pilots.jsonl"
    for line, match in [
        ("{", "pilots.jsonl: line 1: not JSON"),
        ('{"accuracy": [1]}', "pilots.jsonl: line 1: field 'accuracy'"),
        ('{"slots": {"verb": 0.4}}', "pilots.jsonl: line 1: field 'slots'"),
    ]:
        pilots.write_text(line)
        with pytest.raises(RecordError, match=match):
            results.read(folder, pilots=[pilots])
    pilots.unlink()
    (folder / "study.json").write_text('{"rows": [{"arm": "sugar"}]}')
    with pytest.raises(RecordError, match=r"study.json: rows: a row of the design: arm is 'sugar'"):
        results.read(folder)
    (folder / "study.json").write_text("{}")
    (folder / "compute.jsonl").write_text('{"id": "x", "cpu_seconds": "long"}')
    with pytest.raises(RecordError, match=r"compute.jsonl: line 1: field 'cpu_seconds' is 'long'"):
        results.read(folder)


def test_runs_that_were_asked_different_questions_are_not_compared(tmp_path):
    folder = made_up.write(tmp_path, plan=main_rows((1, 2)))
    name = "short-unlocked-s2"
    other = made_up.answer(made_up.questions(made_up.SCENES - 1), effect=0.1, seed=2, stream=99)
    text = "".join(json.dumps(line) + "\n" for line in other)
    (folder / "runs" / name / "answers.jsonl").write_text(text)
    scored = made_up.result(other, verbs=0.9, slots=0.9, effect=0.1)
    rewrite(folder / "results.jsonl", lambda r: r | scored if r["id"] == name else r)
    with pytest.raises(RecordError, match=r"were asked different questions"):
        analyse(results.read(folder), draws=10)


def test_results_without_answers_have_no_bootstrap_and_all_else(tmp_path):
    folder = made_up.write(tmp_path, plan=main_rows((1, 2, 3)))
    for name in folder.glob("runs/*/answers.jsonl"):
        name.unlink()
    (folder / "guesser.json").unlink()
    a = analyse(results.read(folder))
    assert math.isnan(a.primary[0].bootstrap[0]) and math.isfinite(a.primary[0].p)
    assert a.prior == {} and a.gates[0].blind == pytest.approx(a.chance["aspect/action"])


def test_a_run_without_an_average_is_a_gap(tmp_path):
    folder = made_up.write(tmp_path, plan=main_rows((1, 2, 3)))
    empty = {"accuracy": {"right": {"average": None, "aspects": {}, "forms": {}, "cells": {}}}}
    gone = ("short-unlocked-s2", "vqa-frozen-s1", "vqa-frozen-s2", "vqa-frozen-s3")
    rewrite(folder / "results.jsonl", lambda r: r | empty if r["id"] in gone else r)
    a = analyse(results.read(folder), draws=50)
    assert a.primary[0].missing == ("short, unlocked: seed 2",)
    by_name = {c.name: c for c in a.contrasts}
    assert by_name["detailed − vqa, frozen"].difference is None
