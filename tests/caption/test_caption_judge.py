"""Events through a judge: what it is asked, strict answers, and replay."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.caption.judge import ReplayJudge, judge_events, read_events, read_told
from sg4v_jax.errors import RecordError

REFERENCES = {
    "fox": "A fox runs right. Then it jumps.",
    "calm": "A lake.",
    "rover": "A rover leaves, and a ship lands.",
    "bad": "A dog barks.",
}
CAPTIONS = {
    "fox": "It jumps, then runs right, and it sleeps.",
    "calm": "A lake. A bird lands.",
    "rover": "",
    "bad": "A dog.",
    "more": "No reference.",
}
EVENTS = {
    "fox": ["a fox runs right", "the fox jumps"],
    "calm": [],
    "rover": ["a rover leaves", "a ship lands"],
    "bad": ["a dog barks"],
}
TOLD = {
    "fox": [("jumps", 2), ("runs right", 1), ("sleeps", None)],
    "calm": [("a bird lands", None)],
}


class Judge:
    """Answers by the tables above; `bad` gets no answer in form, `calm` one only when told so."""

    name = "told"

    def __init__(self):
        self.asked = []

    def describe(self, requests):
        self.asked.append([r.id for r in requests])
        return [self._answer(r) for r in requests]

    def _answer(self, request):
        name, kind = request.id.split("#")
        assert not request.images
        if kind == "events":
            assert REFERENCES[name] in request.prompt
            return json.dumps({"events": EVENTS[name]})
        assert CAPTIONS[name] in request.prompt
        assert all(f"{i}. {e}" in request.prompt for i, e in enumerate(EVENTS[name], 1))
        if name == "bad" or name == "calm" and "could not be used" not in request.prompt:
            return "I cannot say."
        told = [{"event": event, "is": number} for event, number in TOLD[name]]
        return "```json\n" + json.dumps({"told": told}) + "\n```"


def test_counts_come_from_what_the_judge_says():
    judge = Judge()
    judged = judge_events(CAPTIONS, REFERENCES, judge=judge)
    fox = judged.counts["fox"]
    assert (fox.told, fox.right, fox.true, fox.ordered, fox.exact) == (3, 2, 2, 0, 0)
    assert judged.evidence["fox"]["told"][0] == {"event": "jumps", "is": 1}
    calm, rover = judged.counts["calm"], judged.counts["rover"]
    assert (calm.told, calm.right, calm.true, calm.astray) == (1, 0, 0, 1)
    assert (rover.told, rover.true) == (0, 2)
    assert [(p.kind, p.id) for p in judged.problems] == [("not judged", "bad")]
    assert "not JSON" in judged.problems[0].where
    assert set(judged.counts) == {"fox", "calm", "rover"}
    assert judge.asked == [
        [f"{name}#events" for name in ("fox", "calm", "rover", "bad")],
        ["fox#told", "calm#told", "bad#told"],
        ["calm#told", "bad#told"],
    ]


def test_no_common_video():
    with pytest.raises(RecordError, match="no caption has a reference"):
        judge_events({"a": "x"}, {"b": "y"}, judge=Judge())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"events": "a"}',
        '{"events": [1]}',
        '{"events": [" "]}',
        '{"events": [], "note": ""}',
        'Here it is: {"events": []}',
        '{"events": ["a"]',
    ],
)
def test_events_in_another_form_are_refused(text):
    with pytest.raises(RecordError):
        read_events("x", text)


@pytest.mark.parametrize(
    "entry",
    [
        '{"event": "a"}',
        '{"event": "a", "is": 0}',
        '{"event": "a", "is": 3}',
        '{"event": "a", "is": "1"}',
        '{"event": "a", "is": true}',
        '{"event": "a", "is": 1.0}',
        '{"event": null, "is": 1}',
        '{"event": "a", "is": 1, "why": ""}',
        '"a"',
    ],
)
def test_told_in_another_form_is_refused(entry):
    with pytest.raises(RecordError):
        read_told(f'{{"told": [{entry}]}}', true=2)


def test_told_in_form():
    text = '{"told": [{"event": "a", "is": 2}, {"event": "b", "is": null}]}'
    assert read_told(text, true=2) == [("a", 1), ("b", None)]
    assert read_told(f"```json\n{text}\n```\n", true=2) == [("a", 1), ("b", None)]
    assert read_told('{"told": []}', true=0) == []


def test_replay_gives_the_same_and_asks_nobody(tmp_path):
    log, first = tmp_path / "log.jsonl", Judge()
    live = judge_events(CAPTIONS, REFERENCES, judge=ReplayJudge(log, behind=first))
    assert judge_events(CAPTIONS, REFERENCES, judge=ReplayJudge(log)) == live
    again = Judge()
    assert judge_events(CAPTIONS, REFERENCES, judge=ReplayJudge(log, behind=again)) == live
    assert again.asked == [] and first.asked
    with pytest.raises(RecordError, match="1 questions have no answer, the first is fox#told"):
        judge_events(CAPTIONS | {"fox": "Other."}, REFERENCES, judge=ReplayJudge(log))


def test_replay_files_that_are_none(tmp_path):
    with pytest.raises(RecordError, match="no such file"):
        ReplayJudge(tmp_path / "none.jsonl")
    (tmp_path / "log.jsonl").write_text('{"question": 1}\n')
    with pytest.raises(RecordError, match="record 1: needs question and answer"):
        ReplayJudge(tmp_path / "log.jsonl")
