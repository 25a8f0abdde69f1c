"""The index pass is kept: nothing is opened twice, and nothing stale is believed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from sg4v_jax.data import index as index_module
from sg4v_jax.data.index import build_index
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.readers import read_llava_json
from sg4v_jax.errors import DecodeTimeoutError
from sg4v_jax.text.tokenizer import train_byte_bpe


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The files that were looked into."""
    names, real = [], InputSpec.visual_size

    def look(self, visual, **options):
        names.append(visual.path)
        return real(self, visual, **options)

    monkeypatch.setattr(InputSpec, "visual_size", look)
    return names


@pytest.fixture
def data(folder, tmp_path):
    """A copy of the data set, and what measures it with a cache."""
    copy = tmp_path / "data"
    shutil.copytree(folder, copy)
    return copy


def built(data, spec, tokenizer, cache, **options):
    records = read_llava_json(data / "train.json", root=data)
    return build_index(records, spec=spec, tokenizer=tokenizer, cache=cache, **options)


def same(a, b) -> bool:
    return (
        a.records == b.records
        and a.sizes == b.sizes
        and np.array_equal(a.lengths, b.lengths)
        and a.skipped == b.skipped
        and a.truncated == b.truncated
    )


def test_the_second_start_opens_nothing_and_finds_the_same(data, spec, tokenizer, tmp_path, opened):
    cache = tmp_path / "run" / "index.json"
    first = built(data, spec, tokenizer, cache)
    assert len(opened) == len(set(opened)) == 6
    opened.clear()
    again = built(data, spec, tokenizer, cache)
    assert opened == [] and same(first, again)
    assert same(again, built(data, spec, tokenizer, None))


def test_a_changed_video_is_opened_again_and_no_other(data, spec, tokenizer, tmp_path, opened):
    cache = tmp_path / "index.json"
    built(data, spec, tokenizer, cache)
    opened.clear()
    one, other = sorted((data / "videos").iterdir())[:2]
    shutil.copy(other, one)
    os.utime(one, ns=(1, 1))
    built(data, spec, tokenizer, cache)
    assert opened == [str(one)]


def test_a_broken_video_is_kept_as_broken_until_it_is_mended(
    data, spec, tokenizer, tmp_path, opened
):
    cache, victim = tmp_path / "index.json", min((data / "videos").iterdir())
    whole = victim.read_bytes()
    victim.unlink()
    first = built(data, spec, tokenizer, cache, max_skipped=0.5)
    assert first.skipped
    opened.clear()
    assert same(first, built(data, spec, tokenizer, cache, max_skipped=0.5)) and not opened
    victim.write_bytes(whole)
    assert not built(data, spec, tokenizer, cache).skipped
    assert opened == [str(victim)]


@pytest.mark.parametrize("what", ["spec", "tokenizer", "limit", "text"])
def test_other_settings_or_words_are_measured_anew(data, spec, tokenizer, tmp_path, opened, what):
    cache = tmp_path / "index.json"
    built(data, spec, tokenizer, cache)
    opened.clear()
    options = {}
    if what == "spec":
        spec = dataclasses.replace(spec, longest_side=100)
    elif what == "tokenizer":
        tokenizer = train_byte_bpe(["some other words"], vocab_size=300)
    elif what == "limit":
        options = dict(too_long="truncate", budget=Budget(100, 9, 99), max_skipped=1.0)
    else:
        rows = json.loads((data / "train.json").read_text())
        rows[0]["conversations"][-1]["value"] += " and more"
        (data / "train.json").write_text(json.dumps(rows))
    fresh = built(data, spec, tokenizer, None, **options)
    opened.clear()
    assert same(built(data, spec, tokenizer, cache, **options), fresh)
    assert len(opened) == (1 if what == "text" else 6)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 0}', '{"format":1,"records":[]}'])
def test_a_damaged_cache_counts_as_none(data, spec, tokenizer, tmp_path, opened, content):
    cache = tmp_path / "index.json"
    cache.write_text(content)
    assert same(built(data, spec, tokenizer, cache), built(data, spec, tokenizer, None))
    assert json.loads(cache.read_text())["format"] == 1


def test_damaged_entries_are_measured_again(data, spec, tokenizer, tmp_path):
    cache = tmp_path / "index.json"
    first = built(data, spec, tokenizer, cache)
    value = json.loads(cache.read_text())
    value["records"] = {k: [1] for k in value["records"]}
    cache.write_text(json.dumps(value))
    assert same(first, built(data, spec, tokenizer, cache))


def test_a_time_out_is_not_kept(data, spec, tokenizer, tmp_path, monkeypatch):
    cache, real, slow = tmp_path / "index.json", index_module.measure, []

    def measure(record, **options):
        if not slow:
            slow.append(record)
            raise DecodeTimeoutError("too slow")
        return real(record, **options)

    monkeypatch.setattr(index_module, "measure", measure)
    assert len(built(data, spec, tokenizer, cache, max_skipped=0.5).skipped) == 1
    assert not built(data, spec, tokenizer, cache).skipped


def test_a_cache_that_cannot_be_written_stops_nothing(data, spec, tokenizer, tmp_path):
    (tmp_path / "file").write_text("")
    built(data, spec, tokenizer, tmp_path / "file" / "index.json")
