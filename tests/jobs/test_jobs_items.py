from __future__ import annotations

import errno

import pytest

from sg4v_jax.errors import CorruptVideoError, RecordError, StorageError
from sg4v_jax.jobs.items import run_items

ITEMS = [{"id": name} for name in "abcdef"]


class Recorder:
    """Gives {"id", "tries"} for each item; `bad[id]` tells how a try of that item fails."""

    def __init__(self, bad=None):
        self.calls, self.tries, self.bad = [], {}, bad or {}

    def __call__(self, items):
        names = [item["id"] for item in items]
        self.calls.append("".join(names))
        for name in names:
            self.tries[name] = self.tries.get(name, 0) + 1
            if fault := self.bad.get(name, lambda n: None)(self.tries[name]):
                raise fault
        return [{"id": name, "tries": self.tries[name]} for name in reversed(names)]


def test_rows_come_in_the_order_of_items_and_batches_have_their_size():
    do = Recorder()
    rows = run_items(ITEMS, do, batch=4)
    assert [row["id"] for row in rows] == list("abcdef")
    assert do.calls == ["abcd", "ef"]
    assert run_items([], do) == []


def test_one_bad_item_spoils_no_other():
    do = Recorder({"c": lambda n: ValueError("no such colour")})
    rows = run_items(ITEMS, do, batch=3, attempts=3)
    good = [row for row in rows if "error" not in row]
    assert [row["id"] for row in good] == list("abdef")
    assert rows[2] == {"id": "c", "error": "ValueError: no such colour", "attempts": 3}
    assert do.calls == ["abc", "a", "b", "c", "def", "c", "c"]


def test_a_passing_fault_is_tried_again():
    do = Recorder({"b": lambda n: TimeoutError("slow") if n < 3 else None})
    rows = run_items(ITEMS[:2], do, batch=1, attempts=3)
    assert rows == [{"id": "a", "tries": 1}, {"id": "b", "tries": 3}]
    do = Recorder({"b": lambda n: TimeoutError("slow") if n < 3 else None})
    assert run_items(ITEMS[:2], do, batch=1, attempts=2)[1]["attempts"] == 2


def test_bad_input_is_not_tried_again():
    do = Recorder({"a": lambda n: CorruptVideoError("a.mp4: cut off")})
    rows = run_items(ITEMS[:1], do, attempts=5)
    assert rows == [{"id": "a", "error": "CorruptVideoError: a.mp4: cut off", "attempts": 1}]
    assert do.calls == ["a"]


def test_rows_that_tell_of_an_error_are_failures_and_keep_their_fields():
    calls = []

    def do(items):
        calls.append([item["id"] for item in items])
        return [
            {"id": i["id"], "error": None if i["id"] == "a" else "empty", "n": 1} for i in items
        ]

    rows = run_items(ITEMS[:2], do, attempts=2)
    assert rows[0] == {"id": "a", "error": None, "n": 1}
    assert rows[1] == {"id": "b", "error": "empty", "n": 1, "attempts": 2}
    assert calls == [["a", "b"], ["b"]]


def test_items_without_a_row_and_rows_that_are_not_json():
    rows = run_items(
        ITEMS[:3], lambda items: [{"id": "b", "x": {1}}, {"id": "c", "x": float("inf")}]
    )
    assert rows[0] == {"id": "a", "error": "no row came back", "attempts": 3}
    assert "not JSON" in rows[1]["error"] and "not JSON" in rows[2]["error"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "z"}], "id 'z', which was not asked for"),
        ([{"id": "a"}] * 2, "two rows have id 'a'"),
    ],
)
def test_wrong_ids_are_a_fault_of_the_function(rows, message):
    with pytest.raises(RecordError, match=message):
        run_items(ITEMS[:2], lambda items: rows)


@pytest.mark.parametrize(
    "fault", [StorageError("disk full"), OSError(errno.ENOSPC, "disk full"), MemoryError()]
)
def test_faults_that_are_no_items_fault_end_the_work(fault):
    with pytest.raises(type(fault)):
        run_items(ITEMS, Recorder({"d": lambda n: fault}))
