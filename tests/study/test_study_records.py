"""Arms of a seed share videos, order, number and questions; what differs is the captions' text."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest
from sg4v_jax.configs.study import base

from sg4v_jax.errors import ConfigError
from sg4v_jax.study import data, pictures, records
from sg4v_jax.study.accuracy import ASKED
from sg4v_jax.study.design import ARMS, runs
from sg4v_jax.world.aspects import captions, reader
from sg4v_jax.world.aspects.scene import WorldSettings, sample_scene

WORLD = WorldSettings(bystander=0.0, camera=0.25)
STYLES = sorted({(a.style, a.dose) for a in ARMS.values() if a.style not in (None, "captioner")})


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(n, split="train", settings=WORLD) for n in range(200)]


def told(record) -> str:
    return record["conversations"][1]["value"]


def without_text(record):
    turns = [t if t["from"] == "human" else t["from"] for t in record["conversations"]]
    return {**record, "conversations": turns}


def test_arms_differ_in_text_alone(scenes):
    made = {
        style: records.captions_of(scenes, seed=1, style=style[0], dose=style[1], path="grid")
        for style in STYLES
    }
    first = [without_text(r) for r in made["detailed", 0.0]]
    for style, rows in made.items():
        assert [without_text(r) for r in rows] == first, style
    for a, b in itertools.combinations(made, 2):
        assert [told(r) for r in made[a]] != [told(r) for r in made[b]], (a, b)


def test_the_same_seed_says_the_same_and_another_not(scenes):
    say = lambda seed: records.captions_of(scenes, seed=seed, style="detailed", path="grid")
    assert say(1) == say(1) != say(2)


def test_some_sentences_are_as_long_as_short(scenes):
    words = lambda style: np.mean(
        [
            len(told(r).split())
            for r in records.captions_of(scenes, seed=1, style=style, path="grid")
        ]
    )
    assert words("some_sentences") == pytest.approx(words("short"), rel=0.08)
    assert words("detailed") > 3.5 * words("short")
    assert words("long_static") == pytest.approx(words("detailed"), rel=0.15)


def test_some_sentences_are_of_the_detailed_caption(scenes):
    whole = records.captions_of(scenes, seed=1, style="detailed", path="grid")
    some = records.captions_of(scenes, seed=1, style="some_sentences", path="grid")
    places = collections.Counter()
    for a, b in zip(whole, some, strict=True):
        of = told(b).rstrip(".").split(". ")
        at = [told(a).rstrip(".").split(". ").index(sentence) for sentence in of]
        assert at == sorted(at) and len(at) in (1, 2)
        places.update(at)
    assert min(places.values()) > 0.5 * max(places.values()), places


def test_doses_are_doses(scenes):
    events = lambda style, dose: sum(
        len(reader.read(told(r)).events)
        for r in records.captions_of(scenes, seed=1, style=style, dose=dose, path="grid")
    )
    whole = events("detailed", 0.0)
    assert whole == 2 * len(scenes)
    assert events("omission", 0.5) == pytest.approx(whole / 2, rel=0.15)
    assert events("false", 0.5) == whole
    assert events("sentences", 1) == 0 and events("sentences", 2) == len(scenes)


def test_an_unknown_style_or_path(scenes):
    with pytest.raises(ConfigError, match="'loud' is unknown"):
        records.captions_of(scenes, seed=1, style="loud", path="grid")
    with pytest.raises(ConfigError, match="'tube' is unknown"):
        records.captions_of(scenes, seed=1, style="short", path="tube")


def test_pictures_of_the_paths(scenes):
    by_path = {
        path: records.captions_of(scenes[:1], seed=1, style="short", path=path)[0]
        for path in ("grid", "frames", "blank")
    }
    assert by_path["grid"]["image"] == "pictures/train-0.png"
    assert by_path["blank"]["image"] == pictures.BLANK_FILE
    assert by_path["frames"]["image"] == [f"frames/train-0/{n:02d}.png" for n in range(16)]
    for path, row in by_path.items():
        asked = row["conversations"][0]["value"]
        assert asked.count("<image>") == (16 if path == "frames" else 1)


def test_questions_are_even_over_the_aspects(scenes):
    rows = records.questions_of(scenes, seed=1, settings=WORLD, path="grid")
    assert len(rows) == len(scenes)
    aspects = collections.Counter(aspect_of(r["conversations"][0]["value"]) for r in rows)
    assert min(aspects.values()) > 0.5 * max(aspects.values()), aspects


def aspect_of(text: str) -> str:
    """A rough class of a question by its words, for counting alone."""
    for word, aspect in (("camera", "camera"), ("quickly", "speed"), ("slowly", "speed")):
        if word in text:
            return aspect
    for word, aspect in ((" to begin", "order"), (" then ", "order"), ("before", "order")):
        if word in text:
            return aspect
    if any(w in text for w in ("become", "larger", "from ")):
        return "attribute"
    if any(w in text for w in (" left", " right", " up", " down")):
        return "direction"
    return "action"


def test_a_larger_set_of_questions_holds_the_smaller():
    c = base.base()
    small, large = (data.question_scenes(c, 1, items=n) for n in (400, 6400))
    assert large[: len(small)] == small and len(large) == 6400


def test_no_clip_is_of_two_uses_or_seeds():
    c = base.base()
    seen: set[int] = set()
    for seed in sorted({r.seed for r in runs(c.rows)}):
        mine = [s.seed for s in data.question_scenes(c, seed, items=6400)]
        mine += [s.seed for s in data.caption_scenes(c, seed)]
        mine += range(
            seed * data._SEED_STEP + data._READING_FROM,
            seed * data._SEED_STEP + data._READING_FROM + c.counts.reading,
        )
        assert len(set(mine)) == len(mine) and not seen & set(mine)
        seen |= set(mine)
    sheets = {s.seed for row in pictures.sheet_scenes(5, settings=WORLD) for s in row}
    assert not seen & sheets and len(sheets) == 16


def test_sheets_show_what_is_told():
    for number, side in enumerate(pictures.SHEETS):
        rows = pictures.sheet_scenes(number, settings=WORLD)
        row = records.sheet_row(number, seed=1, settings=WORLD, path="grid")
        assert len(rows) == side and told(row).count(".") == side
        picture = pictures.sheet(rows, canvas=24)
        assert picture.shape == (96, 96, 3)
        cells = [pictures.cell(picture, n) for n in range(16)]
        assert len({c.tobytes() for c in cells}) == side * side


def test_pretraining_tells_no_event_of_a_picture():
    """Captions of events stand in texts without pictures alone, in other words than the arms'."""
    for number in range(30):
        assert not reader.read(
            told(records.sheet_row(number, seed=1, settings=WORLD, path="grid"))
        ).events
    scene = sample_scene(7, split="train", settings=WORLD)
    row = records.reading(scene, seed=1, settings=WORLD)
    assert "image" not in row
    caption = row["conversations"][0]["value"].split("\n")[0]
    arm = records.captions_of([scene], seed=1, style="detailed", path="grid")[0]
    assert reader.read(caption).events == reader.read(told(arm)).events
    assert not set(caption.split(". ")) & set(told(arm).split(". "))


def test_what_is_asked_says_what_its_options_claim(scenes):
    rows = records.asked(scenes[:20], settings=WORLD)
    assert {r["form"] for r in rows} == set(ASKED)
    for row in rows:
        assert row["answer"] in row["options"] and row["video"].endswith(".png")
        assert len(row["claims"]) == (1 if row["form"] == "yesno" else len(row["options"]))
    assert not any(r["unseen"] for r in rows), "training shows no held-out combination"
    test = [sample_scene(n, split="test", settings=WORLD) for n in range(40)]
    share = np.mean([records.is_unseen(s) for s in test])
    assert 0.25 < share < 0.75


def test_wordings_of_uses_are_apart():
    assert {"train", "pretrain", "test"} <= set(captions.WORDINGS)
