"""Stores of rendered pictures: what training sees is the same to the bit; damage is named."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.data import check
from sg4v_jax.data.index import build_index
from sg4v_jax.data.mixture import Part, read_part
from sg4v_jax.data.pipeline import batches
from sg4v_jax.data.readers import READERS, read_llava_json
from sg4v_jax.data.store import catalog, example, read
from sg4v_jax.data.store.write import Renderer, write_shards
from sg4v_jax.errors import (
    ConfigError,
    RecordError,
    UnsafePathError,
    WorkdirError,
)


def read_store(folder):
    return READERS["arrayrecord"](folder, root="")


@pytest.fixture(scope="session")
def mixed(folder, records):
    """The rendered records, one of two pictures of unlike shapes, and one of words alone."""
    rng = np.random.default_rng(0)
    for name, shape in (("wide.png", (20, 61, 3)), ("tall.png", (50, 31, 3))):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / name)
    extra = [
        {
            "id": "pair",
            "image": ["wide.png", "tall.png"],
            "conversations": [
                {"from": "human", "value": "<image> and <image>?"},
                {"from": "gpt", "value": "Grün."},
            ],
        },
        {
            "id": "words",
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}],
        },
    ]
    (folder / "extra.json").write_text(json.dumps(extra))
    return [*records, *read_llava_json(folder / "extra.json", root=folder)]


@pytest.fixture(scope="session")
def store(mixed, spec, tmp_path_factory):
    """Four shards of views in PNG."""
    out = tmp_path_factory.mktemp("stores") / "views"
    write_shards(mixed, out=out, spec=spec, shards=4, codec="png", workers=0)
    return out


@pytest.fixture
def copy(store, tmp_path):
    """A copy of the store, to be damaged."""
    return pathlib.Path(shutil.copytree(store, tmp_path / "copy"))


def test_a_store_has_the_records_in_their_order(store, mixed):
    back = read_store(store)
    assert [(r.id, r.turns, r.occurrence) for r in back] == [
        (r.id, r.turns, r.occurrence) for r in mixed
    ]
    assert mixed[0].visuals[0].path.endswith(f"/{back[0].visuals[0].path}")
    assert not os.path.isabs(back[0].visuals[0].path)
    assert len({r.where for r in back}) == len(back)
    made = catalog.load(store)
    assert sum(s.records for s in made.shards) == len(mixed) == made.records
    assert len({s.records for s in made.shards}) == 2  # they cannot all be alike


@pytest.mark.parametrize("store_as", ["views", "grid"])
@pytest.mark.parametrize("codec", ["tiff", "png", "webp", "ppm"])
def test_tiles_are_those_of_the_videos_to_the_bit(mixed, spec, tmp_path, store_as, codec):
    few = [mixed[0], *mixed[-2:]]
    how = dict(spec=spec, codec=codec, store_as=store_as, workers=0)
    write_shards(few, out=tmp_path / "s", **how)
    for view in ("anyres", "overview"):
        shown_as = dataclasses.replace(spec, visual=view)
        for ours, theirs in zip(read_store(tmp_path / "s"), few, strict=True):
            for a, b in zip(ours.visuals, theirs.visuals, strict=True):
                got, want = shown_as.show(a), shown_as.show(b)
                assert got.size == want.size and got.substituted == want.substituted
                np.testing.assert_array_equal(got.tiles, want.tiles)


def test_jpeg_is_near(mixed, spec, tmp_path):
    write_shards(mixed[:1], out=tmp_path / "s", spec=spec, codec="jpeg:98", workers=0)
    [record] = read_store(tmp_path / "s")
    got, want = spec.show(record.visuals[0]).tiles, spec.show(mixed[0].visuals[0]).tiles
    difference = np.abs(got.astype(int) - want)
    assert got.shape == want.shape and 0 < difference.mean() < 3
    assert catalog.load(tmp_path / "s").made["codec"] == "jpeg:98"


def test_training_batches_are_the_same_and_no_video_is_opened(
    store, mixed, spec, tokenizer, make_rows, monkeypatch
):
    videos = make_rows(index=build_index(mixed, spec=spec, tokenizer=tokenizer))
    want = [r.batch for r in batches(videos, start=0, stop=3)]

    def refuse(*_, **__):
        raise AssertionError("a file was opened")

    for name in ("probe", "sample_frames", "_open_image"):
        monkeypatch.setattr(f"sg4v_jax.data.inputs.{name}", refuse)
    index = build_index(read_store(store), spec=spec, tokenizer=tokenizer)
    for got, batch in zip(batches(make_rows(index=index), start=0, stop=3), want, strict=True):
        assert not got.notes
        assert all(np.array_equal(a, b) for a, b in zip(got.batch, batch, strict=True))


def test_the_index_pass_reads_no_picture(store, spec, tokenizer, monkeypatch):
    records = read_store(store)

    def refuse(*_):
        raise AssertionError("a shard was read")

    monkeypatch.setattr(read, "read_bytes", refuse)
    index = build_index(records, spec=spec, tokenizer=tokenizer)
    assert len(index.records) == len(records) and index.lengths[:, 1].max() > 1


def test_building_again_changes_nothing_and_other_records_are_refused(copy, mixed, spec):
    before = {p.name: p.stat().st_mtime_ns for p in copy.iterdir()}
    write_shards(mixed, out=copy, spec=spec, shards=4, codec="png", workers=0)
    assert {p.name: p.stat().st_mtime_ns for p in copy.iterdir()} == before
    with pytest.raises(WorkdirError, match="other records or settings"):
        write_shards(mixed[:-1], out=copy, spec=spec, shards=4, codec="png", workers=0)
    with pytest.raises(WorkdirError):
        write_shards(mixed, out=copy, spec=spec, shards=4, codec="ppm", workers=0)


def test_a_stopped_build_goes_on_where_it_was(store, mixed, spec, tmp_path, monkeypatch):
    out, rendered, whole = tmp_path / "s", [], Renderer._shard

    def dies_at_the_third(self, item):
        if len(rendered) == 2:
            raise KeyboardInterrupt
        rendered.append(item["id"])
        return whole(self, item)

    monkeypatch.setattr(Renderer, "_shard", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_shards(mixed, out=out, spec=spec, shards=4, codec="png", workers=0)
    with pytest.raises(RecordError, match="not a finished store"):
        read_store(out)

    def counted(self, item):
        rendered.append(item["id"])
        return whole(self, item)

    monkeypatch.setattr(Renderer, "_shard", counted)
    write_shards(mixed, out=out, spec=spec, shards=4, codec="png", workers=0)
    assert sorted(rendered) == ["00000", "00001", "00002", "00003"]
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in store.iterdir())
    for file in out.iterdir():
        assert file.read_bytes() == (store / file.name).read_bytes()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from stored_spec import SPEC
from sg4v_jax.data.readers import read_llava_json
from sg4v_jax.data.store import write
whole, done = write.Renderer._write, []

def write_shard(self, item, local):
    about = whole(self, item, local)
    done.append(item["id"])
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # the file lies there under its own name, not yet put
    return about

write.Renderer._write = write_shard
records = read_llava_json(sys.argv[1] + "/train.json", root=sys.argv[1])
write.write_shards(records, out=sys.argv[2], spec=SPEC, shards=5, workers=0, lease=1.0)
"""


def test_a_killed_build_goes_on(folder, records, spec, tmp_path):
    (tmp_path / "stored_spec.py").write_text(
        "from sg4v_jax.data.inputs import InputSpec\n"
        "from sg4v_jax.video.anyres import AnyRes\n"
        f"SPEC = {spec!r}\n"
    )
    out, whole = tmp_path / "killed", tmp_path / "whole"
    words = [sys.executable, "-c", KILLED, folder, out, tmp_path]
    path = os.pathsep.join([str(pathlib.Path(__file__).parents[2]), *filter(None, sys.path)])
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, check=False, timeout=300)
    assert done.returncode == -9
    with pytest.raises(RecordError, match="not a finished store"):
        read_store(out)
    there = {p.name: p.stat().st_mtime_ns for p in out.glob("*array_record*")}
    assert len(there) == 2
    write_shards(records, out=out, spec=spec, shards=5, workers=0, lease=1.0)
    write_shards(records, out=whole, spec=spec, shards=5, workers=0)
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())
    for file in whole.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes()
    assert all((out / name).stat().st_mtime_ns == time for name, time in there.items())


def test_worker_processes_make_the_same_files(store, mixed, spec, tmp_path):
    write_shards(mixed, out=tmp_path / "s", spec=spec, shards=4, codec="png", workers=2)
    for file in (tmp_path / "s").iterdir():
        assert file.read_bytes() == (store / file.name).read_bytes()


def test_videos_that_cannot_be_used_are_left_out_and_named(mixed, spec, tmp_path):
    broken = dataclasses.replace(
        mixed[0], id="gone", visuals=(dataclasses.replace(mixed[0].visuals[0], path="gone.mp4"),)
    )
    records = [broken, *mixed]
    with pytest.raises(RecordError, match=r"1 of \d+ records cannot be rendered: .*gone") as error:
        write_shards(records, out=tmp_path / "a", spec=spec, workers=0, max_skipped=0.0)
    assert "data.max_skipped" in error.value.mend
    # What was rendered is still there: allowing it closes the same store.
    made = write_shards(records, out=tmp_path / "a", spec=spec, workers=0, max_skipped=0.5)
    [(record, reason)] = made.skipped
    assert "'gone'" in record and "gone.mp4" in reason
    assert len(read_store(tmp_path / "a")) == len(mixed)


def test_a_shard_of_nothing_usable(mixed, spec, tmp_path):
    gone = dataclasses.replace(mixed[0].visuals[0], path="gone.mp4")
    records = [dataclasses.replace(mixed[0], id="gone", visuals=(gone,)), mixed[1], mixed[2]]
    write_shards(records, out=tmp_path / "a", spec=spec, shards=3, workers=0, max_skipped=0.5)
    assert [r.id for r in read_store(tmp_path / "a")] == [mixed[1].id, mixed[2].id]


def test_a_store_from_a_store_with_other_words(store, spec, tmp_path):
    told = [
        dataclasses.replace(r, turns=(r.turns[0], dataclasses.replace(r.turns[1], content="New.")))
        for r in read_store(store)
    ]
    write_shards(told, out=tmp_path / "b", spec=spec, shards=2, workers=0)
    for new, old in zip(read_store(tmp_path / "b"), told, strict=True):
        assert new.turns == old.turns
        for a, b in zip(new.visuals, old.visuals, strict=True):
            assert a.path == b.path
            np.testing.assert_array_equal(spec.show(a).tiles, spec.show(b).tiles)
    with pytest.raises(RecordError, match="comes from a store of views"):
        write_shards(told, out=tmp_path / "c", spec=spec, store_as="grid", workers=0)


def test_other_settings_than_the_stores_are_refused(store, spec, tokenizer, make_rows, index):
    records = read_store(store)
    other = dataclasses.replace(spec, band=9, frames=9)
    with pytest.raises(ConfigError) as error:
        build_index(records, spec=other, tokenizer=tokenizer)
    assert "frames is 16 there, 9 here; band is 8 there, 9 here" in error.value.message
    stored = build_index(records, spec=spec, tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="frames were picked once"):
        make_rows(index=stored, sampling="rand")


def test_a_part_of_a_mix(store):
    part = Part(name="rendered", file=str(store), format="arrayrecord", preamble="Look. ")
    records = read_part(part)
    assert {r.part for r in records} == {"rendered"}
    assert records[0].turns[0].content.startswith("<image>\nLook. ")
    [report] = check.check_mix([part])
    assert report.complete and report.media == 4


def first_shard(folder) -> pathlib.Path:
    return folder / catalog.load(folder).shards[0].file


def test_a_missing_shard(copy):
    first_shard(copy).unlink()
    with pytest.raises(RecordError, match="00000-of-00004: this shard of the store is missing"):
        read_store(copy)


def test_a_shard_that_was_cut(copy):
    shard = first_shard(copy)
    shard.write_bytes(shard.read_bytes()[:70_000])
    with pytest.raises(RecordError, match=r"00000-of-00004: 70000 bytes, the store says \d+"):
        read_store(copy)
    with pytest.raises(Exception, match="not a whole ArrayRecord file"):
        read.count(str(shard))


def test_a_flipped_byte_is_found_by_check_and_skips_its_record_in_training(
    copy, spec, tokenizer, make_rows
):
    shard = first_shard(copy)
    data = bytearray(shard.read_bytes())
    place = data.index(b"IDAT")
    data[place + 40] ^= 0xFF
    shard.write_bytes(data)
    part = Part(name="rendered", file=str(copy), format="arrayrecord")
    [report] = check.check_mix([part])
    assert not report.complete
    [(path, reason)] = report.broken
    assert path == str(shard) and "checksum" in reason
    rows = make_rows(index=build_index(read_part(part), spec=spec, tokenizer=tokenizer))
    notes = [n for r in batches(rows, start=0, stop=rows.steps_in(0)) for n in r.notes]
    [note] = notes
    assert note.kind == "skipped" and "record 0 cannot be read" in note.reason


@pytest.mark.parametrize("name", ["/etc/passwd", "../other", "a/../../b"])
def test_a_name_that_leads_out_of_the_store(copy, name):
    value = json.loads((copy / "store.json").read_text())
    value["shards"][0]["file"] = name
    (copy / "store.json").write_text(json.dumps(value))
    with pytest.raises(UnsafePathError, match="leaves its root"):
        read_store(copy)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("records.jsonl", lambda t: t.replace("Ho", "Hu"), "was changed after"),
        ("records.jsonl", None, "missing from the store"),
        ("store.json", lambda t: t.replace('"format": 1', '"format": 2'), "'format' is 2"),
        ("store.json", lambda t: t.replace('"sha256"', '"md5"'), "a field is missing or wrong"),
        ("store.json", lambda t: t[:50], "not JSON"),
        ("store.json", lambda t: t.replace('"records": ', '"records": 1'), "records in its shards"),
    ],
)
def test_a_catalog_that_was_changed(copy, file, change, message):
    path = copy / file
    if change is None:
        path.unlink()
    else:
        path.write_text(change(path.read_text()))
    with pytest.raises(RecordError, match=message):
        read_store(copy)


@pytest.mark.parametrize(
    ("field", "value"),
    [("shard", 4), ("shard", -1), ("number", 99), ("number", -1), ("size", [0, 5]), ("size", [5])],
)
def test_a_place_that_is_not_in_the_store(copy, field, value):
    lines = [json.loads(x) for x in (copy / "records.jsonl").read_text().splitlines()]
    (lines[1]["visuals"][0] if field == "size" else lines[1])[field] = value
    data, checksum = catalog.lines_bytes(map(json.dumps, lines))
    (copy / "records.jsonl").write_bytes(data)
    told = json.loads((copy / "store.json").read_text()) | {"records_sha256": checksum}
    (copy / "store.json").write_text(json.dumps(told))
    with pytest.raises(RecordError, match=r"records.jsonl: line 2: a field is missing or wrong"):
        read_store(copy)


@pytest.mark.parametrize(
    "options", [dict(codec="gif"), dict(codec="jpeg:0"), dict(store_as="tiles"), dict(shards=-1)]
)
def test_settings_that_no_store_has(mixed, spec, tmp_path, options):
    with pytest.raises(ConfigError):
        write_shards(mixed, out=tmp_path / "s", spec=spec, **options)
    assert not (tmp_path / "s").exists()


def test_a_full_disk_leaves_no_store(mixed, spec, tmp_path, small_disk):
    with small_disk(60_000), pytest.raises(Exception, match="cannot write"):
        write_shards(mixed, out=tmp_path / "s", spec=spec, workers=0)
    with pytest.raises(RecordError, match="not a finished store"):
        read_store(tmp_path / "s")
    write_shards(mixed, out=tmp_path / "s", spec=spec, workers=0)
    assert len(read_store(tmp_path / "s")) == len(mixed)


def test_examples_go_round():
    values = {"id": [b"a"], "numbers": [1, 300, -4], "none": []}
    data = example.encode(values)
    assert example.decode(data, where="x") == values
    assert example.encode(dict(reversed(values.items()))) == data
    with pytest.raises(RecordError, match="x: not a tf.train.Example"):
        example.decode(b"\xff\xff\xff", where="x")
