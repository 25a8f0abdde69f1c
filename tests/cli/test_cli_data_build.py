"""From videos to captions to arms to a trained step, as a user goes: `sg4v data build` and `diff`."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from sg4v_jax.caption.bridge import split
from sg4v_jax.data.readers import READERS
from sg4v_jax.errors import ConfigError, RecordError

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "tests/data/golden"


def python(*words) -> subprocess.CompletedProcess:
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def sg4v(*words) -> subprocess.CompletedProcess:
    return python("-m", "sg4v_jax", *words)


@pytest.fixture(scope="module")
def captions(tiny, tmp_path_factory) -> pathlib.Path:
    """What the oracle says of six videos of the world."""
    out = tmp_path_factory.mktemp("captions")
    words = ("--captioner=world:", "--interval=0.25", f"--out={out}")
    done = sg4v("caption", "run", f"--videos={tiny.folder}/data/videos", *words)
    assert done.returncode == 0, done.stderr
    return out / "captions.jsonl"


@pytest.fixture(scope="module")
def built(tiny, captions) -> pathlib.Path:
    """Two arms of those captions."""
    out = captions.parent / "arms"
    done = sg4v(
        *("data", "build", f"--captions={captions}"),
        *(f"--videos={tiny.folder}/data/videos", f"--out={out}"),
        *("--style=detailed", "--style=long_static"),
    )
    assert done.returncode == 0, done.stderr
    assert f"{out}/detailed.json: 6 records" in done.stdout
    assert f"only text differs between the arms: {out}/diff.html" in done.stdout
    return out


def test_captions_of_a_run_become_arms_that_differ_in_text_alone(captions, built):
    rows = [json.loads(x) for x in captions.open()]
    records = json.loads((built / "detailed.json").read_text())
    assert [r["id"] for r in records] == [r["id"] for r in rows]
    told = [r["conversations"][1]["value"] for r in records]
    assert told == [r["caption_detailed"] for r in rows]
    static = json.loads((built / "long_static.json").read_text())
    for record, row in zip(static, rows, strict=True):
        assert set(record["conversations"][1]["value"].split()) <= {
            w for w in row["diff_captions"][0].split() for w in (w, w.rstrip(".") + ".")
        }
    done = sg4v("data", "diff", built / "detailed.json", built / "long_static.json")
    assert done.returncode == 0 and done.stdout.strip().endswith("only text differs")


def test_diff_finds_more_than_text(built, tmp_path):
    records = json.loads((built / "detailed.json").read_text())
    records[2]["video"] = "other.mp4"
    (tmp_path / "b.json").write_text(json.dumps(records))
    words = (built / "detailed.json", tmp_path / "b.json")
    done = sg4v("data", "diff", *words, f"--html={tmp_path}/d.html", f"--json={tmp_path}/d.json")
    assert done.returncode == 1 and "videos: 1 differ, first record 3" in done.stdout
    assert json.loads((tmp_path / "d.json").read_text())["differ"]["videos"] == 1
    assert "More than text differs" in (tmp_path / "d.html").read_text()
    assert sg4v("data", "diff", built / "detailed.json").returncode == 2


def test_training_starts_from_what_was_built(tiny, built, tmp_path):
    done = tiny.train(
        tmp_path / "run",
        f"--config.data.annotations=('{built}/detailed.json',)",
        f"--config.data.root={tiny.folder}/data/videos",
        "--config.optim.steps=2",
    )
    assert done.returncode == 0, done.stderr
    assert "6 records" in done.stdout
    rows = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").open()]
    assert rows and rows[-1]["step"] == 2


@pytest.mark.slow
def test_stores_of_arms_show_the_same_pictures_and_training_opens_no_video(
    tiny, captions, tmp_path
):
    videos = shutil.copytree(tiny.folder / "data/videos", tmp_path / "videos")
    done = sg4v(
        *("data", "build", f"--captions={captions}", "--format=arrayrecord"),
        *(f"--videos={videos}", f"--out={tmp_path}/out", f"--config={tiny.config_file}"),
        *("--style=detailed", "--style=first_n_sentences:1"),
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(videos)
    stores = [tmp_path / f"out/{n}.store" for n in ("detailed", "first_n_sentences_1")]
    arms = [READERS["arrayrecord"](store, root="") for store in stores]
    assert [len(arm) for arm in arms] == [6, 6]
    for long, short in zip(*arms, strict=True):
        assert long.turns[1].content.startswith(short.turns[1].content)
        assert long.turns[0] == short.turns[0] and long.id == short.id
    assert read_pictures(arms[0]) == read_pictures(arms[1])
    part = {"name": "x", "file": str(stores[1]), "format": "arrayrecord"}
    done = tiny.train(
        tmp_path / "run",
        "--config.data.annotations=()",
        f"--config.data.parts=({part},)",
        "--config.optim.steps=2",
    )
    assert done.returncode == 0, done.stderr
    assert "6 records" in done.stdout


def read_pictures(records) -> list[bytes]:
    """The encoded pictures of records in a store."""
    from sg4v_jax.data.store import read

    return [read._encoded(v.slot) for r in records for v in r.visuals]


def test_a_mix_is_swapped_and_the_swap_proved(captions, tmp_path):
    mix = [json.loads(x) for x in (GOLDEN / "plain.jsonl").open()]
    mix = [{"q": f"Is it {m['id']}?", "a": "Yes.", "video_id": f"v{m['id']}"} for m in mix]
    mix.insert(1, {"q": "Describe the video in detail.", "a": "Old.", "video_id": "old"})
    (tmp_path / "mix.json").write_text(json.dumps(mix, indent=2))
    words = (f"--with={captions}", f"--out={tmp_path}/out", "--expected=1")
    done = sg4v("data", "build", f"--replace_captions={tmp_path}/mix.json", *words)
    assert done.returncode == 0, done.stderr
    told = (
        "1 of 4 records replaced (caption samples by the rule 'question'), 3 untouched to the byte"
    )
    assert told in done.stdout
    pair = (tmp_path / "mix.json", tmp_path / "out/detailed.json")
    done = sg4v("data", "diff", *pair, "--caption_samples=question")
    assert done.returncode == 0 and "all others are the same to the byte" in done.stdout
    pair[1].write_bytes(pair[1].read_bytes().replace(b"Yes", b"yes"))
    done = sg4v("data", "diff", *pair, "--caption_samples=question")
    assert done.returncode == 1 and "3 others differ: record 1" in done.stdout


SAYS = """
import sys
from absl.testing import flagsaver
from sg4v_jax.cli import data_build, main
for words in sys.argv[1].split("|"):
    with flagsaver.flagsaver():
        print(main.run(["data", "build", *words.split()]), file=sys.stderr)
"""


def test_what_cannot_be_is_said():
    cases = {
        "": "data build needs --captions and --out",
        "--captions=x.jsonl --out=x --style=long": "x.jsonl: no such file",
        "--captions=x.jsonl --out=x --columns=id": "'id' names no column",
        "--replace_captions=x.json": "--replace_captions needs --with and --out",
        "--replace_captions=x --with=x --out=x --format=osp": "writes the mix's own format",
        "--captions=x --out=x --format=arrayrecord": "arrayrecord needs --config and --videos",
        "--captions=x --out=x --format=csv": "value should be one of <arrayrecord|llava_json",
    }
    done = python("-c", SAYS, "|".join(cases))
    told = done.stderr.split("\n2\n")
    assert len(told) == len(cases) + 1, done.stderr
    for said, message in zip(told, cases.values(), strict=False):
        assert message in said and "mend: " in said


def test_a_published_mix_is_taken_apart_to_the_byte(tmp_path):
    def record(media: str, answer: str, more: int = 0) -> dict:
        turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": answer}]
        return {"id": media, "image": f"{media}.jpg", "conversations": turns * (1 + more)}

    long = "word " * 70
    mix = [record("panda/a", long), record("clevrer_qa/b", "Yes."), record("ego4d/c_1", "Yes."),
           record("ego4d/d_1", long), record("videochatgpt/e", long, 1), record("tgif/f", "é"),
           record("next_qa/1/g", "Yes."), record("bdd/h_2", long)]  # fmt: skip
    (tmp_path / "mix.json").write_text(json.dumps(mix, indent=1))
    done = sg4v("data", "split", tmp_path / "mix.json", f"--out={tmp_path}/parts")
    assert done.returncode == 1, done.stderr  # the counts are not those of the published file
    names = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "parts").iterdir()}
    told = {name: [r["id"] for r in records] for name, records in names.items()}
    assert told == {
        "share4video": ["panda/a", "ego4d/d_1", "bdd/h_2"],
        "videochatgpt": ["videochatgpt/e"],
        "clevrer": ["clevrer_qa/b"],
        "egoqa": ["ego4d/c_1"],
        "nextqa": ["next_qa/1/g"],
        "tgif": ["tgif/f"],
    }
    raw = json.dumps(mix[5], indent=1).replace("\n", "\n ")
    assert raw in (tmp_path / "parts/tgif.json").read_text()
    assert sum(part.expected for part in split.MIXES["181k"]) == 181_000
    with pytest.raises(ConfigError, match="mix '1m' is unknown"):
        split.named("1m")
    with pytest.raises(RecordError, match="record 2 belongs to no part"):
        split.split(tmp_path / "mix.json", split.MIXES["181k"][:1], out=tmp_path / "x")
