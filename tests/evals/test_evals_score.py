"""Scoring whole runs: averages by name, what is missing, judges, official files in and out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError, WorkdirError
from sg4v_jax.evals import mvbench, tempcompass
from sg4v_jax.evals.benchmarks import open_benchmark
from sg4v_jax.evals.run_files import prediction_row
from sg4v_jax.evals.score import Options, score
from tests.evals import made_up

MAKE = {
    "tempcompass": made_up.tempcompass,
    "mvbench": made_up.mvbench,
    "videobench": made_up.videobench,
    "videochatgpt": made_up.videochatgpt,
}


def write_run(folder, loaded, answer, **run):
    """A run's folder where `answer(question)` is the text, or (text, error)."""
    rows = []
    for question in loaded.questions:
        said = answer(question)
        if said is ...:
            continue
        text, error = said if isinstance(said, tuple) else (said, None)
        rows.append(prediction_row(question, prompt="", prediction=text, error=error))
    folder.mkdir(exist_ok=True)
    (folder / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "run.json").write_text(json.dumps({"model": "m", "protocol": "official", **run}))
    return folder


def scored(tmp_path, benchmark, answer, *, tasks=(), options=None, run=None, make=None):
    data = tmp_path / "data"
    (make or MAKE[benchmark])(data)
    loaded = open_benchmark(benchmark).load(data, tasks=tasks)
    write_run(tmp_path / "run", loaded, answer, benchmark=benchmark, tasks=tasks, **(run or {}))
    return score(
        benchmark,
        data=data,
        predictions=tmp_path / "run",
        out=tmp_path / "out",
        options=options or Options(),
    )


def cell(found, task, group=None, key="cells"):
    return next(c for c in found[key] if (c["task"], c["group"]) == (task, group))


def test_tempcompass_without_a_judge(tmp_path):
    def answer(q):
        if q.task == "multi-choice":
            return "B" if q.group != "order" else "who knows"
        return {"yes_no": "Yes", "caption_matching": "B</s>", "captioning": "A caption"}[q.task]

    found = scored(tmp_path, "tempcompass", answer)
    assert cell(found, "multi-choice") == {
        "task": "multi-choice",
        "group": None,
        "correct": 4,
        "total": 10,
        "score": 40.0,
    }
    assert cell(found, "multi-choice", "order")["score"] == 0.0
    assert cell(found, "multi-choice", "relative speed", key="fine_cells")["score"] == 50.0
    assert cell(found, "multi-choice", "camera motion", key="fine_cells")["score"] is None
    assert cell(found, "captioning")["score"] is None
    averages = found["averages"]
    assert averages["yes_no (micro)"] == 100.0 and averages["caption_matching (micro)"] == 0.0
    assert averages["mean of tasks"] is None and averages["micro"] is None
    assert found["headline"] == {
        "name": "mean of 3 of 4 tasks: multi-choice, yes_no, caption_matching",
        "value": pytest.approx(140 / 3),
    }
    assert found["judge"] == {"name": "none", "unjudged": 2 + 20}
    assert any("20 rows have no rating" in w for w in found["counts"]["warnings"])
    rows = files.read_jsonl(tmp_path / "out" / "rows.jsonl")
    assert len(rows) == 50
    assert set(rows[0]) == {
        *("id", "task", "group", "video", "question", "gold"),
        *("prediction", "rating", "judged", "missing"),
    }
    assert [r["rating"] for r in rows if r["task"] == "captioning"] == [None] * 20


def replay(tmp_path, replies):
    name = tmp_path / "replies.jsonl"
    name.write_text("".join(json.dumps({"id": i, "answer": a}) + "\n" for i, a in replies.items()))
    return f"replay:{name}"


def test_tempcompass_with_stored_replies(tmp_path):
    loaded = tempcompass.load(made_up.tempcompass(tmp_path / "data"))
    replies = {}
    for q in loaded.questions:
        if q.task == "captioning":
            replies[q.id] = f"Reasoning: so\nAnswer: {q.gold}"
        if q.id == "multi-choice/100/order/0":
            replies[q.id] = "Correct"
    del replies["captioning/100/action/0"]  # a judge that failed: -1, which enters the sum

    def answer(q):
        return "hm" if q.task in ("multi-choice", "captioning") else q.gold

    options = Options(judge=replay(tmp_path, replies))
    found = scored(tmp_path, "tempcompass", answer, options=options)
    assert cell(found, "captioning") | {"score": 0} == {
        "task": "captioning",
        "group": None,
        "correct": 18,
        "total": 20,
        "score": 0,
    }
    averages = found["averages"]
    tasks = {"multi-choice": 10.0, "yes_no": 100.0, "caption_matching": 100.0, "captioning": 90.0}
    assert {t: averages[f"{t} (micro)"] for t in tasks} == tasks
    assert found["headline"] == {"name": "mean of tasks", "value": 75.0}
    assert averages["micro"] == pytest.approx(100 * (1 + 10 + 10 + 18) / 50)
    cells = [0, 0, 0, 50, 0] + [100] * 10 + [50, 100, 100, 100, 100]
    assert averages["mean of cells"] == pytest.approx(sum(cells) / 20)
    # By aspect over the tasks: 2 + 2 + 2 + 4 rows each.
    aspects = [(0 + 2 + 2 + 2) / 10, 0.8, 0.8, 0.9, 0.8]
    assert averages["mean of aspects"] == pytest.approx(100 * sum(aspects) / 5)
    assert found["judge"] == {"name": "replay:replies.jsonl", "unjudged": 1 + 9}
    rows = {r["id"]: r for r in files.read_jsonl(tmp_path / "out" / "rows.jsonl")}
    assert rows["captioning/100/action/0"]["rating"] == -1
    assert rows["multi-choice/100/order/0"]["judged"] is True
    assert rows["yes_no/100/order/0"]["judged"] is False


def test_tempcompass_official_files(tmp_path):
    def answer(q):
        return None if q.id == "yes_no/100/action/0" else "Yes"

    scored(tmp_path, "tempcompass", answer, tasks=["yes_no", "multi-choice"])
    official = tmp_path / "out" / "official"
    result = files.read_json(official / "auto_eval_results_disable_llm" / "m" / "yes_no.json")
    assert list(result) == ["100", "101_reverse"]
    assert result["100"]["action"] == [
        {
            "question": "Is it action?",
            "gt-answer": "yes",
            "video-llm-prediction": None,
            "match_success": False,
            "rating": 0,
        }
    ]
    name = official / "auto_eval_results_disable_llm" / "m" / "yes_no_accuracy.json"
    table = files.read_json(name)
    assert table["aspects"] == {
        "action": 50.0,
        "direction": 100.0,
        "speed": 100.0,
        "order": 100.0,
        "attribute_change": 100.0,
        "avg": 90.0,
    }
    assert table["fine"]["camera motion"] is None and table["match_success_rate"] == 90.0
    # Its own predictions are taken as official ones, and score the same.
    again = score(
        "tempcompass",
        data=tmp_path / "data",
        predictions=official / "predictions" / "m",
        out=tmp_path / "again",
    )
    assert cell(again, "yes_no")["score"] == 90.0
    assert "captioning: no prediction at all; the task is left out" in again["counts"]["warnings"]
    assert again["missing"] == []  # the model refused; that is an answer


def test_tempcompass_official_judged_files_are_replayed(tmp_path):
    loaded = tempcompass.load(made_up.tempcompass(tmp_path / "data"))
    nested = {"multi-choice": {}, "captioning": {}}
    for q in loaded.questions:
        if q.task not in nested:
            continue
        row = {"video-llm-prediction": "hm", "rating": 1}
        if q.task == "captioning":
            row |= {"chatgpt-answer": q.gold, "chatgpt-reasoning": "so"}
        else:
            row |= {"chatgpt-response": "Incorrect"}
        if q.id == "captioning/100/action/1":
            row |= {"chatgpt-answer": None, "chatgpt-reasoning": None, "rating": -1}
        video = q.extra["video_id"]
        nested[q.task].setdefault(video, {}).setdefault(q.group, []).append(row)
    for task, value in nested.items():
        made_up.dump(tmp_path / "stored" / f"{task}.json", value)
    options = Options(judge=f"replay:{tmp_path / 'stored'}")
    tasks = ("multi-choice", "captioning")
    found = scored(tmp_path, "tempcompass", lambda q: "hm", options=options, tasks=tasks)
    assert cell(found, "captioning")["correct"] == 18  # 19 right, one -1
    assert cell(found, "multi-choice")["correct"] == 0
    assert found["judge"]["unjudged"] == 1
    # Replies to other answers are not this model's.
    found = scored(tmp_path, "tempcompass", lambda q: "other", options=options, tasks=tasks)
    assert found["judge"]["unjudged"] == 30


def test_missing_rows_are_wrong_in_their_own_task_unless_skipped(tmp_path):
    def answer(q):
        if q.id == "action_sequence/1":
            return (None, "MissingVideoError: v1.mp4: no such file")
        return ... if q.id == "object_existence/0" else "(B) blue"

    tasks = ["action_sequence", "object_existence"]
    found = scored(tmp_path, "mvbench", answer, tasks=tasks)
    assert [c["score"] for c in found["cells"]] == pytest.approx([200 / 3, 200 / 3])
    assert found["missing"] == [
        {
            "task": "action_sequence",
            "video": "video/star/Charades_v1_480/v1.mp4",
            "reason": "MissingVideoError: v1.mp4: no such file",
        },
        {
            "task": "object_existence",
            "video": "video/clevrer/video_validation/v0.mp4",
            "reason": "no prediction",
        },
    ]
    assert found["headline"]["name"] == "micro of 2 of 20 tasks"
    options = Options(skip_missing=True)
    found = scored(tmp_path, "mvbench", answer, tasks=tasks, options=options)
    assert [(c["total"], c["score"]) for c in found["cells"]] == [(2, 100.0), (2, 100.0)]
    assert len(found["missing"]) == 2 and found["skip_missing"] is True
    with pytest.raises(RecordError, match="2 questions have no answer, .* action_sequence/1: Miss"):
        scored(tmp_path, "mvbench", answer, tasks=tasks, options=Options(strict=True))
    assert "2 missing or unjudged rows left out" in found["headline"]["name"]


def test_the_hole_of_official_mvbench(tmp_path):
    tasks = ["object_existence"]
    for protocol, wanted in (("official", 100.0), ("sg4v", 0.0)):
        options = Options(protocol=protocol)
        found = scored(tmp_path, "mvbench", lambda q: "(", tasks=tasks, options=options)
        assert cell(found, "object_existence")["score"] == wanted
        assert found["protocol"] == protocol
    # Nothing at all is no empty text.
    found = scored(tmp_path, "mvbench", lambda q: (None, "lost"), tasks=tasks)
    assert cell(found, "object_existence")["score"] == 0.0


def test_mvbench_averages_and_board(tmp_path):
    """The vector of the authors' thread: 20 tasks of 200 average to 50.975."""
    shares = dict(
        zip(
            [task.short for task in mvbench.questions.TABLE],
            [66.0, 47.5, 83.5, 49.5, 60.0, 58.0, 71.5, 41.5, 23.0, 22.5]
            + [88.5, 39.5, 42.0, 58.5, 44.0, 49.0, 36.5, 35.0, 38.5, 65.0],
            strict=True,
        )
    )
    rights = {t.stem: int(shares[t.short] * 2) for t in mvbench.questions.TABLE}

    def make(folder):
        for stem in mvbench.TASKS:
            rows = [made_up.mvbench_row(n) for n in range(200)]
            made_up.dump(folder / "json" / f"{stem}.json", rows)

    def answer(q):
        return "(B)" if int(q.id.split("/")[1]) < rights[q.task] else "(A)"

    found = scored(tmp_path, "mvbench", answer, make=make)
    assert found["headline"] == {"name": "micro", "value": pytest.approx(50.975)}
    assert found["averages"]["mean of tasks"] == pytest.approx(50.975)
    assert found["counts"]["warnings"] == []
    official = tmp_path / "out" / "official"
    board = files.read_json(official / "upload_leaderboard.json")
    assert board["Fine-grained Pose"] == 49.0 and board["Avg"] == pytest.approx(50.975)
    results = files.read_json(official / "all_results.json")
    assert results["acc_dict"]["Action Sequence"] == [132, 200]
    assert results["result_list"][0] == {
        "pred": "(B)",
        "gt": "(B) blue",
        "task_type": "Action Sequence",
        "video_path": "video/star/Charades_v1_480/v0.mp4",
        "question": "Which 0?",
    }
    out = tmp_path / "again"
    value = score("mvbench", data=tmp_path / "data", predictions=official, out=out)
    assert value["headline"]["value"] == pytest.approx(50.975)
    flat = [{"pred": r["pred"], "gt": r["gt"]} for r in results["result_list"]]
    made_up.dump(tmp_path / "notebook.json", {"acc_dict": {}, "res_list": flat})
    value = score(
        "mvbench", data=tmp_path / "data", predictions=tmp_path / "notebook.json", out=out
    )
    assert value["headline"]["value"] == pytest.approx(50.975)
    flat[3]["gt"] = "(A) red"
    made_up.dump(tmp_path / "notebook.json", {"acc_dict": {}, "res_list": flat})
    with pytest.raises(RecordError, match=r"row 3: gt is '\(A\) red'"):
        score("mvbench", data=tmp_path / "data", predictions=tmp_path / "notebook.json", out=out)


def test_videobench_by_letters(tmp_path):
    def answer(q):
        return "(A" if q.task in ("MOT", "NBA") else "(B) x"

    found = scored(tmp_path, "videobench", answer, options=Options(protocol="sg4v"))
    assert cell(found, "MOT")["score"] == 0.0 and cell(found, "TGIF")["score"] == 100.0
    # "(B)" misses the row with one option, whose answer is A.
    activity = 100 * 3 / 4
    first = (activity + 500) / 6.5
    levels = [first, 200 / 3, 100.0]
    averages = found["averages"]
    assert [averages[n] for n in list(averages)[1:4]] == pytest.approx(levels)
    assert found["headline"] == {
        "name": "official-weighted",
        "value": pytest.approx(sum(levels) / 3),
    }
    assert averages["micro"] == pytest.approx(100 * (31 - 1 - 4) / 31)
    official = tmp_path / "out" / "official"
    head, values = (official / "Final_score_table.csv").read_text().splitlines()
    assert head.startswith(
        "Model,Avg. All,Avg. Video-Exclusive,Avg. Prior-Knowledge QA,Avg. Decision-Making,"
        "ActivityNet,MSVD,MSRVTT,TGIF,Youcook2,Ucfcrime,MOT,TVQA,MV,NBA,Driving-exam,"
    )
    assert float(values.split(",")[1]) == pytest.approx(sum(levels) / 300)
    one = files.read_json(official / "MV_eval.json")["7"]
    assert list(one) == ["video_id", "question", "output_sequence"]
    assert one["question"].startswith("Which song? A.One B.Two \n Among the two options A, B above")
    merged = files.read_json(official / "Video-Bench-Input.json")
    assert set(merged) == set(made_up.VIDEOBENCH) and merged["MV"]["7"] == one
    for again in (official, official / "Video-Bench-Input.json"):
        value = score(
            "videobench",
            data=tmp_path / "data",
            predictions=again,
            out=tmp_path / "again",
            options=Options(protocol="sg4v"),
        )
        assert value["averages"] == found["averages"]


def test_videobench_by_a_judge(tmp_path):
    def store(folder, name, key, letter):
        item = {"video_id": "x", "question": "", "output_sequence": "hm"}
        item |= {"output_chatgpt_choice": letter}
        made_up.dump(folder / f"{name}_chatgpt_eval" / f"{key}.json", {key: item})

    store(tmp_path / "judged", "MOT", "7", "B")
    store(tmp_path / "judged", "MOT", "8", "A")
    store(tmp_path / "judged", "NBA", "7", "B")
    options = Options(judge=f"replay:{tmp_path / 'judged'}")
    tasks = ["MOT", "NBA"]
    found = scored(tmp_path, "videobench", lambda q: "hm", tasks=tasks, options=options)
    assert cell(found, "MOT")["score"] == 50.0
    assert cell(found, "NBA")["score"] is None  # one is not judged
    assert found["judge"]["unjudged"] == 1
    assert found["headline"] == {"name": "micro of 2 of 13 data sets", "value": None}
    merged = files.read_json(tmp_path / "out" / "official" / "Video-Bench-Input.json")
    assert merged["MOT"]["7"]["output_chatgpt_choice"] == "B"
    options = Options(judge=options.judge, skip_missing=True)
    found = scored(tmp_path, "videobench", lambda q: "hm", tasks=tasks, options=options)
    assert cell(found, "NBA")["score"] == 100.0


def test_videobench_without_answers_gives_a_submission_and_no_score(tmp_path):
    make = lambda folder: made_up.videobench(folder, answers=False)
    options = Options(protocol="sg4v")
    found = scored(tmp_path, "videobench", lambda q: "(B", options=options, make=make)
    assert found["headline"]["value"] is None
    assert (tmp_path / "out" / "official" / "Video-Bench-Input.json").exists()


def test_videochatgpt(tmp_path):
    replies = {
        "correctness/v_a_0": "{'score': 5}",
        "correctness/v_a_1": "{'score': 2.9}",
        "correctness/v_b_0": '{"score": 3}',
        **{f"{s}/{k}": "{'score': 4}" for s in ("detail", "context") for k in ("v_a_0", "v_a_1")},
        **{f"{s}/v_b_0": "{'score': 1}" for s in ("detail", "context", "consistency")},
        "temporal/v_a_0": "{''score': 4.8}",
    }
    options = Options(judge=replay(tmp_path, replies))
    found = scored(tmp_path, "videochatgpt", lambda q: f"{q.id}!", options=options)
    assert cell(found, "correctness")["score"] == pytest.approx(10 / 3)
    assert cell(found, "detail")["score"] == 3.0
    assert cell(found, "temporal")["score"] is None and found["judge"]["unjudged"] == 1
    assert found["averages"]["mean of scores"] is None
    official = tmp_path / "out" / "official"
    assert files.read_json(official / "generic.json")[0] == {
        "video_name": "v_a",
        "Q": "What 0?",
        "A": "It 0.",
        "pred": "generic/v_a_0!",
    }
    assert files.read_json(official / "judged" / "consistency.json") == {
        "v_b_0": [
            {"score": 1},
            {
                "q1": "Is it?",
                "q2": "Isn't it?",
                "a": "It is.",
                "pred1": "consistency/v_b_0/1!",
                "pred2": "consistency/v_b_0/2!",
            },
        ]
    }
    # What was written is read again: predictions as a list, scores as combined files.
    (official / "chunk").mkdir()
    for task in ("generic", "consistency"):
        rows = files.read_json(official / f"{task}.json")
        lines = "".join(json.dumps(row) + "\n" for row in reversed(rows))
        (official / "chunk" / f"{task}.json").write_text(lines)
    for predictions in (official, official / "chunk"):
        again = score(
            "videochatgpt",
            data=tmp_path / "data",
            predictions=predictions,
            out=tmp_path / "again",
            options=Options(judge=f"replay:{official / 'judged'}"),
        )
        assert cell(again, "correctness")["score"] == pytest.approx(10 / 3)
        assert cell(again, "consistency")["score"] == 1.0


def test_predictions_of_other_questions_are_refused(tmp_path):
    scored(tmp_path, "mvbench", lambda q: "(B", tasks=["object_existence"])
    name = tmp_path / "run" / "predictions.jsonl"
    name.write_text(name.read_text().replace("Which 1?", "What else?"))
    with pytest.raises(RecordError, match="line 2: object_existence/1 asks 'What else\\?'"):
        score("mvbench", data=tmp_path / "data", predictions=name, out=tmp_path / "out")
    with pytest.raises(ConfigError, match="predictions for mvbench, not tempcompass"):
        score("tempcompass", data=tmp_path / "data", predictions=name, out=tmp_path / "out")
    name.unlink()
    with pytest.raises(WorkdirError, match="not finished"):
        score("mvbench", data=tmp_path / "data", predictions=tmp_path / "run", out=tmp_path / "o")
    with pytest.raises(RecordError, match="no such file"):
        score("mvbench", data=tmp_path / "data", predictions=tmp_path / "x", out=tmp_path / "o")
    with pytest.raises(ConfigError, match="takes no files of answers"):
        score(
            "mvbench",
            data=tmp_path / "data",
            predictions=tmp_path / "run",
            out=tmp_path / "o",
            options=Options(answers="x"),
        )


def test_the_limit_of_the_run_counts(tmp_path):
    found = scored(tmp_path, "tempcompass", lambda q: "Yes", tasks=["yes_no"], run={"limit": 3})
    assert cell(found, "yes_no")["total"] == 3
    assert found["headline"]["name"].endswith("at most 3 questions of each task")


def test_scoring_needs_no_jax(tmp_path):
    scored(tmp_path, "mvbench", lambda q: "(B", tasks=["object_existence"])
    code = (
        "import sys\n"
        "from sg4v_jax.cli.main import run\n"
        "code = run(sys.argv[1:])\n"
        "assert code == 0, code\n"
        "from sg4v_jax.evals.benchmarks import BENCHMARKS, open_benchmark\n"
        "assert all(map(open_benchmark, BENCHMARKS))\n"
        "assert not {'jax', 'jaxlib', 'flax'} & set(sys.modules), 'jax is loaded'\n"
    )
    flags = [f"--{k}={tmp_path / v}" for k, v in (("data", "data"), ("predictions", "run"))]
    ran = subprocess.run(
        [sys.executable, "-c", code, "eval", "score", "--benchmark=mvbench", *flags]
        + [f"--out={tmp_path / 'cli'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "mvbench (official): micro of 1 of 20 tasks: 100.00" in ran.stdout
