"""Question files in every published form, with the dirt of the published ones."""

from __future__ import annotations

import os

import pytest

from sg4v_jax.errors import ConfigError, RecordError, UnsafePathError
from sg4v_jax.evals import mvbench, tempcompass, videobench, videochatgpt
from sg4v_jax.evals.benchmarks import BENCHMARKS, get_protocol, open_benchmark
from sg4v_jax.evals.questions import subset
from sg4v_jax.evals.tempcompass.questions import FINE_ASPECTS
from sg4v_jax.video.sampling import sample_indices
from tests.evals import made_up


def by_id(loaded):
    return {q.id: q for q in loaded.questions}


def test_tempcompass(tmp_path):
    loaded = tempcompass.load(made_up.tempcompass(tmp_path))
    assert loaded.found == dict(zip(made_up.TEMPCOMPASS_TASKS, (10, 10, 10, 20), strict=True))
    assert loaded.expected == dict(
        zip(made_up.TEMPCOMPASS_TASKS, (1580, 2453, 1503, 2004), strict=True)
    )
    assert "multi-choice.json: 10 questions, the published file has 1580: cut short" in " ".join(
        loaded.warnings
    )
    one = by_id(loaded)["multi-choice/101_reverse/order/0"]
    assert (one.group, one.video, one.gold) == ("order", "videos/101_reverse.mp4", "B. blue")
    assert one.extra["fine"] == "order"
    assert by_id(loaded)["yes_no/100/speed/0"].extra["fine"] == "relative speed"


def test_a_captions_gold_is_the_first_multiple_choice_row(tmp_path):
    loaded = tempcompass.load(made_up.tempcompass(tmp_path), tasks=["captioning"])
    one = by_id(loaded)["captioning/101_reverse/action/0"]
    assert one.gold == "B. blue" and one.extra["answer"] == "D. other"
    assert one.extra["mc_question"].startswith("What action?")
    assert loaded.found == {"captioning": 20}


def test_tempcompass_finds_videos_where_the_original_has_them(tmp_path):
    made_up.tempcompass(tmp_path)
    (tmp_path / "video").mkdir()
    assert tempcompass.load(tmp_path).questions[0].video == "video/100.mp4"
    (tmp_path / "videos").mkdir()
    assert tempcompass.load(tmp_path).questions[0].video == "videos/100.mp4"


def test_tempcompass_without_facts_has_no_fine_aspects(tmp_path):
    made_up.tempcompass(tmp_path)
    (tmp_path / "meta_info.json").unlink()
    loaded = tempcompass.load(tmp_path)
    assert "fine" not in loaded.questions[0].extra
    assert "meta_info.json is not there" in loaded.warnings[0]


def test_the_same_number_of_other_questions_is_noticed(tmp_path, monkeypatch):
    made_up.tempcompass(tmp_path)
    published = dict.fromkeys(made_up.TEMPCOMPASS_TASKS, (1, 3, 2, 2, 2))
    monkeypatch.setattr("sg4v_jax.evals.tempcompass.questions.PUBLISHED", published)
    loaded = tempcompass.load(tmp_path, tasks=["yes_no"])
    assert loaded.warnings == ("yes_no.json: another number of questions on action, direction",)


BROKEN = [
    ("[]", "holds a list, not an object"),
    ('{"1": [', "not JSON"),
    ('{"1": []}', "video '1': \\[\\] is not an object of aspects"),
    ('{"1": {"speed": {}}}', "video '1': speed: {} is not a list"),
    ('{"1": {"speed": ["x"]}}', "video '1': speed 0: 'x' is not an object"),
    ('{"1": {"speed": [{"question": "a"}]}}', "field 'answer' is None"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_broken_files_are_named(tmp_path, text, message):
    made_up.tempcompass(tmp_path)
    (tmp_path / "questions" / "yes_no.json").write_text(text)
    with pytest.raises(RecordError, match=f"yes_no.json.*{message}"):
        tempcompass.load(tmp_path)


def test_videos_may_not_leave_their_folder(tmp_path):
    made_up.dump(
        tmp_path / "questions" / "yes_no.json",
        {"../../x": {"speed": [{"question": "a", "answer": "yes"}]}},
    )
    with pytest.raises(UnsafePathError):
        tempcompass.load(tmp_path, tasks=["yes_no"])
    made_up.dump(tmp_path / "json" / "state_change.json", [made_up.mvbench_row(0, video="../x")])
    with pytest.raises(UnsafePathError):
        mvbench.load(tmp_path, tasks=["state_change"])
    rows = {"1": made_up.videobench_row("MOT", vid_path="/etc/passwd")}
    made_up.dump(tmp_path / "Eval_QA" / "MOT_QA_new.json", rows)
    with pytest.raises(UnsafePathError):
        videobench.load(tmp_path, tasks=["MOT"])


def test_mvbench(tmp_path):
    made_up.mvbench(tmp_path)
    loaded = mvbench.load(tmp_path, tasks=["AS", "Object Existence"])
    assert loaded.found == {"action_sequence": 3, "object_existence": 3}
    first = loaded.questions[0]
    assert first.id == "action_sequence/0" and first.gold == "(B) blue"
    assert first.video == "video/star/Charades_v1_480/v0.mp4"
    assert first.bounds == (1.0, 3.5) and first.fps is None
    assert loaded.questions[3].bounds is None
    assert loaded.warnings[0].startswith("action_sequence.json: 3 questions, the published file")


@pytest.mark.parametrize(
    ("place", "bounds"),
    [
        ("video/star/Charades_v1_480/v0.mp4", (1.0, 3.5)),
        ("video/data0613/star/Charades_v1_480/v0.mp4", (1.0, 3.5)),
        ("star/Charades_v1_480/v0.mp4", (1.0, 3.5)),
        ("star/Charades_segment/v0.mp4", None),  # cut already
    ],
)
def test_mvbench_finds_videos_of_both_branches(tmp_path, place, bounds):
    made_up.mvbench(tmp_path)
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    first = mvbench.load(tmp_path, tasks=["action_sequence"]).questions[0]
    assert (first.video, first.bounds) == (place, bounds)


def test_other_endings_of_the_converted_branch(tmp_path):
    made_up.dump(
        tmp_path / "json" / "action_antonym.json", [made_up.mvbench_row(0, video="7.webm")]
    )
    (tmp_path / "ssv2_video_mp4").mkdir()
    (tmp_path / "ssv2_video_mp4" / "7.mp4").touch()
    [one] = mvbench.load(tmp_path, tasks=["AA"]).questions
    assert one.video == "ssv2_video_mp4/7.mp4"


def test_frame_folders_have_three_frames_a_second(tmp_path):
    row = made_up.mvbench_row(0, video="house_s01", start=5, end=20)
    made_up.dump(tmp_path / "json" / "episodic_reasoning.json", [row])
    [one] = mvbench.load(tmp_path, tasks=["ER"]).questions
    assert one.video == "video/tvqa/frames_fps3_hq/house_s01"
    assert (one.bounds, one.fps) == ((5.0, 20.0), 3.0)


VECTORS = [
    (100, None, None, 0, [3, 9, 15, 22, 28, 34, 40, 46, 53, 59, 65, 71, 77, 83, 90, 96]),
    (100, 25, (1.0, 3.5), 0, [26, 30, 34, 38, 42, 46, 50, 54, 58, 61, 65, 69, 73, 77, 81, 85]),
    (180, 3, (5, 20), 1, [16, 19, 22, 24, 27, 30, 33, 36, 38, 41, 44, 47, 50, 53, 55, 58]),
    (10, None, None, 0, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8, 8]),
]


@pytest.mark.parametrize(("total", "fps", "bounds", "first", "wanted"), VECTORS)
def test_the_frames_of_mvbench(total, fps, bounds, first, wanted):
    found = sample_indices(total, rule="mvbench", fps=fps, bounds=bounds, first=first)
    assert [i + first for i in found] == wanted


@pytest.mark.parametrize("wanted", [VECTORS[0], VECTORS[3]])
def test_the_frames_of_tempcompass(wanted):
    assert sample_indices(wanted[0], rule="tempcompass") == wanted[-1]


def test_an_answer_that_is_no_candidate_is_nobodys(tmp_path):
    rows = [made_up.mvbench_row(0, answer="pink")]
    made_up.dump(tmp_path / "json" / "state_change.json", rows)
    loaded = mvbench.load(tmp_path, tasks=["SC"])
    assert loaded.questions[0].gold == "(@) pink"
    assert "row 0: the answer is none of the candidates" in loaded.warnings[1]


def test_videobench_with_its_dirty_rows(tmp_path):
    loaded = videobench.load(made_up.videobench(tmp_path))
    found = by_id(loaded)
    assert len(loaded.questions) == 2 * 13 + 2 + 1 + 2
    assert sum(loaded.expected.values()) == 17_036
    assert found["ActivityNet/one"].options == ("only",)
    assert found["ActivityNet/null"].options == ("x", "None", "None")
    assert found["TGIF/FRAMEQA39731"].options == ("1", "2")
    assert found["TGIF/FRAMEQA39731"].gold == "(B) 2"
    assert found["MSVD/45437"].options == ("a", "b", "c", "d")
    assert found["MSVD/47609"].gold == "(B) Two"  # and not the A that leaked
    assert found["MSRVTT/7"].extra["video_id"] == 12
    assert found["NBA/7"].group == "Prior-Knowledge QA"
    assert found["NBA/7"].video == "Eval_video/NBA/x.mp4"


def test_videobench_without_answers_loads_and_says_so(tmp_path):
    loaded = videobench.load(made_up.videobench(tmp_path, answers=False), tasks=["MOT"])
    assert loaded.questions[0].gold == ""
    assert "2 questions without an answer" in loaded.warnings[1]


def test_videobench_answers_of_another_folder_or_file(tmp_path):
    made_up.videobench(tmp_path / "head", answers=False)
    made_up.videobench(tmp_path / "old")
    os.rename(tmp_path / "old" / "answers", tmp_path / "then")
    loaded = videobench.load(tmp_path / "head", tasks=["MOT"], answers=str(tmp_path / "then"))
    assert loaded.questions[0].gold == "(B) Two"
    with pytest.raises(ConfigError, match="no such folder"):
        videobench.load(tmp_path / "head", answers=str(tmp_path / "nowhere"))
    name = tmp_path / "then" / "MOT_QA_new.json"
    name.write_text(name.read_text().replace("Which song?", "What else?"))
    with pytest.raises(RecordError, match="MOT_QA_new.json: 7: .* another question here"):
        videobench.load(tmp_path / "head", tasks=["MOT"], answers=str(tmp_path / "then"))


def test_videochatgpt(tmp_path):
    loaded = videochatgpt.load(made_up.videochatgpt(tmp_path))
    assert [q.id for q in loaded.questions] == [
        "generic/v_a_0",
        "generic/v_a_1",
        "generic/v_b_0",
        "temporal/v_a_0",
        "consistency/v_b_0/1",
        "consistency/v_b_0/2",
    ]
    assert loaded.expected == {"generic": 1996, "temporal": 499, "consistency": 998}
    assert loaded.questions[-1].text == "Isn't it?"


@pytest.mark.parametrize("place", ["Test_Videos/v_a.mkv", "videos/v_a.avi", "v_a.mov"])
def test_videochatgpt_probes_for_its_videos(tmp_path, place):
    made_up.videochatgpt(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()
    assert videochatgpt.load(tmp_path).questions[0].video == place


def test_missing_files_and_unknown_names(tmp_path):
    for name in BENCHMARKS:
        with pytest.raises(RecordError, match="no such file"):
            open_benchmark(name).load(tmp_path)
        with pytest.raises(ConfigError, match="'nothing' is unknown"):
            open_benchmark(name).load(tmp_path, tasks=["nothing"])
        with pytest.raises(ConfigError, match="protocol 'x' is unknown"):
            get_protocol(name, "x")
    with pytest.raises(ConfigError, match="benchmark 'x' is unknown"):
        open_benchmark("x")


def test_a_subset_is_spread_over_each_task(tmp_path):
    questions = tempcompass.load(made_up.tempcompass(tmp_path, videos=4)).questions
    few = subset(questions, limit=4)
    assert [q.id for q in few if q.task == "yes_no"] == [
        f"yes_no/{v}/action/0" for v in ("100", "101_reverse", "102", "103_reverse")
    ]
    assert len(few) == 16 and subset(questions, limit=1000) == questions
    with pytest.raises(ConfigError, match="limit: 0"):
        subset(questions, limit=0)


REAL = os.environ.get("SG4V_TEMPCOMPASS_DIR", "")


@pytest.mark.skipif(not REAL, reason="SG4V_TEMPCOMPASS_DIR names no copy of TempCompass")
def test_the_published_tempcompass_files():
    loaded = tempcompass.load(REAL)
    assert not loaded.warnings and loaded.found == loaded.expected
    fine = [q.extra["fine"] for q in loaded.questions if q.task == "multi-choice"]
    counts = {name: fine.count(name) for name in FINE_ASPECTS}
    assert list(counts.values()) == [153, 185, 243, 92, 124, 193, 302, 78, 132, 60, 18]
    captions = [q for q in loaded.questions if q.task == "captioning"]
    assert all(q.text.endswith("Generated Caption:") for q in captions)
    assert sum(q.gold != q.extra["answer"] for q in captions) == 148
