"""`bridge.build`: the same bytes whatever the workers; what is left out is counted and named."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys

import pytest

from sg4v_jax.caption.bridge import assembly, build, proof, work
from sg4v_jax.caption.bridge.assembly import Limits, SeenIds
from sg4v_jax.caption.bridge.formats import ReadOptions
from sg4v_jax.caption.bridge.work import Making
from sg4v_jax.data.readers import read_llava_json
from sg4v_jax.data.readers.sharegpt4video import CAPTION_PROMPTS
from sg4v_jax.errors import ConfigError, RecordError, StorageError, WorkdirError
from sg4v_jax.text.tokenizer import train_byte_bpe

ROOT = pathlib.Path(__file__).parents[2]
ROWS = [
    {
        "id": f"v{i:03d}",
        "video": f"clips/{i}.mp4",
        "caption": f"A dog {i} runs. It stops. Then a cat {i} comes, “miaow”.",
        "short": f"A dog {i}.",
        "static": "A brown dog stands.",
    }
    for i in range(120)
]
ARMS = (
    "detailed",
    "short",
    "first_n_sentences:2",
    "long_static",
    "shuffled",
    "mix:detailed=0.7,short=0.3",
)
GOLDEN_SUMS = {
    "detailed": "670bf5336912",
    "first_n_sentences:2": "77de601e278b",
    "long_static": "33dafda701ee",
    "mix:detailed=0.7,short=0.3": "93d25da7ef80",
    "short": "6d28f6d5dfc8",
    "shuffled": "970ea0e1e586",
}
ANY = Limits(left_out=1.0)


def write(file, rows) -> str:
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows]
    file.write_bytes(b"\n".join(lines) + b"\n")
    return str(file)


def making(**changes) -> Making:
    return Making(**{"source": "", "target": "llava_json", "styles": ("detailed",)} | changes)


def contents(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


@pytest.fixture
def captions(tmp_path) -> str:
    return write(tmp_path / "captions.jsonl", ROWS)


def test_arms_share_all_but_the_text(captions, tmp_path):
    report = build.build(captions, making(styles=ARMS), out=tmp_path / "out")
    records = {}
    for name, arm in report["arms"].items():
        records[name] = json.loads((tmp_path / "out" / arm["file"]).read_text())
        assert len(records[name]) == 120 == sum(arm["styles"].values())
    for rows in zip(*records.values(), strict=True):
        first, *others = [{**r, "conversations": [r["conversations"][0]]} for r in rows]
        assert all(other == first for other in others)
        assert first["conversations"][0]["value"].removeprefix("<image>\n") in CAPTION_PROMPTS
    assert records["detailed"][3] == {
        "id": "v003",
        "video": "clips/3.mp4",
        "conversations": [
            {"from": "human", "value": records["detailed"][3]["conversations"][0]["value"]},
            {"from": "gpt", "value": ROWS[3]["caption"]},
        ],
    }
    asked = {r["conversations"][0]["value"] for r in records["detailed"]}
    assert len(asked) == len(CAPTION_PROMPTS)
    mixed = report["arms"]["mix:detailed=0.7,short=0.3"]["styles"]
    assert set(mixed) == {"detailed", "short"} and 60 < mixed["detailed"] < 110
    words = {name: arm["words"] for name, arm in report["arms"].items()}
    assert words["long_static"] == words["detailed"] == words["shuffled"] == 12.0


def test_the_same_bytes_for_any_workers_and_slices(captions, tmp_path):
    options = making(styles=ARMS, seed=3)
    proof.write(tmp_path / "a", build.build(captions, options, out=tmp_path / "a"))
    first = contents(tmp_path / "a")
    assert {"diff.html", "diff.json", "build.json", "detailed.json"} < set(first)
    proof.write(tmp_path / "b", build.build(captions, options, out=tmp_path / "b", slice_size=500))
    report = build.build(captions, options, out=tmp_path / "c", workers=2, slice_size=2000)
    proof.write(tmp_path / "c", report)
    assert contents(tmp_path / "b") == first == contents(tmp_path / "c")
    build.build(captions, making(styles=ARMS, seed=4), out=tmp_path / "d")
    other = contents(tmp_path / "d")
    assert other["shuffled.json"] != first["shuffled.json"]
    assert other["detailed.json"] != first["detailed.json"]  # other questions


def test_bytes_are_written_down(captions, tmp_path):
    """Another system or version must write the same."""
    report = build.build(captions, making(styles=ARMS, seed=1), out=tmp_path / "out")
    sums = {name: arm["sha256"][:12] for name, arm in report["arms"].items()}
    assert sums == GOLDEN_SUMS


def test_built_again_it_is_left_as_it_is(captions, tmp_path):
    out = tmp_path / "out"
    report = build.build(captions, making(), out=out)
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    assert build.build(captions, making(), out=out) == json.loads(json.dumps(report))
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == before
    with pytest.raises(WorkdirError, match="holds another build:\n    seed: 0 there, 5 now"):
        build.build(captions, making(seed=5), out=out)
    (out / "detailed.json").unlink()
    build.build(captions, making(), out=out)
    assert (out / "detailed.json").exists()


def test_stopped_it_goes_on_and_no_file_is_half_written(captions, tmp_path, monkeypatch):
    out, calls = tmp_path / "out", []
    real = work.Maker.made

    def stops(self, row):
        calls.append(row.where)
        if len(calls) == 60:
            raise KeyboardInterrupt
        return real(self, row)

    monkeypatch.setattr(work.Maker, "made", stops)
    with pytest.raises(KeyboardInterrupt):
        build.build(captions, making(), out=out, slice_size=1000)
    assert not contents(out)
    build.build(captions, making(), out=out, slice_size=1000)
    assert 120 <= len(calls) < 120 + 60, "what was done was done again"
    monkeypatch.undo()
    build.build(captions, making(), out=tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.glob("job-*"))


KILLED = """
import os, signal, sys
from sg4v_jax.caption.bridge import assembly, build, work
from sg4v_jax.caption.bridge.work import Making

captions, out, where = sys.argv[1:]
real, calls, build._LEASE = getattr(work.Maker, "made"), [], 0.5

def dies(*_):
    calls.append(1)
    if len(calls) == 60:
        os.kill(os.getpid(), signal.SIGKILL)

def made(self, row):
    dies()
    return real(self, row)

if where == "rows":
    work.Maker.made = made
else:
    assembly.Arm.add = lambda *_, **__: dies()
making = Making(source="", target="llava_json", styles=("detailed",))
build.build(captions, making, out=out, slice_size=1000)
"""


@pytest.mark.parametrize("where", ["rows", "files"])
def test_killed_it_goes_on(where, captions, tmp_path, monkeypatch):
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, captions, str(out), where]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not {"detailed.json", "build.json"} & set(contents(out))
    monkeypatch.setattr(build, "_LEASE", 0.5)
    build.build(captions, making(), out=out, slice_size=1000)
    build.build(captions, making(), out=tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_a_full_disk_while_the_files_are_written(captions, tmp_path, monkeypatch):
    def full(self, name, content):
        if name == "detailed.json" and len(content) > 50:
            with self._errors():
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(assembly.Output, "write", full)
    with pytest.raises(StorageError, match="No space left on device"):
        build.build(captions, making(), out=tmp_path / "out")
    assert not contents(tmp_path / "out")
    monkeypatch.undo()
    build.build(captions, making(), out=tmp_path / "out")
    assert "build.json" in contents(tmp_path / "out")


BAD = [
    ({"id": "v003"}, "duplicate id", "", ""),
    ({"id": ""}, "no id", "id", "''"),
    ({"id": [1]}, "no id", "id", "[1]"),
    ({"video": "/etc/passwd"}, "path leaves its root", "video", "'/etc/passwd'"),
    ({"video": "a/../../b.mp4"}, "path leaves its root", "video", "'a/../../b.mp4'"),
    ({"video": "..\\b.mp4"}, "path leaves its root", "video", "'..\\\\b.mp4'"),
    ({"video": "C:\\b.mp4"}, "path leaves its root", "video", "'C:\\\\b.mp4'"),
    ({"video": "gs://b/c.mp4"}, "path leaves its root", "video", "'gs://b/c.mp4'"),
    ({"video": "a\0.mp4"}, "path leaves its root", "video", "'a\\x00.mp4'"),
    ({"video": ""}, "no video", "video", "''"),
    ({"video": 3}, "no video", "video", "3"),
    ({"caption": " \n"}, "empty caption", "detailed", ""),
    ({"caption": None}, "empty caption", "detailed", ""),
    ({"caption": ["A dog."]}, "not text", "caption", "['A dog.']"),
    ({"caption": "a \ud800"}, "half of a character", "caption", "'a \\ud800'"),
    ({"start": 3, "end": 2}, "times out of order", "start", "[3, 2]"),
    ({"start": "soon", "end": 2}, "times out of order", "start", "'soon'"),
    ({"fps": 1e999}, "not JSON", "", ""),
]


@pytest.mark.parametrize(("change", "kind", "field", "value"), BAD)
def test_a_row_that_cannot_be_used_is_left_out_and_named(change, kind, field, value, tmp_path):
    name = write(tmp_path / "c.jsonl", [*ROWS, ROWS[0] | {"id": "bad"} | change])
    report = build.build(name, making(), out=tmp_path / "out", limits=ANY)
    assert report["records"] == 120 and report["left_out"][kind]["count"] == 1
    [said] = [json.loads(x) for x in (tmp_path / "out/problems.jsonl").read_text().splitlines()]
    assert said["kind"] == kind and said["mend"]
    assert said["where"] == f"{name}: line 121" and said["field"] == field
    assert not value or said["value"] == value


def test_a_row_one_arm_cannot_use_is_in_none(tmp_path):
    rows = [dict(r) for r in ROWS]
    rows[7]["short"] = ""
    name = write(tmp_path / "c.jsonl", rows)
    report = build.build(name, making(styles=("detailed", "short")), out=tmp_path / "out")
    assert report["left_out"]["no short caption"] == {
        "count": 1,
        "first": [f"{name}: line 8 (v007): short"],
        "mend": "join them (--short_from), or take --style=first_n_sentences:1",
    }
    for arm in report["arms"].values():
        ids = [r["id"] for r in json.loads((tmp_path / "out" / arm["file"]).read_text())]
        assert len(ids) == 119 and "v007" not in ids


def test_more_unusable_rows_than_allowed_stop_the_build(tmp_path):
    name = write(tmp_path / "c.jsonl", [*ROWS, b"{", b'{"id": "\xe9"}', ROWS[5], ROWS[6]])
    with pytest.raises(RecordError) as caught:
        build.build(name, making(), out=tmp_path / "out")
    message = str(caught.value)
    assert "4 of 124 records cannot be used" in message
    assert f"duplicate id: 2, first {name}: line 123 (v005)" in message
    assert "not UTF-8: 1, first" in message and "--max_left_out" in message
    assert not contents(tmp_path / "out")
    # The source is mended: the same folder serves.
    write(tmp_path / "c.jsonl", ROWS)
    assert build.build(name, making(), out=tmp_path / "out")["records"] == 120
    assert not list((tmp_path / "out").glob("job-*"))


def test_an_empty_build_is_refused_whatever_is_allowed(tmp_path):
    name = write(tmp_path / "c.jsonl", [ROWS[0] | {"caption": ""}])
    with pytest.raises(RecordError, match="1 of 1 records cannot be used"):
        build.build(name, making(), out=tmp_path / "out", limits=ANY)


def test_captions_over_the_limit(captions, tmp_path):
    train_byte_bpe([r["caption"] for r in ROWS], vocab_size=400).save(tmp_path / "tokenizer.json")
    options = making(styles=("detailed", "short"), limit=12, tokenizer=str(tmp_path))
    with pytest.raises(RecordError, match="120 of 120 captions of the arm 'detailed' have more"):
        build.build(captions, options, out=tmp_path / "out")
    allowed = Limits(long=None)
    report = build.build(captions, options, out=tmp_path / "out", limits=allowed)
    assert report["arms"]["detailed"]["over_limit"] == 120
    assert report["arms"]["short"]["over_limit"] == 0
    assert report["arms"]["detailed"]["tokens"] > 12 > report["arms"]["short"]["tokens"] > 0
    cut = making(styles=("truncate:12",), limit=12, tokenizer=str(tmp_path))
    report = build.build(captions, cut, out=tmp_path / "cut")
    assert report["arms"]["truncate:12"]["over_limit"] == 0
    one = making(limit=12, tokenizer=str(tmp_path), styles=("mix:short=999,detailed=1",))
    assert build.build(captions, one, out=tmp_path / "one")["records"] == 120


def test_missing_videos(tmp_path):
    (tmp_path / "root/clips").mkdir(parents=True)
    for i in range(119):
        (tmp_path / f"root/clips/{i}.mp4").write_bytes(b"")
    name = write(tmp_path / "c.jsonl", ROWS)
    report = build.build(name, making(videos=str(tmp_path / "root")), out=tmp_path / "out")
    assert report["records"] == 119
    assert report["left_out"]["missing video"]["first"] == [
        f"{name}: line 120 (v119): video 'clips/119.mp4'"
    ]
    (tmp_path / "root/clips/7.mp4").unlink()
    (tmp_path / "root/clips/7.mp4").symlink_to("/etc/hostname")
    report = build.build(
        name, making(videos=str(tmp_path / "root")), out=tmp_path / "link", limits=ANY
    )
    assert report["left_out"]["path leaves its root"]["count"] == 1


def test_rows_of_another_encoding(tmp_path):
    rows = [json.dumps(r, ensure_ascii=False).encode("cp1252") for r in ROWS]
    name = write(tmp_path / "c.jsonl", rows)
    with pytest.raises(RecordError, match="none of its first rows can be read"):
        build.build(name, making(), out=tmp_path / "out")
    report = build.build(name, making(fallback="cp1252"), out=tmp_path / "out")
    assert report["decoded_as_fallback"] == 120
    records = read_llava_json(tmp_path / "out/detailed.json", root=tmp_path)
    assert records[5].turns[1].content == ROWS[5]["caption"]


def test_some_videos_alone(captions, tmp_path):
    report = build.build(captions, making(only="clips/1|clips/2[.]"), out=tmp_path / "out")
    assert (report["records"], report["passed_over"], report["left_out"]) == (32, 88, {})
    ids = [r["id"] for r in json.loads((tmp_path / "out/detailed.json").read_text())]
    assert ids[:4] == ["v001", "v002", "v010", "v011"]
    with pytest.raises(ConfigError, match="only='[(]': missing"):
        build.build(captions, making(only="("), out=tmp_path / "bad")


def test_prompts_of_ones_own(captions, tmp_path):
    report = build.build(captions, making(prompts=("Say it.",)), out=tmp_path / "out")
    records = json.loads((tmp_path / "out/detailed.json").read_text())
    assert {r["conversations"][0]["value"] for r in records} == {"<image>\nSay it."}
    assert report["settings"]["prompts"] == ["Say it."]


def test_the_manifest_tells_what_it_was_made_of(captions, tmp_path):
    report = build.build(captions, making(), out=tmp_path / "out")
    assert report["settings"]["sources"]["captions"]["file"] == "captions.jsonl"
    assert len(report["settings"]["sources"]["captions"]["sha256"]) == 64
    assert report["rows_read"] == 120 and report["settings"]["seed"] == 0
    assert str(tmp_path) not in (tmp_path / "out/build.json").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "csv"}, "format 'csv' is not built"),
        ({"source": "xml"}, "source format 'xml' is unknown"),
        (
            {"source": "osp", "read": ReadOptions(columns={"id": "x"})},
            "columns cannot be named for osp",
        ),
        ({"styles": ("detailed", "detailed")}, "name each arm once"),
        ({"styles": ()}, "name each arm once"),
        ({"styles": ("truncate:5",)}, "tokens cannot be counted without a tokenizer"),
        ({"limit": 5}, "tokens cannot be counted without a tokenizer"),
        ({"prompts": ()}, "there is no prompt"),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_work(change, message, captions, tmp_path):
    with pytest.raises(ConfigError, match=message):
        build.build(captions, making(**change), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_seen_ids():
    seen, names = SeenIds(), [f"n{i}" for i in range(5000)]
    assert seen.add(["a", "b", "a"]) == [True, True, False]
    assert seen.add([]) == []
    for start in range(0, 5000, 7):
        assert all(seen.add(names[start : start + 7]))
    assert not any(seen.add(names)) and seen.add(["b", "c"]) == [False, True]
    assert len(seen._sorted) < 20


def test_key_frame_captions_become_records_of_parts(tmp_path):
    row = {
        "video_id": "a",
        "video_path": "a.mp4",
        "timestamp": ["0.00", "2.00", "3.50"],
        "captions": [{"idx": str(i), "content": f"d{i}."} for i in (0, 1, 2)]
        + [{"idx": "-1", "content": "All."}],
    }
    name = write(tmp_path / "c.jsonl", [row])
    build.build(name, making(read=ReadOptions(which="all")), out=tmp_path / "out")
    records = read_llava_json(tmp_path / "out/detailed.json", root=tmp_path)
    assert [(r.id, r.visuals[0].bounds, r.turns[1].content) for r in records] == [
        ("a", None, "All."),
        ("a@0-2", (0.0, 2.0), "d1."),
        ("a@2-3.5", (2.0, 3.5), "d2."),
    ]
