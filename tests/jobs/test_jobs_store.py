from __future__ import annotations

import threading

import pytest

from sg4v_jax.errors import ConfigError, StorageError
from sg4v_jax.jobs import FsspecStore, LocalStore, open_store


def test_one_of_many_creators_wins_and_readers_see_whole_files(store):
    won, barrier = [], threading.Barrier(8)

    def race(number: int) -> None:
        barrier.wait()
        for name in range(20):
            if store.create(f"done/{name}", b"%d" % number * 1000):
                won.append((name, number))
            content = store.read(f"done/{name}")
            assert len(set(content)) == 1 and len(content) == 1000

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for name, _ in won) == list(range(20))
    assert all(store.read(f"done/{name}") == b"%d" % number * 1000 for name, number in won)


def test_files_by_name(store):
    assert store.names("parts") == []
    store.write("parts/b", b"1")
    store.write("parts/a", b"2")
    store.write("parts/a", b"3")
    assert store.names("parts") == ["a", "b"]
    assert store.read("parts/a") == b"3"
    assert "parts" in store.names("")
    store.delete("parts/a")
    store.delete("parts/a")
    assert store.names("parts") == ["b"]
    with pytest.raises(FileNotFoundError):
        store.read("parts/a")


def test_a_dead_writers_temporary_file_is_not_a_file(tmp_path):
    store = LocalStore(str(tmp_path))
    store.write("done/a.json", b"{}")
    (tmp_path / "done" / "b.json.tmp-77").write_bytes(b"{")
    assert store.names("done") == ["a.json"]


def test_a_create_whose_answer_was_lost_is_ours(generations):
    store = FsspecStore("generations://bucket/job")
    generations.lose_answers = 1
    assert store.create("claims/0", b"mine")
    assert not store.create("claims/0", b"another's")
    assert store.read("claims/0") == b"mine"


def test_fsspec_memory_file_system():
    store = open_store("memory://jobs-test")
    assert store.create("done/0", b"a") and not store.create("done/0", b"b")
    assert store.names("done") == ["0"] and store.read("done/0") == b"a"
    store.delete("done/0")
    assert store.names("done") == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///nowhere", "cannot create a file only if it is absent"),
        ("nosuch://x", "nosuch"),
    ],
)
def test_addresses_that_cannot_hold_a_job(url, message):
    with pytest.raises(ConfigError, match=message):
        open_store(url)


def test_a_full_disk_is_a_storage_error(tmp_path, small_disk):
    store = LocalStore(str(tmp_path))
    with small_disk(100), pytest.raises(StorageError, match="cannot write .*done/0"):
        store.create("done/0", b"x" * 1000)
    assert store.names("done") == []
    assert list((tmp_path / "done").iterdir()) == []
