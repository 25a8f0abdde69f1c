"""The benchmark report: from scored runs to a page, whose numbers are formed anew here."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import RecordError
from sg4v_jax.evals import published
from sg4v_jax.evals.report import averages, compare, examples, notes, page
from sg4v_jax.evals.report.runs import Run, read_runs, short_title, task_title
from sg4v_jax.evals.score import Options
from sg4v_jax.report import stats

SHAPES = ("tempcompass", "videobench", "mvbench", "videochatgpt")


@pytest.fixture(scope="module")
def folders(mini, answered, tmp_path_factory):
    """Two runs of each benchmark; the first lacks two answers."""
    out = tmp_path_factory.mktemp("runs")
    made = {}
    for shape in SHAPES:
        data = mini(shape)
        for name, accuracy, missing in (("good", 0.8, 2), ("poor", 0.4, 0)):
            folder = out / f"{shape}-{name}"
            made[shape, name] = answered(
                shape, data, folder, accuracy=accuracy, seed=3, model=f"m/{name}", missing=missing
            )
    return made


@pytest.fixture(scope="module")
def runs(folders) -> dict[tuple[str, str], Run]:
    found = read_runs(list(folders.values()))
    return dict(zip(folders, found, strict=True))


@pytest.fixture(scope="module")
def html(folders, sg4v, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    shown = ",".join(map(str, folders.values()))
    data = ",".join(dict.fromkeys(str(f) for f in _data_folders(folders)))
    done = sg4v("eval", "report", f"--runs={shown}", f"--out={out}", f"--data={data}")
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size < 3_000_000
    return out.read_text()


def _data_folders(folders):
    return [json.loads((f / "run.json").read_text())["data"] for f in folders.values()]


def _text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", " ", html)))


def test_every_average_gets_the_interval_of_its_own_rule(runs):
    seen = set()
    for run in runs.values():
        for name, value in run.scores["averages"].items():
            found = averages.estimate(run, name, value)
            if value is None:
                assert found is None
                continue
            seen.add(averages.plain_name(name))
            assert found.value == pytest.approx(value), (run.folder, name)
            assert found.low <= value <= found.high and found.clusters > 1
    assert {"micro", "mean of tasks", "official-weighted", "Decision-Making"} <= seen
    assert {"yes_no (micro)", "mean of 3 of 4 tasks"} <= seen


def test_the_names_of_a_whole_tempcompass_run_are_all_known(mini, answered, tmp_path):
    # With captions rated, too: stored replies of a judge that always finds them right.
    data = mini("tempcompass")
    first = answered("tempcompass", data, tmp_path / "a", accuracy=0.7)
    rows = [json.loads(line) for line in (first / "rows.jsonl").read_text().splitlines()]
    gold = {r["id"]: r["gold"] for r in rows if r["task"] == "captioning"}
    said = {r["id"]: r["prediction"] for r in rows}
    replies = [
        {"id": i, "prediction": said[i], "answer": f"Reasoning: x\nAnswer: {g}"}
        for i, g in gold.items()
    ]
    stored = tmp_path / "judge.jsonl"
    stored.write_text("".join(json.dumps(r) + "\n" for r in replies))
    whole = answered(
        "tempcompass",
        data,
        tmp_path / "b",
        accuracy=0.7,
        options=Options(judge=f"replay:{stored}"),
    )
    [run] = read_runs([whole])
    assert run.scores["averages"]["captioning (micro)"] == 100
    for name, value in run.scores["averages"].items():
        assert averages.estimate(run, name, value).value == pytest.approx(value), name
    assert "replay:judge.jsonl" in notes.judge_note(run)
    assert "they compare if they are those of gpt-3.5-turbo-1106" in notes.judge_note(run)
    for name, compares in (("openai:gpt-3.5-turbo-1106", True), ("openai:llama", False)):
        judge = {**run.scores["judge"], "name": name}
        other = dataclasses.replace(run, scores={**run.scores, "judge": judge})
        assert ("not comparable" not in notes.judge_note(other)) == compares


def test_an_average_of_a_strange_name_or_value_gets_no_interval(runs):
    run = runs["mvbench", "good"]
    value = run.scores["averages"]["micro"]
    assert averages.estimate(run, "median of tasks", value) is None
    assert averages.estimate(run, "micro", value + 1) is None
    assert averages.estimate(run, "micro", None) is None


def test_official_weighting_counts_levels_alike(runs):
    run = runs["videobench", "good"]
    rule = averages.rule_of(run, "official-weighted")
    assert sum(rule.weights.values()) == pytest.approx(3)
    assert rule.weights["MOT"] == pytest.approx(0.5 / 6.5)
    assert rule.weights["SQA3D"] == pytest.approx(1 / 2.5)


def test_all_right_or_all_wrong_has_an_interval_all_the_same(runs):
    rows = runs["mvbench", "good"].rated(task="action_count")
    right = [type(r)(**{**vars(r), "rating": 1.0}) for r in rows]
    found = averages.cell_estimate(right, scale=100)
    bound = stats.wilson(len(rows), len(rows))
    assert (found.value, found.high) == (100, 100) and found.low == pytest.approx(100 * bound.low)
    assert averages.cell_estimate([], scale=100) is None


def test_two_runs_are_compared_on_shared_questions_of_scored_tasks(runs):
    a, b = runs["tempcompass", "good"], runs["tempcompass", "poor"]
    found = compare.compare(a, b)
    x = {r.id: r.rating for r in a.rows if r.task != "captioning"}
    y = {r.id: r.rating for r in b.rows if r.task != "captioning"}
    assert found.n == len(x)
    assert found.only_a == sum(x[i] > y[i] for i in x)
    assert found.only_b == sum(x[i] < y[i] for i in x)
    mean = 100 * (np.mean(list(x.values())) - np.mean(list(y.values())))
    assert found.difference.value == pytest.approx(mean)
    assert found.difference.low < mean < found.difference.high
    assert found.midp == stats.mcnemar_midp(found.only_a, found.only_b) <= found.exact
    name, gap = compare.headline_difference(a, b)
    assert name == "mean of 3 of 4 tasks"
    assert gap.value == pytest.approx(a.headline[1] - b.headline[1])
    tasks = compare.by_task(a, b)
    assert [p.name for p in tasks] == ["multi-choice", "yes_no", "caption_matching"]
    assert all(h >= p.midp for h, p in zip(compare.adjusted(tasks), tasks, strict=True))
    swapped = compare.compare(b, a)
    assert swapped.difference.value == pytest.approx(-mean) and swapped.exact == found.exact


def test_a_run_against_itself_differs_nowhere(runs):
    run = runs["videobench", "good"]
    found = compare.compare(run, run)
    assert (found.only_a, found.only_b, found.exact, found.midp) == (0, 0, 1.0, 1.0)
    assert (found.difference.low, found.difference.high) == (0, 0)


def test_unrated_runs_have_nothing_to_compare(runs):
    assert compare.pairs([runs["videochatgpt", "good"], runs["videochatgpt", "poor"]]) == []


def test_the_page_says_what_does_not_compare(html):
    text = _text(html)
    assert "These are not the published question files of MVBench" in text
    assert "where those have 4,000" in text
    assert "measured on question files that were never published" in text
    assert "† recalled, not checked against the paper" in text
    assert "The published numbers have a judge (gpt-3.5-turbo-1106)" in text
    assert "2 questions about" in text and "counted as wrong" in text


def test_the_page_has_every_average_and_published_value(html, runs):
    text = _text(html)
    for run in runs.values():
        for name in run.scores["averages"]:
            assert name.replace("&", "&amp;") in text, name
    for result in published.load().results:
        if result.benchmark in SHAPES:
            assert result.model in text and result.shown in text
    for row in published.load().caption_ablation:
        assert row.cell("tempcompass") in text
    assert "n/a" in text


def test_the_page_fetches_nothing_and_its_pictures_are_grids(html):
    assert "default-src 'none'" in html and not re.search(r"https?://(?!www\.w3\.org)", html)
    assert len(re.findall(r"<svg", html)) >= 8  # bars, radars, intervals
    sources = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', html)
    assert len(sources) >= 3 * examples.EACH
    picture = Image.open(io.BytesIO(base64.b64decode(sources[0])))
    assert max(picture.size) <= examples.LONGEST


def test_examples_are_right_and_wrong_from_several_tasks(runs):
    run = runs["mvbench", "good"]
    chosen = examples.choose(run)
    verdicts = [examples.is_right(r, run) for r in chosen]
    assert verdicts == [True] * examples.EACH + [False] * examples.EACH
    assert len({r.task for r in chosen[: examples.EACH]}) == examples.EACH
    assert not any(r.missing for r in chosen)


def test_without_videos_the_examples_are_a_table(folders, tmp_path):
    run = folders["mvbench", "poor"]
    for name in ("scores.json", "rows.jsonl"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert page.write(tmp_path / "r.html", read_runs([tmp_path])) == []
    text = (tmp_path / "r.html").read_text()
    assert "answers whose videos are not at hand" in text and "<img" not in text


def test_pictures_stop_at_their_budget_and_stay_in_their_folder(mini):
    data = mini("mvbench")
    video = next((data / "video/ssv2_video").glob("*.mp4")).relative_to(data)
    pictures = examples.Pictures([str(data)], budget=1)
    assert pictures.of(str(video)) is not None
    assert pictures.of(str(video)) is None
    assert examples.Pictures([str(data / "json")]).of(f"../{video}") is None
    (data.parent / "broken.mp4").write_bytes(b"x" * 100)
    broken = examples.Pictures([str(data.parent)])
    assert broken.of("broken.mp4") is None and "broken.mp4" in broken.problems[0]


def test_the_page_as_markdown(folders, tmp_path):
    out = tmp_path / "report.md"
    shown = [folders["mvbench", n] for n in ("good", "poor")]
    assert page.write(out, read_runs(shown), data=_data_folders(folders)) == []
    text = out.read_text()
    assert "| **good** |" in text and "## MVBench" in text
    for name in re.findall(r"\]\(([^)]+)\)", text):
        assert (tmp_path / name).stat().st_size > 0


def test_runs_of_one_model_are_named_apart(folders, mini, answered, tmp_path):
    again = answered("mvbench", mini("mvbench"), tmp_path / "again", model="m/good")
    official = answered(
        "mvbench", mini("mvbench"), tmp_path / "o", model="m/good", protocol="official"
    )
    first = folders["mvbench", "good"]
    assert [r.name for r in read_runs([first, official])] == ["good (sg4v)", "good (official)"]
    names = [r.name for r in read_runs([first, again])]
    assert names == ["good (sg4v, mvbench-good)", "good (sg4v, again)"]
    assert len({r.name for r in read_runs([first, first])}) == 2
    page.write(tmp_path / "p.html", read_runs([first, official]))
    assert "were asked by different protocols" in (tmp_path / "p.html").read_text()


def test_what_is_no_run_is_told(tmp_path, folders):
    with pytest.raises(RecordError, match=r"no scores.json"):
        read_runs([tmp_path])
    (tmp_path / "scores.json").write_text('{"benchmark": "mvbench"}')
    with pytest.raises(RecordError, match="no field 'protocol'"):
        read_runs([tmp_path])
    (tmp_path / "scores.json").write_bytes(
        (folders["mvbench", "good"] / "scores.json").read_bytes()
    )
    (tmp_path / "rows.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(RecordError, match="line 1"):
        read_runs([tmp_path])


def test_the_verb_wants_a_page_that_it_can_write(sg4v, tmp_path):
    done = sg4v("eval", "report", "--out=r.txt", tmp_path)
    assert done.returncode == 2 and "report.html or .md" in done.stderr


def test_names_of_tasks_for_people():
    assert task_title("fine_grained_action") == "Fine-grained Action"
    assert task_title("yes_no") == "yes/no" and task_title("SQA3D") == "SQA3D"
    assert short_title("egocentric_navigation") == "EN" and short_title("MSVD") == "MSVD"


def test_an_example_shows_the_part_that_the_question_is_about(runs, mini):
    run, data = runs["mvbench", "good"], mini("mvbench")
    pictures = examples.Pictures([str(data / "json"), str(data)])
    views = pictures.views(run)
    row = next(r for r in run.rows if r.task == "action_prediction")
    assert views[row.id].bounds == (0.0, 1.0)
    folder = next(r for r in run.rows if r.task == "episodic_reasoning")
    assert views[folder.id].fps == 3.0
    part, whole = pictures.of(row.video, view=views[row.id]), pictures.of(row.video)
    assert part and whole and part != whole
    assert pictures.of(folder.video, view=views[folder.id]) and not pictures.problems
    assert pictures.views(runs["videobench", "good"]) == {}


def test_warnings_of_the_score_are_said_unless_said_already(runs):
    run = runs["mvbench", "good"]
    told = {**run.scores["counts"], "warnings": ["a.json: 3 questions, the published file has 4"]}
    told["warnings"].append("captioning: no prediction at all; the task is left out")
    changed = dataclasses.replace(run, scores={**run.scores, "counts": told})
    said = " ".join(notes.of_run(changed))
    assert "Captioning: no prediction at all; the task is left out." in said
    assert "3 questions, the published" not in said
