"""`gs://` addresses, with a bucket in memory standing in for the cloud (`gcs_stand_in.py`).

What this proves is that nothing goes around the path layer; the cloud itself was not asked.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from sg4v_jax import files, jobs
from sg4v_jax.batch import Batch
from sg4v_jax.caption.bridge import proof
from sg4v_jax.caption.bridge.build import build
from sg4v_jax.caption.bridge.work import Making
from sg4v_jax.data.index import build_index
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.pipeline import batches
from sg4v_jax.data.readers import READERS, read_llava_json
from sg4v_jax.data.record import Note
from sg4v_jax.data.rows import Rows
from sg4v_jax.data.skips import SkipLog
from sg4v_jax.data.store import catalog, read
from sg4v_jax.data.store.write import write_shards
from sg4v_jax.errors import RecordError, StorageError, WorkdirError
from sg4v_jax.text.tokenizer import Tokenizer, train_byte_bpe
from sg4v_jax.train import overview, workdir
from sg4v_jax.train.metrics import MetricsLog
from sg4v_jax.train.metrics import read as read_metrics
from sg4v_jax.video.anyres import AnyRes
from sg4v_jax.world.dataset import make_dataset
from tests import gcs_stand_in


@pytest.fixture
def bucket(monkeypatch, tmp_path) -> str:
    """An address in an empty bucket; what is fetched of it goes below `tmp_path`."""
    gcs_stand_in.install()
    monkeypatch.setenv("SG4V_CACHE", str(tmp_path / "cache"))
    read._open.cache_clear()
    read._catalog.cache_clear()
    return "gs://bucket/runs"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three rendered videos, how they are shown, and a tokenizer."""
    out = tmp_path_factory.mktemp("world")
    make_dataset(str(out), videos=3, seed=5)
    records = read_llava_json(out / "train.json", root=out)
    spec = InputSpec(
        anyres=AnyRes.standard(16, patches=2),
        visual="anyres",
        frames=16,
        band=8,
        longest_side=0,
        template="llama_3_bare",
        preamble="",
    )
    texts = [turn.content for record in records for turn in record.turns]
    return records, spec, train_byte_bpe(texts, vocab_size=320)


def test_files_are_written_read_and_appended(bucket):
    name = f"{bucket}/a/b.json"
    files.write_json(name, {"a": "Größe"})
    assert files.read_json(name) == {"a": "Größe"}
    files.append(f"{bucket}/log", "one\n")
    files.append(f"{bucket}/log", "two\n")
    assert files.path(f"{bucket}/log").read_text() == "one\ntwo\n"
    with pytest.raises(RecordError, match=r"gs://bucket/runs/none: no such file"):
        files.read_json(f"{bucket}/none")


def test_a_local_file_is_put_there_whole(bucket, tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    files.put(tmp_path / "x", f"{bucket}/deep/x")
    assert files.path(f"{bucket}/deep/x").read_bytes() == b"12345"


def test_a_working_directory_belongs_to_its_config(bucket):
    workdir.claim(bucket, {"data": {"positions": 512}})
    workdir.claim(bucket, {"data": {"positions": 512}})
    with pytest.raises(WorkdirError, match="data.positions: 512 there, 400 now"):
        workdir.check(bucket, {"data": {"positions": 400}})


def test_metrics_go_on_where_the_checkpoint_was(bucket):
    file = f"{bucket}/metrics.jsonl"
    log = MetricsLog(file, step=0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 1.5})
    MetricsLog(file, step=2).write({"step": 3, "loss": 9.0})
    assert [(r["step"], r["loss"]) for r in read_metrics(file)] == [(1, 1.5), (2, 1.5), (3, 9.0)]


def test_skipped_records_and_the_parameter_overview(bucket):
    log = SkipLog(f"{bucket}/skipped.jsonl", total_records=100, max_share=0.5)
    log.index([("a.json: record '1'", "gone")])
    log.add([Note("a.json: record '2'", "substituted", "lost", 3)])
    again = SkipLog(f"{bucket}/skipped.jsonl", total_records=100, max_share=0.5)
    assert again.skipped == {"a.json: record '1'": "gone"}
    assert again.substituted == {"a.json: record '2'": 3}
    line = overview.Line("a", (2, 3), "float32", "all", True, 24, 24, 48)
    overview.write(bucket, [line])
    [told] = files.read_json(f"{bucket}/{overview.JSON}")["parameters"]
    assert told["name"] == "a" and told["slot_bytes"] == 48
    assert "a" in files.path(f"{bucket}/{overview.TEXT}").read_text()


def test_tokenizers(bucket, data):
    tokenizer = data[2]
    tokenizer.save(f"{bucket}/model/tokenizer.json")
    back = Tokenizer.from_file(f"{bucket}/model/tokenizer.json")
    assert back.digest() == tokenizer.digest()


def test_jobs(bucket):
    store = jobs.open_store(f"{bucket}/job")
    jobs.begin(store, [{"id": str(i)} for i in range(5)], shard_size=2)
    jobs.work(store, lambda items: [{"id": i["id"], "error": None} for i in items])
    assert [row["id"] for row in jobs.merge(store)] == list("01234")


@pytest.fixture
def stored(bucket, data) -> str:
    """A store in the bucket."""
    records, spec, _ = data
    write_shards(records, out=f"{bucket}/store", spec=spec, shards=2, workers=0)
    return f"{bucket}/store"


def test_a_store_is_made_and_read_there(stored, data, tmp_path):
    records, spec, tokenizer = data
    names = {p.name for p in files.path(stored).iterdir()}
    assert catalog.STORE in names and len([n for n in names if "array_record" in n]) == 2
    back = READERS["arrayrecord"](stored, root="")
    cache = "gs://bucket/runs/index/train.json"
    rows = []
    for found in (records, back):
        index = build_index(found, spec=spec, tokenizer=tokenizer, cache=cache)
        budget = Budget(512, 15, 160)
        rows.append(
            Rows(index, spec=spec, tokenizer=tokenizer, budget=budget, batch_rows=2, seed=0)
        )
    assert files.path(cache).exists()
    want, got = (list(batches(r, start=0, stop=2)) for r in rows)
    for a, b in zip(got, want, strict=True):
        assert not a.notes and isinstance(a.batch, Batch)
        assert all(np.array_equal(x, y) for x, y in zip(a.batch, b.batch, strict=True))
    fetched = [p for p in (tmp_path / "cache" / "arrayrecord").iterdir() if p.suffix != ".lock"]
    assert len(fetched) == 2  # each shard once, whatever was read of it


def test_a_shard_that_comes_damaged_is_refused_and_not_kept(stored, data, tmp_path):
    [shard] = [p for p in files.path(stored).iterdir() if "00000-of" in p.name]
    content = bytearray(shard.read_bytes())
    content[70_000] ^= 1
    shard.write_bytes(bytes(content))
    record = READERS["arrayrecord"](stored, root="")[0]
    with pytest.raises(StorageError, match="checksum"):
        data[1].show(record.visuals[0])
    left = list((tmp_path / "cache" / "arrayrecord").iterdir())
    assert [p.suffix for p in left] == [".lock"]


def test_a_store_that_is_copied_to_the_bucket_by_other_means(bucket, data, tmp_path):
    records, spec, _ = data
    write_shards(records, out=tmp_path / "s", spec=spec, workers=0)
    for path in (tmp_path / "s").iterdir():
        files.put(path, f"{bucket}/copied/{path.name}")
    back = READERS["arrayrecord"](f"{bucket}/copied/store.json", root="")
    np.testing.assert_array_equal(
        spec.show(back[0].visuals[0]).tiles, spec.show(records[0].visuals[0]).tiles
    )
    value = json.loads(files.path(f"{bucket}/copied/store.json").read_text())
    value["shards"][0]["file"] = "../store/x"
    files.write_json(f"{bucket}/copied/store.json", value)
    with pytest.raises(RecordError, match="leaves its root"):
        READERS["arrayrecord"](f"{bucket}/copied", root="")


def test_captions_are_built_in_a_bucket(bucket, tmp_path):
    rows = [
        {"id": f"v{i}", "video": f"{i}.mp4", "caption": f"A dog {i}. It runs."} for i in range(9)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    files.write_atomic(f"{bucket}/captions.jsonl", lines)
    (tmp_path / "captions.jsonl").write_text(lines)
    arms = ("detailed", "first_n_sentences:1")
    making = Making(source="", target="llava_json", styles=arms)
    for where in (bucket, str(tmp_path)):
        report = build(f"{where}/captions.jsonl", making, out=f"{where}/arms", slice_size=100)
        assert report["records"] == 9
        [found] = proof.write(f"{where}/arms", report)
        assert found.text_alone and found.texts == 9
    names = {p.name for p in (tmp_path / "arms").iterdir()}
    assert {p.name for p in files.path(f"{bucket}/arms").iterdir()} == names
    for name in names:
        there = files.path(f"{bucket}/arms/{name}").read_bytes()
        assert there == (tmp_path / "arms" / name).read_bytes()


@pytest.mark.slow
def test_a_whole_run_lives_in_a_bucket_and_goes_on_there(tiny, trained):
    # In a process of its own: TensorStore asks once where the cloud is.
    done = tiny.run(str(tiny.config_file), "gs://bucket/run", program=("-m", "tests.gcs_stand_in"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = {name.removeprefix("/bucket/run/") for name in found["objects"]}
    wanted = ("config.json", "metrics.jsonl", "skipped.jsonl", "parameters.txt", "model.json")
    assert {*wanted, "tokenizer.json", "index/train.json"} <= names
    assert any(name.startswith("checkpoints/12/trained/") for name in names)
    assert "resume at step 4 of 12" in done.stderr
    # The same losses as an uninterrupted run on the local disk.
    local = [json.loads(x) for x in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in found["log"]] == [row["loss"] for row in local]
