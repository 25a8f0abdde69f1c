"""Blinded sheets: fair sides, no leaks, one script; filled sheets unblinded and tested."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import pathlib
import re

import pytest

from sg4v_jax.caption.caption_file import Captions
from sg4v_jax.caption.compare import CRITERIA, make_sheet, write_sheet
from sg4v_jax.caption.compare_page import render
from sg4v_jax.caption.filled import Judgement, compare_scores, read_all, read_filled, read_key
from sg4v_jax.errors import ConfigError, RecordError

CLIPS = pathlib.Path(__file__).parents[1] / "data" / "clips"


def captions(name: str, texts: dict[str, str]) -> Captions:
    return Captions(name, texts, {key: {"id": key} for key in texts}, ())


A = captions("human.jsonl", {f"v{i}": f"First {i} <b>&\"'" for i in range(21)})
B = captions("model.jsonl", {f"v{i}": f"Second {i}" for i in range(1, 22)})


def test_sides_are_balanced_and_the_key_opens_them():
    sheet = make_sheet(A, B, seed=1)
    assert len(sheet.items) == 20 and sheet.key["sheet"] == sheet.id
    for item, entry in zip(sheet.items, sheet.key["items"], strict=True):
        assert entry["id"] == item.id
        left, right = (A, B) if entry["left"] == "a" else (B, A)
        assert (item.left, item.right) == (left.texts[item.id], right.texts[item.id])
    lefts = [entry["left"] for entry in sheet.key["items"]]
    assert lefts.count("a") == 10 and lefts != ["a", "b"] * 10
    assert [(p.kind, p.id) for p in sheet.problems] == [
        ("only in one file", "v0"),
        ("only in one file", "v21"),
    ]


def test_the_seed_decides_all():
    assert make_sheet(A, B, seed=1) == make_sheet(A, B, seed=1)
    one, other = (make_sheet(A, B, seed=s, items=7) for s in (1, 2))
    assert one.id != other.id and len(one.items) == 7
    assert {i.id for i in one.items} != {i.id for i in other.items}
    with pytest.raises(ConfigError, match="items=0"):
        make_sheet(A, B, seed=1, items=0)
    with pytest.raises(RecordError, match="no common video"):
        make_sheet(A, captions("c", {"x": "y"}), seed=1)


def test_the_page_is_blind_escaped_and_fetches_nothing():
    sheet = make_sheet(A, B, seed=1)
    page = render(sheet)
    assert "human" not in page and "model" not in page
    assert not re.search(r"\bv\d", page), "ids may tell who captioned"
    assert "<b>" not in page and html.escape('<b>&"', quote=False) in page.replace("&quot;", '"')
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "http" not in page.replace("http-equiv", "")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'") and f"'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    names = re.findall(r'name="(\d+-(?:left|right)-\d)" id="\1-1"', page)
    assert len(names) == len(set(names)) == 20 * 2 * len(CRITERIA)


def test_frames_and_links_of_videos(tmp_path):
    names = ["wan21_fox_tracking_shot", "wan22_flowers_bloom", "gone"]
    a, b = (captions(f"{x}.jsonl", dict.fromkeys(names, f"by {x}")) for x in "ab")
    sheet = make_sheet(a, b, seed=0, videos=CLIPS, beside=tmp_path / "out")
    by_id = {item.id: item for item in sheet.items}
    fox = by_id[names[0]]
    assert fox.picture[:3] == b"\xff\xd8\xff" and by_id["gone"].picture is None
    assert (tmp_path / "out" / fox.link).resolve() == (CLIPS / f"{names[0]}.mp4").resolve()
    assert [(p.kind, p.id) for p in sheet.problems] == [("no video", "gone")]
    assert render(sheet).count("data:image/jpeg;base64,") == 2


def test_the_key_lies_beside_the_page(tmp_path):
    sheet = make_sheet(A, B, seed=1)
    key = write_sheet(sheet, page=render(sheet), out=tmp_path / "x" / "sheet.html")
    assert read_key(key) == sheet.key and key.endswith("x/sheet.key.json")
    with pytest.raises(ConfigError, match=r"no \.html file"):
        write_sheet(sheet, page="", out=tmp_path / "sheet.txt")
    with pytest.raises(RecordError, match="not the key of a sheet"):
        (tmp_path / "k.json").write_text("{}")
        read_key(tmp_path / "k.json")


def fill(path, key, *, rater="ann", points=lambda _: ([1] * 3,) * 2, **changes) -> str:
    """A filled sheet in which A gets points[0] and B points[1] wherever they stand."""
    answers = {}
    for number, entry in enumerate(key["items"], 1):
        a, b = points(entry["id"])
        left, right = (a, b) if entry["left"] == "a" else (b, a)
        answers[str(number)] = {"left": left, "right": right}
    value = {"sheet": key["sheet"], "rater": rater, "answers": answers} | changes
    path.write_text(json.dumps(value))
    return str(path)


def test_points_come_back_to_their_systems(tmp_path):
    key = make_sheet(A, B, seed=1).key

    def better(name):
        return ([0, 0, 0], [0, 1, 0]) if name == "v3" else ([1, 1, 0], [0, 1, 0])

    names = [
        fill(tmp_path / f"{rater}.json", key, rater=rater, points=better) for rater in ("ann", "bo")
    ]
    result = compare_scores(read_all(names, key=key))
    assert (result["raters"], result["videos"], result["judgements"]) == (2, 20, 40)
    assert result["agreement"] == 1.0
    total = result["total"]
    assert (total["wins"], total["ties"], total["losses"]) == (19, 0, 1)
    assert total["a"] == pytest.approx(1.9) and total["b"] == pytest.approx(1.0)
    assert total["p"] == pytest.approx(2 * 21 / 2**20)
    assert total["difference"]["low"] > 0.5 and total["difference"]["clusters"] == 20
    fabrication, distortion, temporal = (result["criteria"][c] for c in CRITERIA)
    assert (fabrication["wins"], fabrication["ties"], fabrication["losses"]) == (19, 1, 0)
    assert fabrication["p_holm"] == pytest.approx(3 * fabrication["p"])
    assert (distortion["wins"], distortion["ties"], distortion["losses"]) == (0, 19, 1)
    assert temporal["ties"] == 20 and temporal["p"] == 1.0 and temporal["win_share"] is None


def test_raters_who_disagree_make_a_tie():
    judged = [
        Judgement("ann", "v", (1, 0, 0), (0, 0, 0)),
        Judgement("bo", "v", (0,) * 3, (1, 0, 0)),
    ]
    result = compare_scores(judged)
    assert result["agreement"] == 0.0 and result["total"]["ties"] == 1
    assert result["total"]["difference"]["low"] is None  # one video gives no interval
    assert not math.isnan(result["total"]["p"])


GOOD = {"left": [1, 0, 1], "right": [0, 0, 0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sheet": "other"}, "belongs to sheet 'other'"),
        ({"rater": " "}, "field 'rater'"),
        ({"answers": []}, "not a filled sheet"),
        ({"answers": {"21": GOOD}}, "item 21: the sheet has items 1 to 20"),
        ({"answers": {"x": GOOD}}, "item x"),
        ({"answers": {"1": {"left": [1, 0, 1]}}}, "item 1: field 'right': None"),
        ({"answers": {"1": GOOD | {"left": [1, 0]}}}, r"item 1: field 'left': \[1, 0\]"),
        ({"answers": {"1": GOOD | {"left": [1, 0, 2]}}}, "item 1: field 'left'"),
        ({"answers": {"1": GOOD | {"left": [True, 0, 1]}}}, "item 1: field 'left'"),
    ],
)
def test_sheets_that_no_rater_can_have_filled(tmp_path, changes, message):
    key = make_sheet(A, B, seed=1).key
    name = fill(tmp_path / "f.json", key, **changes)
    with pytest.raises(RecordError, match=message):
        read_filled(name, key=key)


def test_one_rater_twice_or_nobody(tmp_path):
    key = make_sheet(A, B, seed=1).key
    name = fill(tmp_path / "f.json", key)
    with pytest.raises(RecordError, match="rater 'ann' judged video 'v.*' 2 times"):
        read_all([name, name], key=key)
    empty = fill(tmp_path / "e.json", key, rater="bo", answers={})
    with pytest.raises(RecordError, match="no video is judged"):
        read_all([empty], key=key)
