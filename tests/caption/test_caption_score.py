"""Reports on caption files: what counts, what is left out and named, agreement with references."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.caption import score
from sg4v_jax.caption.caption_file import Captions, read_captions
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.world.dataset import make_dataset, read_truth


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_dataset(str(folder), videos=6, seed=0)
    return folder


def named(*names: str) -> list[str]:
    return [f"train-{name:0>6}" for name in names]


def test_the_worlds_own_captions_are_perfect(world):
    captions = read_captions(world / "captions.jsonl")
    report = score.score_world(captions, truth=world)
    values = {name: estimate.value for name, estimate in report.scores.items()}
    assert values.pop("details") > 0.8
    assert values == {"recall": 1, "precision": 1, "order": 1, "exact": 1, "hallucination": 0}
    assert report.problems == () and list(report.counts) == list(read_truth(str(world)))
    same = score.score_world(captions, truth=world / "truth.jsonl")
    assert same.counts == report.counts


def test_bad_rows_count_as_silence_and_strangers_not_at_all(world, tmp_path):
    rows = [json.loads(line) for line in (world / "captions.jsonl").read_text().splitlines()]
    rows = [{"id": row["id"], "caption": row["detailed"]} for row in rows]
    rows[1]["caption"] = " "
    rows[2] = {"id": rows[2]["id"], "caption": "", "error": "CorruptVideoError"}
    rows[4]["id"] = "stranger"
    rows.append(rows[0])
    file = tmp_path / "captions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    captions = read_captions(file)
    report = score.score_world(captions, truth=world)
    assert report.scores["recall"].value == 3 / 5 and report.scores["recall"].n == 5
    assert report.scores["precision"].value == 1
    assert [(p.kind, p.id) for p in report.problems] == [
        ("no truth", "stranger"),
        (score.UNCAPTIONED, *named("4")),
    ]
    whole = score.full_report(captions, report)
    kinds = {kind: found["count"] for kind, found in whole["problems"].items()}
    assert kinds == {"duplicate id": 1, "empty caption": 1, "failed": 1}
    assert [each["right"] for each in whole["each"]] == [2, 2, 2, 0, 0]
    assert json.loads(json.dumps(whole)) == whole


def test_files_of_other_videos(world):
    strangers = Captions("c.jsonl", {"x": "y"}, {"x": {}}, ())
    with pytest.raises(RecordError, match=r"c\.jsonl: none .* ids are like 'x', .* 'train-000000'"):
        score.score_world(strangers, truth=world)
    with pytest.raises(RecordError, match=r"truth\.jsonl: no such file"):
        score.score_world(strangers, truth=world / "videos")


def test_clips_of_one_video_are_one_cluster(world):
    captions = read_captions(world / "captions.jsonl")
    rows = {name: row | {"source": "one.mp4"} for name, row in captions.rows.items()}
    joined = Captions(captions.name, captions.texts, rows, ())
    assert score.score_world(captions, truth=world).scores["recall"].clusters == 6
    assert score.score_world(joined, truth=world).scores["recall"].clusters == 1


def test_agreement_takes_all_references_of_a_video(world):
    captions = read_captions(world / "captions.jsonl", fields=("detailed",))
    static = read_captions(world / "captions.jsonl", fields=("static",))
    own = score.score_agreement(captions, [captions])
    both = score.score_agreement(captions, [captions, static])
    other = score.score_agreement(captions, [static])
    assert own["cider_d"]["value"] == pytest.approx(10)
    assert own["cider_d"]["value"] > both["cider_d"]["value"] > other["cider_d"]["value"]
    assert (both["captions"], both["references"], both["tokens"]) == (6, 12, "own")
    with pytest.raises(ConfigError, match="tokens='words'"):
        score.score_agreement(captions, [captions], tokens="words")


class Silent:
    name = "silent"

    def describe(self, requests):
        return ["?" for _ in requests]


def test_a_judge_who_never_answers_in_form(world):
    captions = read_captions(world / "captions.jsonl")
    with pytest.raises(RecordError, match="judge silent gave no usable answer; first: not JSON"):
        score.score_judged(captions, references=captions, judge=Silent())


class Agreeing:
    """A judge for whom every reference has one event, and every caption tells it."""

    name = "agreeing"

    def describe(self, requests):
        told = json.dumps({"told": [{"event": "it moves", "is": 1}]})
        return ['{"events": ["it moves"]}' if r.id.endswith("#events") else told for r in requests]


def test_judged_scores(world):
    captions = read_captions(world / "captions.jsonl")
    report = score.score_judged(captions, references=captions, judge=Agreeing())
    assert {name: estimate.value for name, estimate in report.scores.items()} == {
        **dict.fromkeys(("recall", "precision", "exact"), 1.0),
        "hallucination": 0.0,
    }
    whole = score.full_report(captions, report, judge="agreeing")
    assert whole["each"][0]["events"] == ["it moves"] and whole["judge"] == "agreeing"
