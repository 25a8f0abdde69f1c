"""The list of what a run skipped: each record once, and a stop above the share."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.data.record import Note
from sg4v_jax.data.skips import SkipLog
from sg4v_jax.errors import RecordError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run" / "skipped.jsonl"


def lines(file) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def skipped(number: int, reason: str = "gone") -> Note:
    return Note(f"a.json: record 'v{number}'", "skipped", reason, 1)


def test_nothing_skipped_leaves_an_empty_file(file):
    log = SkipLog(file, total_records=10, max_share=0.01)
    log.index([])
    log.add([])
    assert file.read_text() == "" and not log.skipped
    assert [p.name for p in file.parent.iterdir()] == ["skipped.jsonl"]


def test_each_record_is_listed_once(file):
    log = SkipLog(file, total_records=100, max_share=0.5)
    log.index([("a.json: record 'v0'", "no frames")])
    log.add([skipped(1), skipped(1, "gone again")])
    log.add([skipped(1), skipped(0)])
    log.add(iter([skipped(2, "caf\u00e9\u2028\n")]))
    assert lines(file) == [
        {"record": "a.json: record 'v0'", "reason": "no frames"},
        {"record": "a.json: record 'v1'", "reason": "gone"},
        {"record": "a.json: record 'v2'", "reason": "caf\u00e9\u2028\n"},
    ]


def test_a_resumed_run_goes_on_with_the_list(file):
    first = SkipLog(file, total_records=100, max_share=0.02)
    first.index([("a.json: record 'v0'", "no frames")])
    first.add([skipped(1, "caf\u00e9\u2028"), Note("b", "substituted", "damage", 3)])
    again = SkipLog(file, total_records=100, max_share=0.02)
    assert (again.skipped, again.substituted) == (first.skipped, first.substituted)
    again.index([("a.json: record 'v0'", "no frames")])
    again.add([skipped(1)])
    assert len(lines(file)) == 2
    with pytest.raises(RecordError, match="3 of 100 records"):
        again.add([skipped(2)])


def test_above_the_share_the_run_stops_and_names_the_first(file):
    log = SkipLog(file, total_records=200, max_share=0.01)
    log.add([skipped(0), skipped(1, "a.json: record 'v1' is cut")])  # exactly 1 %
    with pytest.raises(RecordError) as caught:
        log.add([skipped(2), skipped(3)])
    message = caught.value.message
    assert "4 of 200 records cannot be used, more than 1.0% of them" in message
    assert "a.json: record 'v0': gone; a.json: record 'v1' is cut; a.json: record 'v2'" in message
    assert "'v3'" not in message
    assert str(file) in caught.value.mend and "data.max_skipped" in caught.value.mend
    assert len(lines(file)) == 4  # they are in the file before the run stops


def test_the_index_pass_counts_too(file):
    log = SkipLog(file, total_records=100, max_share=0.01)
    with pytest.raises(RecordError, match="2 of 100 records cannot be used"):
        log.index([(f"a.json: record 'v{i}'", "gone") for i in range(2)])


def test_substituted_frames_are_counted_and_stop_nothing(file):
    log = SkipLog(file, total_records=1, max_share=0.0)
    log.index([])
    for _ in range(2):  # the next epoch says the same again
        log.add([Note("a", "substituted", "damage", 2), Note("b", "substituted", "damage", 1)])
    assert log.substituted == {"a": 2, "b": 1}
    beside = [{"record": "a", "frames": 2}, {"record": "b", "frames": 1}]
    assert lines(file.parent / "substituted.jsonl") == beside
    assert file.read_text() == ""


def test_a_list_that_was_edited_by_hand(file):
    file.parent.mkdir()
    file.write_text('{"record": "a"}\n')
    with pytest.raises(RecordError, match="skipped.jsonl: line 1: no 'record' or no 'reason'"):
        SkipLog(file, total_records=1, max_share=1.0)
