"""Short captions joined from Panda-70M's CSV, by video id and time."""

from __future__ import annotations

import csv
import json
import pathlib

import pytest

from sg4v_jax.caption.bridge import build, join
from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault
from sg4v_jax.caption.bridge.formats import panda
from sg4v_jax.caption.bridge.work import Making
from sg4v_jax.errors import RecordError

GOLDEN = pathlib.Path(__file__).parents[1] / "data/golden"
COLUMNS = ["videoID", "url", "timestamp", "caption", "matching_score"]


def write_panda(file, rows) -> str:
    with file.open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(COLUMNS)
        writer.writerows([name, "u", times, texts, "[1]"] for name, times, texts in rows)
    return str(file)


def test_the_caption_whose_seconds_overlap_best():
    told = ((0.0, 4.0, "first"), (4.0, 10.0, "second"), (20.0, 21.0, "third"))
    shorts = join.ShortCaptions({"Ab3_-xYz012": told, "one": told[:1]})

    def of(bounds=None, name="Ab3_-xYz012", **row) -> str:
        return shorts.of(CaptionedClip(name, "x.mp4", bounds=bounds, row=row))

    assert of((4.5, 10.5)) == "second" and of((0.0, 4.0)) == "first"
    assert of((4.0, 16.0)) == "second" and of((4.0, 16.1)) == ""  # half of both together
    wide = CaptionedClip("Ab3_-xYz012", "x.mp4", bounds=(0.0, 26.0))
    assert shorts.of(wide) == "" and shorts.of(wide, overlap=0.2) == "second"
    assert of((12.0, 19.0)) == "" and of((0.0, 100.0)) == ""
    assert of() == "" and of(name="one") == "first" and of(name="none") == ""
    assert of(source_start="0:00:20.0", source_end=21) == "third"
    assert of(source_start="0:00:20.0", source_end="x") == ""
    assert of((4, 10), name="Ab3_-xYz012_17") == "second"
    clip = CaptionedClip("other", "panda/Ab3_-xYz012.3.mp4", bounds=(4, 10))
    assert shorts.of(clip) == "second"


def test_read_and_kept(tmp_path):
    shorts, faults = join.read_short(GOLDEN / "panda.csv")
    assert not faults and len(shorts.videos) == 3
    assert shorts.videos["Ab3_-xYz012"][1] == (70.25, 74.0, "A dog barks.")
    shorts.save(tmp_path / "s.json")
    assert join.ShortCaptions.load(tmp_path / "s.json") == shorts
    some, _ = join.read_short(GOLDEN / "panda.csv", wanted=["harbour0000"])
    assert list(some.videos) == ["harbour0000"]
    with pytest.raises(RecordError, match="no CSV with the columns videoID, timestamp, caption"):
        join.read_short(GOLDEN / "plain.csv")


BROKEN = [
    ("['0:00:01', '0:00:02'", "['x']", "broken list"),
    ("[['0:00:01', '0:00:02']]", "['x', 'y']", "lists of several lengths"),
    ("[['0:00:01']]", "['x']", "broken list"),
    ("[['0:00:02', '0:00:01']]", "['x']", "times out of order"),
    ("[['soon', '0:00:01']]", "['x']", "times out of order"),
    ("[['0:00:01', '0:00:02']]", "[3]", "not text"),
    ("[['0:00:01', '0:00:02']]", "__import__('os').getcwd()", "broken list"),
    ("{}", "{}", "broken list"),
    ("[" * 3000, "['x']", "broken list"),
    ("", "['x']", "broken list"),
]


@pytest.mark.parametrize(("times", "texts", "kind"), BROKEN)
def test_broken_list_cells_are_named(times, texts, kind, tmp_path):
    good = ("v", "[['0:00:01', '0:00:02']]", '["it\'s"]')
    file = write_panda(tmp_path / "p.csv", [good, ("w", times, texts)])
    shorts, [fault] = join.read_short(file)
    assert (fault.kind, fault.id) == (kind, "w") and fault.where == f"{file}: line 3"
    assert shorts.videos == {"v": ((1.0, 2.0, "it's"),)}


def test_times_and_lists():
    assert panda.clock("1:00:01.5", field="t") == 3601.5
    assert panda.clock("02:03", field="t") == 123 and panda.clock(4, field="t") == 4
    assert panda.literal_list('["a", null]', field="t") == ["a", None]  # JSON too
    with pytest.raises(RowFault, match="times out of order"):
        panda.clock("1:2:3:4", field="t")


def test_paired_arms(tmp_path):
    """The published captions and Panda's short ones: two arms of the same clips."""
    rows, short = [], []
    for i in range(30):
        name = f"Video{i:06d}"
        rows.append({"video_id": f"{name}_{i % 3}", "video_path": f"panda/{name}.{i % 3}.mp4",
                     "source_start": 10.0 * i, "source_end": 10.0 * i + 8,
                     "captions": [{"idx": "-1", "content": f"Long {i}. It ends."}]})  # fmt: skip
        times = [[str(10.0 * i + 1), str(10.0 * i + 8)], [str(10.0 * i + 8), str(10.0 * i + 9)]]
        short.append((name, times, [f"Short {i}.", "Other."]))
    short.append(("unwanted000", "broken", "broken"))
    captions = tmp_path / "c.jsonl"
    captions.write_text("".join(json.dumps(r) + "\n" for r in rows))
    csv_file = write_panda(tmp_path / "panda.csv", short)
    making = Making(source="", target="llava_json", styles=("detailed", "short"))
    report = build.build(captions, making, out=tmp_path / "out", short_from=csv_file)
    assert report["records"] == 30 and report["short_from_left_out"] == {}
    arms = [json.loads((tmp_path / f"out/{n}.json").read_text()) for n in ("detailed", "short")]
    for i, (long, brief) in enumerate(zip(*arms, strict=True)):
        assert long["conversations"][1]["value"] == f"Long {i}. It ends."
        assert brief["conversations"][1]["value"] == f"Short {i}."
        assert long["conversations"][0] == brief["conversations"][0]
    sources = report["settings"]["sources"]
    assert sources["short_from"]["file"] == "panda.csv"
