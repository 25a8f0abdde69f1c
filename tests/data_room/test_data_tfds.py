"""TFDS and our own readers share one kind of store, and neither loads TensorFlow."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from sg4v_jax.data.readers import READERS
from sg4v_jax.data.store import catalog, seal
from sg4v_jax.data.store.write import write_shards
from sg4v_jax.errors import RecordError

pytest.importorskip("tensorflow_datasets", reason="needs the extra [tfds]")
ROOT = pathlib.Path(__file__).parents[2]
SMALL = '{"name": "small", "side": 16, "band": 8, "longest_side": 0}'


def python(*words: str) -> str:
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory) -> pathlib.Path:
    """What `tfds build` makes of the rendered data set."""
    (folder / "mix.json").write_text('{"parts": [{"name": "world", "file": "train.json"}]}')
    out = tmp_path_factory.mktemp("tfds")
    script, where = str(ROOT / "launch/tfds_build.py"), f"--manual_dir={folder}"
    python(script, where, f"--data_dir={out}", f"--config={SMALL}")
    return out / catalog.NAME / "small" / catalog.VERSION


@pytest.fixture(scope="module")
def written(records, spec, tmp_path_factory) -> pathlib.Path:
    """What `write_shards` makes of the same."""
    out = tmp_path_factory.mktemp("ours") / "store"
    write_shards(records, out=out, spec=spec, shards=3, workers=0)
    return out


def assert_same_records(store: pathlib.Path, records, spec) -> None:
    back = READERS["arrayrecord"](store, root="")
    assert [(r.id, r.turns) for r in back] == [(r.id, r.turns) for r in records]
    for ours, theirs in zip(back, records, strict=True):
        for a, b in zip(ours.visuals, theirs.visuals, strict=True):
            np.testing.assert_array_equal(spec.show(a).tiles, spec.show(b).tiles)


def test_what_tfds_builds_we_read(built, records, spec):
    assert_same_records(built, records, spec)
    assert catalog.load(built).made == catalog.made_with(spec, pictures="views", codec="tiff")


# Runs in a process of its own: whatever is loaded, TensorFlow must not be.
READ_BY_TFDS = """
import json, sys
import tensorflow_datasets as tfds
source = tfds.builder_from_directory(sys.argv[1]).as_data_source("train")
found = []
for item in source:
    shapes = [p.shape for p in (*item["pictures"], *item["overviews"])]
    sums = [int(p.sum()) for p in item["pictures"]]
    said = [v.decode() for v in item["conversations"]["value"]]
    found.append([item["id"].decode(), said, shapes, sums])
assert "tensorflow" not in sys.modules
print(json.dumps(found))
"""


@pytest.mark.parametrize("by", ["built", "written"])
def test_tfds_reads_both_without_tensorflow(by, request, records, spec):
    found = json.loads(python("-c", READ_BY_TFDS, str(request.getfixturevalue(by))))
    assert len(found) == len(records)
    for (name, said, shapes, sums), record in zip(found, records, strict=True):
        assert name == record.id and said == [t.content for t in record.turns]
        views, _ = spec.views(record.visuals[0])
        assert [tuple(s) for s in shapes] == [views.fitted.shape, views.overview.shape]
        assert sums == [int(views.fitted.sum())]


BUILD_AND_READ = """
import sys
from sg4v_jax.data import tfds_builder
from sg4v_jax.data.readers import READERS
config = tfds_builder.CaptionsConfig(name="small", side=16, band=8, longest_side=0)
import tensorflow_datasets as tfds
builder = tfds_builder.Sg4vVideoCaptions(
    config=config, data_dir=sys.argv[2], file_format="array_record"
)
builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=sys.argv[1], num_shards=3)
)
assert len(READERS["arrayrecord"](builder.data_path, root="")) == len(builder.as_data_source("train"))
loaded = [m for m in ("tensorflow", "jax", "torch") if m in sys.modules]
print(loaded, len(list(builder.data_path.glob("*array_record-*"))))
"""


def test_building_and_reading_load_neither_tensorflow_nor_jax(built, folder, tmp_path):
    assert python("-c", BUILD_AND_READ, str(folder), str(tmp_path)).endswith("[] 3\n")


def test_the_description_is_the_one_tfds_writes(built):
    theirs = json.loads((built / "features.json").read_text())
    assert seal.features_json() == theirs
    info = json.loads((built / "dataset_info.json").read_text())
    ours = seal.dataset_info(catalog.load(built).shards, size=int(info["splits"][0]["numBytes"]))
    assert {k: info[k] for k in ours} == ours


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("dataset_info.json", lambda t: t.replace('"19"', '"18"'), "19 records, .* says 18"),
        ("dataset_info.json", lambda t: t.replace("array_record", "tfrecord"), "not a data set"),
        ("metadata.json", lambda t: "{}", "not a data set"),
    ],
)
def test_what_is_no_data_set_of_ours(built, tmp_path, file, change, message):
    for path in built.iterdir():
        if path.name not in ("store.json", "records.jsonl"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_text(change((tmp_path / file).read_text()))
    with pytest.raises(RecordError, match=message):
        seal.seal(tmp_path)


def test_a_mix_that_leads_out_of_the_manual_folder(tmp_path):
    from sg4v_jax.data.tfds_builder import read_manual

    for file in ("../train.json", "/etc/passwd"):
        (tmp_path / "mix.json").write_text(json.dumps({"parts": [{"name": "a", "file": file}]}))
        with pytest.raises(RecordError, match="leaves its root"):
            read_manual(tmp_path, seed=0)
    (tmp_path / "mix.json").write_text("[]")
    with pytest.raises(RecordError, match="no list 'parts'"):
        read_manual(tmp_path, seed=0)
