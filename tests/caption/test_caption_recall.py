"""Recall of shots for known cuts."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.caption.shot_recall import Shot, read_cuts, recall, shots_of
from sg4v_jax.errors import RecordError


def test_shots_between_cuts():
    assert shots_of([5, 7], duration=10) == [Shot(0, 5), Shot(5, 7), Shot(7, 10)]
    assert shots_of([], duration=3) == [Shot(0, 3)]


def test_recall_counts_long_shots_with_a_key_frame():
    shots = {"a": shots_of([5, 7], duration=12), "b": shots_of([], duration=9), "c": [Shot(0, 1)]}
    found = recall({"a": [0, 5, 6.9], "b": []}, shots, longer_than=4.0)
    assert (found.found, found.shots, found.frames) == (1, 3, 3)
    assert found.missed == {"a": [Shot(7, 12)], "b": [Shot(0, 9)]}
    assert recall({"a": [0, 7], "b": [8.99]}, shots, longer_than=4.0).missed == {}
    assert recall({"a": [5.0]}, shots, longer_than=1.5).found == 1  # a shot starts at its cut


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"v": {"cuts": [3, 2], "duration": 9}}, r"v: cuts \[3, 2\] of 9 s do not rise"),
        ({"v": {"cuts": [3], "duration": 3}}, "do not rise"),
        ({"v": {"cuts": [3]}}, "v: KeyError"),
        ([], "not an object"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, value, message):
    (tmp_path / "cuts.json").write_text(json.dumps(value))
    with pytest.raises(RecordError, match=message):
        read_cuts(tmp_path / "cuts.json")


def test_a_file_of_cuts(tmp_path):
    (tmp_path / "cuts.json").write_text('{"v": {"cuts": [2.5], "duration": 4}}')
    assert read_cuts(tmp_path / "cuts.json") == {"v": [Shot(0, 2.5), Shot(2.5, 4)]}
