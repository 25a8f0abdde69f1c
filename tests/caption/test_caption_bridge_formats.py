"""Golden files of every format: read and written back to the byte; what other tools read of them."""

from __future__ import annotations

import csv
import io
import json
import pathlib

import pytest
from PIL import Image

from sg4v_jax.caption.bridge import slices
from sg4v_jax.caption.bridge.build import build, source_format
from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault
from sg4v_jax.caption.bridge.formats import FORMATS, ReadOptions, WriteOptions, panda
from sg4v_jax.caption.bridge.rows import RowReader
from sg4v_jax.caption.bridge.work import Making
from sg4v_jax.data.readers import READERS
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.video.decode import sample_frames
from sg4v_jax.video.grid import make_grid
from sg4v_jax.world.dataset import make_dataset

GOLDEN = pathlib.Path(__file__).parents[1] / "data/golden"
FILES = {
    "llava.json": "llava_json",
    "sharegpt4video.jsonl": "sharegpt4video_jsonl",
    "osp.json": "osp",
    "wan.csv": "wan",
    "panda.csv": "panda_csv",
    "plain.csv": "csv",
    "plain.jsonl": "jsonl",
    "caption_job.jsonl": "caption_job",
    "videochatgpt.json": "videochatgpt_json",
}


def read(name: str, **options) -> list:
    """The clips of a golden file."""
    file = GOLDEN / name
    sliced = slices.cut(file)
    reader = RowReader(str(file), sliced.layout, sliced.header)
    form = FORMATS[source_format(file, sliced)]
    rows = [
        row
        for part in sliced.slices
        for row in reader.rows(slices.read(file, part), first=part.first)
    ]
    assert not [row.fault for row in rows if row.fault]
    return [clip for row in rows for clip in form.read(row.values, ReadOptions(**options))]


@pytest.mark.parametrize(("name", "form"), FILES.items())
def test_a_golden_file_is_known_by_its_fields(name, form):
    assert source_format(GOLDEN / name, slices.cut(GOLDEN / name)) == form


@pytest.mark.parametrize("name", [n for n in FILES if n != "panda.csv"])
def test_written_back_to_the_byte(name):
    form = FORMATS[FILES[name]]
    clips = read(name)
    assert len(clips) == 3 and len({clip.id for clip in clips}) == 3
    lines = [form.write(clip, clip.detailed, clip.prompt, WriteOptions()) for clip in clips]
    whole = form.container.head + form.container.between.join(lines) + form.container.tail
    if FILES[name] == "csv":
        whole = "id,video,detailed,short,rating\n" + whole
    assert whole.encode() == (GOLDEN / name).read_bytes()


def test_panda_is_written_back_to_the_byte():
    clips = read("panda.csv")
    columns = ["videoID", "url", "timestamp", "caption", "matching_score"]
    assert panda.write_rows(clips, columns=columns).encode() == (GOLDEN / "panda.csv").read_bytes()
    assert [clip.id for clip in clips][:2] == ["Ab3_-xYz012_0", "Ab3_-xYz012_1"]
    assert clips[0].short == "A man's hat falls, twice." and clips[0].bounds == (2.0, 7.5)
    assert clips[1].video == "Ab3_-xYz012.mp4" and clips[3].bounds == (3601.0, 3605.5)
    cut_out = read("panda.csv", video_name="cut/{video_id}.{number}.mp4")
    assert cut_out[1].video == "cut/Ab3_-xYz012.1.mp4" and cut_out[1].bounds is None


@pytest.mark.parametrize("form", ["llava_json", "sharegpt4video_jsonl", "osp", "wan"])
def test_a_golden_file_goes_through_the_bridge_unchanged(form, tmp_path):
    [name] = [name for name, known in FILES.items() if known == form]
    build(GOLDEN / name, Making(source="", target=form, styles=("detailed",)), out=tmp_path)
    built = tmp_path / f"detailed{FORMATS[form].container.ending}"
    assert built.read_bytes() == (GOLDEN / name).read_bytes()


def test_what_the_formats_say_of_a_clip():
    ball, cafe, harbour = read("caption_job.jsonl")
    assert ball.frames == (0, 17) and ball.bounds is None and ball.fps == 8.0
    assert ball.first_frame == "A ball lies on a table." and cafe.short == "A café."
    # The captions of a part begin with what led to it, so none tells of its first frame alone.
    assert harbour.bounds == (1.0, 2.625) and harbour.first_frame == ""
    published = read("sharegpt4video.jsonl")
    assert published[0].times == (0.0, 2.0, 3.75) and published[2].differential == ()
    assert read("osp.json")[1].id == "clips/ball.mp4@65:130"
    assert read("llava.json")[2].prompt == "Write a detailed caption for this video."


def test_the_summary_need_not_be_the_last(tmp_path):
    row = {"video_id": "a", "video_path": "a.mp4",
           "captions": [{"idx": -1, "content": "All."}, {"idx": "0", "content": "First."}]}  # fmt: skip
    form = FORMATS["sharegpt4video_jsonl"]
    [clip] = form.read(row, ReadOptions())
    assert clip.detailed == "All." and clip.differential == ("First.",)
    assert json.loads(form.write(clip, "All.", "", WriteOptions())) == row
    short = json.loads(form.write(clip, "A.", "", WriteOptions()))
    assert short["captions"] == [{"idx": -1, "content": "A."}]


def test_captions_of_key_frames_are_parts_of_the_video():
    clips = read("sharegpt4video.jsonl", which="summary")
    [first, *_] = clips
    form = FORMATS["sharegpt4video_jsonl"]
    parts = list(form.read(first.row, ReadOptions(which="keyframes")))
    assert [(p.id, p.bounds, p.detailed) for p in parts] == [
        ("ball@0-2", (0.0, 2.0), "It rolls and falls."),
        ("ball@2-3.75", (2.0, 3.75), "A hand picks it up."),
    ]
    both = list(form.read(first.row, ReadOptions(which="all")))
    assert [p.id for p in both] == ["ball", "ball@0-2", "ball@2-3.75"]
    with pytest.raises(RowFault, match="no key-frame captions"):
        list(form.read(clips[2].row, ReadOptions(which="keyframes")))
    for target in ("wan", "sharegpt4video_jsonl", "videochatgpt_json"):
        with pytest.raises(RowFault, match="a part of a video"):
            FORMATS[target].write(parts[0], "x", "", WriteOptions())
    line = FORMATS["llava_json"].write(parts[0], "x", "What?", WriteOptions())
    assert json.loads(line)["bounds"] == [0.0, 2.0]


class LazyDataset:
    """As the original's torch loader reads: `image` below a folder, `<image>` in the question."""

    def __init__(self, file, image_folder):
        self.items, self.folder = json.loads(file.read_text()), image_folder

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        item = self.items[i]
        assert "image" in item, "it would be trained on as text alone"
        picture = Image.open(self.folder / item["image"]).convert("RGB")
        turns = item["conversations"]
        assert [t["from"] for t in turns] == ["human", "gpt"]
        assert turns[0]["value"].count("<image>") == 1
        return picture.size, turns[0]["value"].replace("<image>", "").strip(), turns[1]["value"]


def test_a_torch_style_reader_and_our_own_read_llava_json(tmp_path):
    make_dataset(str(tmp_path / "w"), videos=3, seed=4)
    for video in sorted((tmp_path / "w/videos").iterdir()):
        grid = make_grid(sample_frames(video, n=16).frames, band=8)
        Image.fromarray(grid).save(video.with_suffix(".jpg"))
    making = Making(
        source="",
        target="llava_json",
        styles=("detailed",),
        read=ReadOptions(video_name="videos/{id}.mp4"),
        write=WriteOptions(media="image"),
        videos=str(tmp_path / "w"),
    )
    build(tmp_path / "w/captions.jsonl", making, out=tmp_path / "out")
    dataset = LazyDataset(tmp_path / "out/detailed.json", tmp_path / "w")
    told = [json.loads(x)["detailed"] for x in (tmp_path / "w/captions.jsonl").open()]
    assert [dataset[i][2] for i in range(len(dataset))] == told
    assert {dataset[i][0] for i in range(len(dataset))} == {grid.shape[1::-1]}
    records = READERS["llava_json"](tmp_path / "out/detailed.json", root=tmp_path / "w")
    assert [r.turns[1].content for r in records] == told
    assert all(pathlib.Path(r.visuals[0].path).is_file() for r in records)


def test_osp_and_wan_have_their_documented_fields(tmp_path):
    make_dataset(str(tmp_path / "w"), videos=2, seed=4)
    options = {"source": "", "styles": ("detailed",), "videos": str(tmp_path / "w")}
    options["read"] = ReadOptions(video_name="videos/{id}.mp4")
    captions = tmp_path / "w/captions.jsonl"
    build(captions, Making(target="osp", **options), out=tmp_path / "osp")
    build(captions, Making(target="wan", **options), out=tmp_path / "wan")
    records = json.loads((tmp_path / "osp/detailed.json").read_text())
    assert [list(r) for r in records] == [["path", "frame_idx", "cap"]] * 2
    start, end = map(int, records[0]["frame_idx"].split(":"))
    assert (start, end) == (0, 17)  # counted in the video
    with (tmp_path / "wan/detailed.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert [list(r) for r in rows] == [["video", "prompt"]] * 2
    assert [r["video"] for r in rows] == [r["path"] for r in records]
    assert [r["prompt"] for r in rows] == [r["cap"] for r in records]
    assert all((tmp_path / "w" / r["video"]).is_file() for r in rows)


@pytest.mark.parametrize(
    ("frames", "bounds", "fps", "told"),
    [
        ((3, 9), None, None, "3:9"),
        (None, (1.0, 2.5), 8.0, "8:20"),
        ((0, 17), (1.0, 9.0), 8.0, "8:17"),
        ((8, 21), (1.0, 2.625), 8.0, "8:21"),
        (None, None, 8.0, None),
        ((0, 17), (1.0, 2.0), None, None),
        ((0, 17), (5.0, 9.0), 8.0, None),
        (None, (1.0, 1.01), 8.0, None),
    ],
)
def test_frame_ranges_of_osp(frames, bounds, fps, told):
    clip = CaptionedClip("a", "a.mp4", frames=frames, bounds=bounds, fps=fps)
    if told is None:
        with pytest.raises(RowFault, match="no frame range"):
            FORMATS["osp"].write(clip, "x", "", WriteOptions())
    else:
        row = json.loads(FORMATS["osp"].write(clip, "x", "", WriteOptions()))
        assert row == {"path": "a.mp4", "frame_idx": told, "cap": "x"}


def test_sharegpt4video_of_another_source_keeps_key_frame_captions_with_their_own_summary_only():
    [ball, *_] = read("caption_job.jsonl")
    write = FORMATS["sharegpt4video_jsonl"].write
    row = json.loads(write(ball, ball.detailed, "", WriteOptions()))
    assert [c["idx"] for c in row["captions"]] == ["0", "1", "2", "-1"]
    assert row["timestamp"] == ["0.00", "0.75", "2.00"]
    short = json.loads(write(ball, "A ball.", "", WriteOptions()))
    assert short["captions"] == [{"idx": "-1", "content": "A ball."}]
    assert {k: v for k, v in short.items() if k != "captions"} == {
        k: v for k, v in row.items() if k != "captions"
    }


def test_columns_of_any_name(tmp_path):
    """Named columns make a plain table of a file that looks like another format."""
    file = tmp_path / "y.csv"
    file.write_text("video,prompt,idea\na.mp4,What?,A dog.\n")
    read = ReadOptions(columns={"detailed": "idea"})
    making = Making(source="", target="llava_json", styles=("detailed",), read=read)
    build(file, making, out=tmp_path / "y")
    [record] = json.loads((tmp_path / "y/detailed.json").read_text())
    assert [t["value"] for t in record["conversations"]] == ["<image>\nWhat?", "A dog."]
    file = tmp_path / "x.csv"
    file.write_text("clip,where,long,words\na,v/a.mp4,A dog runs.,3\n")
    columns = {"id": "clip", "video": "where", "detailed": "long"}
    making = Making(
        source="", target="wan", styles=("detailed",), read=ReadOptions(columns=columns)
    )
    build(file, making, out=tmp_path / "out")
    rows = list(csv.reader(io.StringIO((tmp_path / "out/detailed.csv").read_text())))
    assert rows == [["video", "prompt"], ["v/a.mp4", "A dog runs."]]


def test_options_that_cannot_be():
    with pytest.raises(ConfigError, match="which='half'"):
        ReadOptions(which="half")
    with pytest.raises(ConfigError, match="cannot be filled in"):
        ReadOptions(video_name="{folder}/{id}.mp4")
    with pytest.raises(ConfigError, match="columns: 'detaild' is no field of a clip"):
        ReadOptions(columns={"detaild": "x"})
    with pytest.raises(ConfigError, match="media='sound'"):
        WriteOptions(media="sound")


def test_a_file_of_no_known_format(tmp_path):
    for name, text, message in [
        ("a.json", '[{"x": 1}]', "is no caption file that is known"),
        ("a.txt", "x", "files that end in .txt are not read"),
        ("b.json", "{}", "expected a JSON list of records"),
        ("c.jsonl", "", "the file is empty"),
        ("d.jsonl", "no\nno\n", "none of its first rows can be read"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(RecordError, match=message):
            source_format(tmp_path / name, slices.cut(tmp_path / name))
    with pytest.raises(RecordError, match="no such file"):
        slices.cut(tmp_path / "none.csv")
