from __future__ import annotations

import pytest

from sg4v_jax.errors import ConfigError, RecordError, WorkdirError
from sg4v_jax.jobs import Manifest, begin

ITEMS = [{"id": f"clip-{i}", "video": f"{i}.mp4"} for i in range(5)]


def test_shards_hold_the_items_in_order(store):
    manifest = begin(store, ITEMS, shard_size=2, settings={"model": "m"})
    assert [(s.name, s.count) for s in manifest.shards] == [
        ("00000", 2),
        ("00001", 2),
        ("00002", 1),
    ]
    assert manifest.items == 5
    assert manifest == Manifest.load(store)
    assert [i for s in manifest.shards for i in manifest.read_items(store, s)] == ITEMS


def test_the_same_job_again_is_the_same(store):
    first = begin(store, ITEMS, shard_size=2, settings={"a": 1, "b": (1, 2)})
    assert begin(store, iter(ITEMS), shard_size=2, settings={"b": [1, 2], "a": 1}) == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"model": "other"}}, "settings.model: 'm' there, 'other' now"),
        ({"settings": {}}, "settings.model: 'm' there, None now"),
        ({"shard_size": 3}, "shard_size: 2 there, 3 now"),
        ({"items": ITEMS[:4]}, "items: 5 there, 4 now"),
        ({"items": [*ITEMS[:3], {"id": "new"}, ITEMS[4]]}, "item 4: .*clip-3.* there, .*new.* now"),
    ],
)
def test_another_job_is_refused_with_the_difference(store, change, message):
    begin(store, ITEMS, shard_size=2, settings={"model": "m"})
    arguments = {"items": ITEMS, "shard_size": 2, "settings": {"model": "m"}} | change
    with pytest.raises(WorkdirError, match=message):
        begin(store, arguments.pop("items"), **arguments)
    assert Manifest.load(store).settings == {"model": "m"}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"id": "a"}, {"id": "b"}, {"id": "a"}], "items 1 and 3 have the same id 'a'"),
        ([{"id": "a"}, {"name": "b"}], "item 2: field 'id': None"),
        ([{"id": ""}], "item 1: field 'id': ''"),
        ([{"id": 7}], "item 1: field 'id': 7"),
        ([{"id": "a", "x": float("nan")}], "item 1 .'a'.*not JSON|item 1 .'a'"),
        ([{"id": "a", "x": {1, 2}}], "item 1 .'a'"),
        (["a"], "item 1: field 'id'"),
    ],
)
def test_items_that_cannot_be_used(store, items, message):
    with pytest.raises(RecordError, match=message):
        begin(store, items, shard_size=2)
    assert store.names("") == []


def test_bad_shard_size_and_settings(store):
    with pytest.raises(ConfigError, match="shard_size: 0"):
        begin(store, ITEMS, shard_size=0)
    with pytest.raises(ConfigError, match="settings"):
        begin(store, ITEMS, shard_size=1, settings={"f": object()})


def test_a_changed_or_missing_shard_file_is_found(store):
    manifest = begin(store, ITEMS, shard_size=2)
    name = f"shards/{store.names('shards')[1]}"
    store.write(name, store.read(name).replace(b"clip-2", b"clip-9"))
    with pytest.raises(RecordError, match=f"{name} was changed"):
        manifest.read_items(store, manifest.shards[1])
    store.delete(name)
    with pytest.raises(RecordError, match=f"{name} is missing"):
        manifest.read_items(store, manifest.shards[1])


def test_no_job_and_a_damaged_one(store):
    with pytest.raises(RecordError, match=r"no job in .*manifest.json"):
        Manifest.load(store)
    store.write("manifest.json", b'{"version": 1, "settings"')
    with pytest.raises(RecordError, match="is damaged"):
        Manifest.load(store)
    store.write("manifest.json", b'{"version": 99}')
    with pytest.raises(RecordError, match="version 99"):
        Manifest.load(store)


def test_an_empty_job(store):
    manifest = begin(store, [], shard_size=4)
    assert manifest.shards == () and Manifest.load(store) == manifest
