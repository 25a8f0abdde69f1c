"""A mix's caption samples swapped one for one: everything else stays, to the byte."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.caption.bridge import recognise, swap
from sg4v_jax.caption.bridge.work import Making
from sg4v_jax.data.readers import READERS
from sg4v_jax.errors import ConfigError, RecordError, WorkdirError

ASKED = "Can you describe the video in detail?"


def turns(*texts: str) -> list[dict]:
    speakers = ("human", "gpt") * len(texts)
    return [{"from": s, "value": t} for s, t in zip(speakers, texts, strict=False)]


def llava_mix() -> list[dict]:
    """Ten records, of which 1, 4 and 7 (from 0) are caption samples."""
    mix = []
    for i in range(10):
        asked = f"<image>\n{ASKED}" if i in (1, 4, 7) else f"<image>\nIs it {i}? \u00e9\U0001f600"
        more = ("Why?", "So.") if i == 8 else ()
        mix.append({"id": "same" if i < 3 else i, "image": f"g/{i}.jpg", "model": None,
                    "conversations": turns(asked, f"Old {i}.", *more)})  # fmt: skip
    return mix


def vcg_mix() -> list[dict]:
    return [
        {"q": ASKED if i in (0, 2) else f"Is it {i}?", "a": f"Old {i}.", "video_id": f"v_{i}"}
        for i in range(4)
    ]


def captions(tmp_path, count: int) -> str:
    file = tmp_path / "captions.jsonl"
    rows = [
        {"id": f"c{i}", "video": f"new/{i}.mp4", "caption": f"New {i}. It ends.", "short": f"N{i}."}
        for i in range(count)
    ]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(file)


def run(tmp_path, mix: bytes, *, count: int = 3, name: str = "mix.json", **options) -> dict:
    (tmp_path / name).write_bytes(mix)
    settings = {"rule": recognise.parse(options.pop("rule", "question"))} | options
    making = Making(source="", target="llava_json", styles=("detailed", "short"), seed=1)
    return swap.swap(
        tmp_path / name, captions(tmp_path, count), making, out=tmp_path / "out", **settings
    )


def parts(text: str) -> list[str]:
    """What stands before, between and after the records of a list, and they: gap, record, gap ..."""
    found, at = [], text.index("[") + 1
    found.append(text[:at])
    while (start := text.find("{", at)) >= 0:
        _, end = json.JSONDecoder().raw_decode(text, start)
        found[-1] += text[at:start]
        found += [text[start:end], ""]
        at = end
    found[-1] += text[at:]
    return found


LAYOUTS = {
    "one line": lambda mix: json.dumps(mix).encode(),
    "indented": lambda mix: json.dumps(mix, indent=2).encode(),
    "windows": lambda mix: b"\xef\xbb\xbf" + json.dumps(mix, indent=4).replace("\n", "\r\n").encode(),
    "uneven": lambda mix: (
        "[ " + " ,\n\t".join(json.dumps(m, separators=(",", " : ")) for m in mix) + "]\n\n"
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_question_rows_stay_to_the_byte(layout, tmp_path):
    before = LAYOUTS[layout](llava_mix())
    report = run(tmp_path, before)
    assert (report["records"], report["replaced"], report["untouched"]) == (10, 3, 7)
    after = (tmp_path / "out/detailed.json").read_bytes()
    new = json.loads(after.decode("utf-8-sig"))
    for number, old in enumerate(llava_mix()):
        if number not in (1, 4, 7):
            assert new[number] == old
    swapped = [new[n] for n in (1, 4, 7)]
    assert [r["id"] for r in swapped] == ["c0", "c1", "c2"]
    assert swapped[0]["conversations"][1]["value"] == "New 0. It ends."
    assert swapped[2]["video"] == "new/2.mp4"
    # By another reader than the code's: all but the samples is the mix's own bytes.
    old_parts, new_parts = parts(before.decode()), parts(after.decode())
    same = [a == b for a, b in zip(old_parts, new_parts, strict=True)]
    assert [n for n, equal in enumerate(same) if not equal] == [3, 9, 15]
    with swap.open_mix(tmp_path / "mix.json", recognise.parse("question")) as mix:
        assert swap.differences(mix, tmp_path / "out/detailed.json") == []
        assert swap.differences(mix, tmp_path / "out/short.json") == []


def test_a_swapped_record_is_laid_out_like_its_neighbours(tmp_path):
    run(tmp_path, LAYOUTS["windows"](llava_mix()))
    data = (tmp_path / "out/detailed.json").read_bytes()
    assert (
        data.startswith(b"\xef\xbb\xbf[\r\n    {\r\n        ")
        and b'\r\n    {\r\n        "id": "c1"' in data
    )
    assert data.count(b"\n") == data.count(b"\r\n")


def test_jsonl_and_videochatgpt(tmp_path):
    lines = b"\n".join(json.dumps(m).encode() for m in llava_mix()) + b"\n\n"
    run(tmp_path, lines, name="mix.jsonl")
    after = (tmp_path / "out/detailed.jsonl").read_bytes().split(b"\n")
    same = [a == b for a, b in zip(after, lines.split(b"\n"), strict=True)]
    assert [n for n, equal in enumerate(same) if not equal] == [1, 4, 7]


def test_videochatgpt_questions_and_answers(tmp_path):
    mix = json.dumps(vcg_mix(), indent=1).encode()
    report = run(tmp_path, mix, count=2, expected=2)
    assert report["replaced"] == 2
    after = json.loads((tmp_path / "out/detailed.json").read_bytes())
    assert [r["video_id"] for r in after] == ["0", "v_1", "1", "v_3"]
    assert after[1] == vcg_mix()[1] and after[0]["a"] == "New 0. It ends."
    records = READERS["videochatgpt_json"](tmp_path / "out/detailed.json", root=tmp_path)
    assert len(records) == 4


def test_of_more_captions_some_are_drawn_the_same_in_every_arm(tmp_path):
    report = run(tmp_path, LAYOUTS["indented"](llava_mix()), count=50)
    assert report["captions_left"] == 47
    arms = [json.loads((tmp_path / f"out/{n}.json").read_bytes()) for n in ("detailed", "short")]
    ids = [[arm[n]["id"] for n in (1, 4, 7)] for arm in arms]
    assert ids[0] == ids[1] == sorted(ids[0], key=lambda name: int(name[1:]))
    assert ids[0] != ["c0", "c1", "c2"]


def test_swapped_again_it_is_left_and_another_swap_is_refused(tmp_path):
    report = run(tmp_path, LAYOUTS["indented"](llava_mix()))
    written = (tmp_path / "out/short.json").stat().st_mtime_ns
    again = run(tmp_path, LAYOUTS["indented"](llava_mix()))
    assert again == json.loads(json.dumps(report))
    assert (tmp_path / "out/short.json").stat().st_mtime_ns == written
    with pytest.raises(WorkdirError, match="caption_samples: 'question' there, 'id:s' now"):
        run(tmp_path, LAYOUTS["indented"](llava_mix()), rule="id:s")


def test_counts_that_do_not_fit(tmp_path):
    mix = LAYOUTS["one line"](llava_mix())
    with pytest.raises(RecordError, match="2 captions for 3 caption samples of"):
        run(tmp_path, mix, count=2)
    with pytest.raises(RecordError, match="3 of 10 records are caption samples .*, 4 expected"):
        run(tmp_path, mix, expected=4)
    with pytest.raises(RecordError, match="3 of 10 records .* 28000 expected"):
        run(tmp_path, mix, expected=28_000)
    with pytest.raises(RecordError, match="0 of 10 records are caption samples by the rule"):
        run(tmp_path, mix, rule="question:nothing asks so")
    assert not (tmp_path / "out").joinpath("build.json").exists()


def test_a_mix_that_cannot_be_read(tmp_path):
    both = [llava_mix()[1], vcg_mix()[0]]
    for mix, message in [
        (b'[{"id": 1,}]', "record 1: line 1: not JSON"),
        (b'[{"id": "\xe9"}]', "record 1: not UTF-8"),
        (json.dumps(both).encode(), "records of two formats"),
        (b"[", "record 1: expected an object"),
    ]:
        with pytest.raises(RecordError, match=message):
            run(tmp_path, mix)
    with pytest.raises(RecordError, match="no conversation mix"):
        run(tmp_path, b"a,b\n", name="mix.csv")


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("question", [1, 4, 7]),
        ("question:is it [03]", [0, 3]),
        ("id:same", [0, 1, 2]),
        ("media:g/[56]", [5, 6]),
        ("words:2", [0, 1, 2, 3, 4, 5, 6, 7, 9]),
        ("words:3", []),
    ],
)
def test_rules(rule, found):
    known = recognise.parse(rule)
    assert [n for n, record in enumerate(llava_mix()) if known(record)] == found


def test_a_rule_by_a_list_of_ids(tmp_path):
    (tmp_path / "ids.txt").write_text("3\n5\n")
    known = recognise.parse(f"ids:{tmp_path}/ids.txt")
    assert [n for n, record in enumerate(llava_mix()) if known(record)] == [3, 5]


@pytest.mark.parametrize(
    ("asked", "yes"),
    [
        ("Describe the video in detail.", True),
        ("Can you please provide a detailed description of what happens in the video?", True),
        ("What is happening in this clip?", True),
        ("Write a short caption for the video.", True),
        ("Please tell me about the scene.", True),
        ("What color is the car in the video?", False),
        ("Why does the man in the video laugh?", False),
        ("Describe the man's jacket.", False),
        ("Does it describe the video?", False),
    ],
)
def test_what_asks_for_a_description(asked, yes):
    assert recognise.parse("question")({"q": asked, "a": "x", "video_id": "v"}) is yes


@pytest.mark.parametrize(
    "rule", ["", "answer:x", "id", "id:", "question:", "words:x", "words:²", "media:(", "ids:"]
)
def test_rules_that_are_none(rule):
    with pytest.raises(ConfigError):
        recognise.parse(rule)
    assert not recognise.parse("id:x")({"conversations": 3})
    assert not recognise.parse("media:x")({"video": None})
    assert not recognise.parse("question")({"q": 3, "a": None})


def test_differences_are_found(tmp_path):
    mix = LAYOUTS["indented"](llava_mix())
    run(tmp_path, mix)
    good = (tmp_path / "out/detailed.json").read_bytes()
    other = tmp_path / "other.json"
    with swap.open_mix(tmp_path / "mix.json", recognise.parse("question")) as opened:
        for old, new, where in [
            (b"Is it 5?", b"Is it 6?", ["record 6"]),
            (b'"model": null', b'"model":null', ["record 1", "record 3", "record 4", "record 6"]),
            (b"\n]", b"\n\n]", ["the end"]),
        ]:
            other.write_bytes(good.replace(old, new))
            assert swap.differences(opened, other)[:4] == where
        other.write_text(json.dumps(llava_mix()[:9]))
        assert swap.differences(opened, other) == ["the count (9 records, 10 before)"]
