"""The verdict's branches, and the pages that it heads."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from sg4v_jax.cli import main
from sg4v_jax.cli.exit_codes import BAD_INPUT
from sg4v_jax.study import contrasts, report, results
from sg4v_jax.study.analysis import Analysis, analyse
from sg4v_jax.study.measures import mean_of
from sg4v_jax.study.report_tables import outcome_words
from sg4v_jax.study.verdict import headline, interval, outcome, p_value, points, verdict
from tests.study import made_up

pytestmark = pytest.mark.usefixtures("forget_verbs")


def main_rows(seeds=(1, 2, 3, 4, 5)) -> list[dict]:
    return made_up.rows(list(seeds), list(seeds))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Analysis:
    folder = made_up.write(tmp_path_factory.mktemp("base"), plan=main_rows())
    return analyse(results.read(folder), draws=200)


def changed(a: Analysis, differences: dict[str, list[float]], **more) -> Analysis:
    """`a` with other primary differences by seed, their tests made anew."""
    found = []
    for c in a.contrasts:
        if c.kind == "primary":
            d = mean_of(dict(enumerate(differences[c.name.split()[2].rstrip(",")], 1)))
            p = contrasts.stats.paired_t(list(d.by_seed.values())).p
            detectable = contrasts.stats.detectable(d.spread, n=d.n)
            c = dataclasses.replace(
                c, difference=d, p=p, detectable=detectable, bootstrap=(d.low, d.high)
            )
        found.append(c)
    first = [c for c in found if c.kind == "primary"]
    if all(math.isfinite(c.p) for c in first):
        holm = contrasts.stats.holm([c.p for c in first])
        found = [dataclasses.replace(c, holm=float(p)) for c, p in zip(first, holm, strict=True)]
        found += [c for c in a.contrasts if c.kind != "primary"]
    return dataclasses.replace(a, contrasts=tuple(found), **more)


UP = [0.08, 0.09, 0.07, 0.085, 0.075]
DOWN = [-x for x in UP]
FLAT = [0.01, -0.012, 0.008, -0.009, 0.002]


def test_better(base):
    a = changed(base, {"short": UP, "vqa": UP})
    assert headline(a) == "Detailed captions beat both short captions and none."
    text = " ".join(verdict(a))
    assert "detailed − short, unlocked: +8.0 points, 95 % interval [+7.0, +9.0]" in text
    assert "5 seeds: better." in text and "would have been found" not in text


def test_no_detectable_difference_states_what_could_have_been_found(base):
    a = changed(base, {"short": FLAT, "vqa": FLAT})
    assert headline(a) == (
        "No detectable difference between detailed captions, short ones and none."
    )
    least = a.primary[0].detectable
    assert f"A true difference of {100 * least:.1f} points would have been found" in verdict(a)[1]
    assert not any("beat" in line for line in verdict(a))


def test_worse_and_mixed(base):
    worse = changed(base, {"short": DOWN, "vqa": DOWN})
    assert headline(worse) == "Detailed captions do worse than short captions and than none."
    mixed = changed(base, {"short": UP, "vqa": FLAT})
    assert headline(mixed) == (
        "Detailed captions: better against short, no detectable difference against vqa."
    )


def test_holm_decides_not_the_single_p(base):
    near = [0.05, 0.01, 0.04, 0.002, 0.03]
    a = changed(base, {"short": near, "vqa": near})
    first = a.primary[0]
    assert first.p < 0.05 < first.holm
    assert outcome(first) == "no detectable difference"


def test_under_trained_makes_no_claim(base):
    a = changed(base, {"short": UP, "vqa": UP}, trained=False, verbs=mean_of({1: 0.6, 2: 0.7}))
    assert headline(a) == "Under-trained: the run cannot tell whether captions matter."
    text = " ".join(verdict(a))
    assert "65.0% of the event verbs" in text and "no claim is made" in text
    assert "better" not in text and "beat" not in text and "Secondary" not in text
    unknown = dataclasses.replace(a, trained=None)
    assert headline(unknown).startswith("No verdict: the results have no caption slots")
    assert "better" not in " ".join(verdict(unknown))


def test_no_contrast_of_an_under_trained_study_has_an_outcome(base):
    a = changed(base, {"short": UP, "vqa": DOWN}, trained=False, verbs=mean_of({1: 0.6, 2: 0.7}))
    assert {outcome_words(a, c) for c in a.contrasts} == {"no claim: under-trained"}
    a = dataclasses.replace(a, trained=True)
    assert [outcome_words(a, c) for c in a.primary] == ["above zero", "below zero"]


def test_incomplete_says_so_and_judges_only_whole_primaries(base):
    a = changed(base, {"short": UP, "vqa": UP}, missing=("x", "y"), done=37, planned=110)
    assert headline(a).startswith("Detailed captions beat both")
    assert headline(a).endswith("(incomplete: 37 of 110 runs.)")
    first, *rest = a.contrasts
    first = dataclasses.replace(first, missing=("short, unlocked: seed 5",))
    a = dataclasses.replace(a, contrasts=(first, *rest))
    assert headline(a) == "No verdict yet (incomplete: 37 of 110 runs)."
    text = " ".join(verdict(a))
    assert "no claim is made" in text and ": better." not in text


def test_one_seed_gives_no_verdict(tmp_path):
    folder = made_up.write(tmp_path, plan=main_rows((3,)))
    a = analyse(results.read(folder), draws=10)
    assert headline(a) == "No verdict: one seed gives no interval and no test."
    assert "(1 seed; no interval and no test)" in " ".join(verdict(a))
    report.write(folder)
    assert "no interval" in (folder / "report.html").read_text()


def test_a_bootstrap_that_disagrees_is_told(base):
    a = changed(base, {"short": UP, "vqa": UP})
    first, *rest = a.contrasts
    first = dataclasses.replace(first, bootstrap=(-0.01, 0.2))
    text = " ".join(verdict(dataclasses.replace(a, contrasts=(first, *rest))))
    assert "does not agree for detailed − short, unlocked: hold" in text


def test_aspects_that_were_not_learnt_are_named(base):
    out = tuple(
        dataclasses.replace(g, learnt=g.aspect not in ("speed", "camera")) for g in base.gates
    )
    text = " ".join(verdict(dataclasses.replace(base, gates=out)))
    assert "Not learnt: speed, camera. Over the aspects that were learnt alone: detailed" in text
    none = tuple(dataclasses.replace(g, learnt=False) for g in base.gates)
    bare = tuple(dataclasses.replace(c, parts={}) for c in base.contrasts)
    text = " ".join(verdict(dataclasses.replace(base, gates=none, contrasts=bare)))
    assert "None of the five passes" in text


def test_forms_without_a_difference_are_named(base):
    up, flat = mean_of(dict(enumerate(UP))), mean_of(dict(enumerate(FLAT)))
    parts = {"form/choice": up, "form/yesno": flat, "form/matching": up}
    one = {**parts, "form/yesno": up}
    told = lambda first, second: " ".join(
        verdict(
            dataclasses.replace(
                base,
                contrasts=tuple(
                    dataclasses.replace(c, parts=given)
                    for c, given in zip(base.primary, (first, second), strict=True)
                ),
            )
        )
    )
    assert "No detectable difference of either kind in the form: yes/no." in told(parts, parts)
    assert "in the form" not in told(parts, one), "one of the two was found"


def test_every_control_is_told_found_or_not(base):
    d = mean_of(dict(enumerate(UP)))
    control = dataclasses.replace(base.primary[0], kind="control", holm=None, difference=d)
    given = [
        dataclasses.replace(control, name="detailed − x", p=0.01),
        dataclasses.replace(control, name="detailed − y", p=0.2),
        dataclasses.replace(control, name="detailed − z", p=0.01, missing=("z: seed 1",)),
    ]
    a = dataclasses.replace(base, contrasts=(*base.primary, *given))
    wanted = "above zero: detailed − x (+8.0); no detectable difference: detailed − y (+8.0)."
    assert verdict(a)[-1] == f"Controls, uncorrected; {wanted}"
    assert "Controls" not in " ".join(verdict(dataclasses.replace(a, trained=False)))


def test_how_numbers_are_written():
    assert (points(0.083), points(-0.0042), points(-0.0001)) == ("+8.3", "−0.4", "+0.0")
    assert (p_value(0.0004), p_value(0.0071), p_value(None)) == ("< 0.001", "0.007", "–")
    assert interval(mean_of({1: 0.5})) == "[no interval]"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    """A partly finished study with everything in it, and its report."""
    folder = tmp_path_factory.mktemp("whole")
    gone = ("shuffled-unlocked-s4", "blind-unlocked-s5")
    made_up.write(folder, scenes=16, pictures=16, keep=lambda run: run.id not in gone)
    pilot = {
        "id": "pilot-1", "seed": 100, "split": "dev", "steps": 400, "note": "a null <early>",
        "accuracy": {"right": {"average": 0.501}}, "slots": {"verb": [39, 100]},
    }  # fmt: skip
    (folder / "pilots.jsonl").write_text(json.dumps(pilot) + "\n")
    more = folder.parent / "more.jsonl"
    more.write_text(json.dumps({"id": "pilot-2", "seed": 101, "note": "too slow"}) + "\n")
    assert main.run(["study", "report", f"--out={folder}", f"--pilots={more}"]) == 0
    return folder


def test_the_page_says_all_that_it_must(whole):
    html, text = (whole / "report.html").read_text(), (whole / "report.md").read_text()
    assert len(html) < 3_000_000
    assert sum(f.stat().st_size for f in (whole / "report_files").iterdir()) < 3_000_000
    for page in (html, text):
        assert "incomplete: 115 of 117 runs" in page
        assert "shuffled-unlocked-s4" in page and "blind-unlocked-s5" in page
        assert "recalled, not checked against the paper" in page
        assert "37.3†" in page and "quoted by others" in page
        assert "Detailed captions beat both short captions and none" in page
        assert "toy world" in page and "does not reproduce" in re.sub(r"\s+", " ", page)
        for name in ("prior-only guesser", "chance", "another video", "on blank grids"):
            assert name in page
        assert "pilot-2" in page and "too slow" in page and "50.1" in page and "39.0" in page
        assert "dev" in page and "second visual path" in page
        assert "captioner, by the false curve" in page
    assert "a null &lt;early&gt;" in html and "<early>" not in html
    assert html.count('class="card"') == 6 and html.count("<svg") >= 11
    assert "detailed arm right" in html and "detailed arm wrong" in html
    assert "nan" not in re.sub(r"data:[^\"]*", "", html)


def test_the_page_shows_the_numbers_of_the_analysis(whole):
    found = json.loads((whole / "report.json").read_text())
    html = (whole / "report.html").read_text()
    assert found["verdict"][0].startswith("Detailed captions beat")
    assert (found["done"], found["planned"]) == (115, 117)
    for c in found["contrasts"]:
        d = c["difference"]
        assert points(d["mean"]) in html and d["low"] <= d["mean"] <= d["high"]
    assert f"{100 * found['rows']['detailed, unlocked']['measures']['average']['mean']:.1f}" in html
    assert found["chance"]["average"] == pytest.approx(np.mean([1 / 4, 1 / 2, 1 / 2]), abs=1e-5)
    [curve] = [c for c in found["curves"] if c["kind"] == "sentences"]
    assert [p["dose"] for p in curve["points"]] == [1, 2, 4, "all"]
    assert found["compute"]["main"][0] == 39


def test_the_same_folder_gives_the_same_report(whole):
    before = {n: (whole / n).read_bytes() for n in ("report.md", "report.json")}
    report.write(whole, pilots=[whole.parent / "more.jsonl"])
    assert {n: (whole / n).read_bytes() for n in before} == before


def test_a_study_that_has_only_begun_has_a_report(tmp_path):
    folder = made_up.write(tmp_path, keep=lambda run: run.id == "vqa-unlocked-s1")
    report.write(folder)
    html = (folder / "report.html").read_text()
    assert "No verdict yet (incomplete: 1 of 117 runs)." in html
    (folder / "results.jsonl").unlink()
    report.write(folder)
    assert "incomplete: 0 of 117 runs" in (folder / "report.md").read_text()


def test_a_damaged_picture_or_a_path_that_leaves_the_folder_is_refused(tmp_path, capsys):
    folder = made_up.write(tmp_path, plan=main_rows((1, 2)), pictures=made_up.SCENES)
    for name in (folder / "data" / "pictures").iterdir():
        name.write_bytes(b"no picture")
    assert main.run(["study", "report", f"--out={folder}"]) == BAD_INPUT
    assert "test-0.png: no PNG picture" in capsys.readouterr().err
    name = folder / "data" / "questions" / "test.jsonl"
    name.write_text(name.read_text().replace("pictures/", "../../pictures/"))
    assert main.run(["study", "report", f"--out={folder}"]) == BAD_INPUT
    assert "leaves its root" in capsys.readouterr().err


def test_the_command_names_what_it_needs(tmp_path, capsys):
    assert main.run(["study", "report", "--out="]) == BAD_INPUT
    assert "study report needs --out" in capsys.readouterr().err
    assert main.run(["study", "report", f"--out={tmp_path}"]) == BAD_INPUT
    assert "no study.json" in capsys.readouterr().err
    assert main.run(["study", "report", "--help"]) == 0


def test_a_report_needs_no_jax():
    code = "import sys; from sg4v_jax.study import report; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_the_plan_does_not_have_is_not_called_missing(tmp_path):
    folder = made_up.write(tmp_path, plan=main_rows((1, 2)))
    report.write(folder)
    text = (folder / "report.md").read_text()
    assert "trained text-only: VQA on blank grids** | **0** | **not planned**" in text
    assert "missing |" not in text
