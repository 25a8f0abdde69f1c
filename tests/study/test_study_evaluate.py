"""From a model directory and a data folder to answers.jsonl and the fields of a result row."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.study import accuracy, captioning, evaluate, records, slots, videos
from sg4v_jax.study.likelihood import Scorer
from sg4v_jax.weights.store import save_params, save_settings
from sg4v_jax.world.aspects import captions
from sg4v_jax.world.aspects.facts import made_false, truth, without_events
from sg4v_jax.world.aspects.questions import ASPECTS, CAPTION_PROMPT
from tests.study.conftest import WORLD, make_data, random_model, scenes_of, study_config


@pytest.fixture(scope="module")
def model_dir(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    settings, flat = random_model(data, config=study_config())
    save_settings(folder, settings)
    save_params(folder, flat, dtype="float32")
    return folder


@pytest.fixture(scope="module")
def evaluated(data, model_dir, tmp_path_factory):
    """(fields, lines of answers.jsonl)"""
    out = tmp_path_factory.mktemp("run")
    how = evaluate.Settings(split="dev", world=WORLD, captions=3)
    found = evaluate.evaluate(model_dir, data=data, out=out, settings=how)
    assert [p.name for p in out.iterdir()] == ["answers.jsonl"]
    return found, [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]


def test_answers_are_those_of_the_scores(evaluated, data):
    _, lines = evaluated
    questions, _ = videos.read_questions(data, split="dev")
    asked = [line for line in lines if line["form"] != "captioning"]
    assert [line["id"] for line in asked] == [q["id"] for q in questions]
    for line, question in zip(asked, questions, strict=True):
        assert len(line["scores"]) == len(question["options"])
        assert line["said"]["right"] == question["options"][int(np.argmax(line["scores"]))]
        assert set(line["said"]) == {"right", "wrong", "none"}
        assert {line["said"][c] for c in line["said"]} <= set(question["options"])
        assert line["answer"] == question["answer"] and line["unseen"] == question["unseen"]


def test_the_wrong_video_is_anothers_and_none_is_grey(data, model_dir):
    scorer = Scorer.load(model_dir)
    clips = videos.Videos(scorer.show, data=data, path="grid")
    asked, every = videos.read_questions(data, split="dev")
    other = videos.derangement(list(every))
    line = asked[0]
    scores = {}
    for name, shown in (
        ("right", clips.shown(line["video"])),
        ("wrong", clips.shown(every[other[line["scene"]]])),
        ("none", clips.blank()),
    ):
        turn = videos.user_turn(line["text"], images=1)
        scores[name] = scorer.option_scores([evaluate.Request([turn], line["options"], shown)])[0]
    found = evaluate.answer(
        scorer, asked, videos=clips, every=every, conditions=evaluate.CONDITIONS
    )
    for name, one in scores.items():
        assert found[0]["said"][name] == line["options"][int(one.argmax())]
    assert (clips.blank()[0].tiles == 128).all()


def test_a_derangement_is_fixed_and_leaves_nothing_in_place():
    other = videos.derangement(range(50))
    assert sorted(other) == sorted(other.values()) == list(range(50))
    assert all(a != b for a, b in other.items())
    assert other == videos.derangement(reversed(range(50)))
    with pytest.raises(ConfigError, match="one scene"):
        videos.derangement([3])


def test_fields_are_counted_from_the_answers(evaluated):
    found, lines = evaluated
    assert set(found) == {"accuracy", "unseen", "captioning", "yes_share", "slots", "captions"}
    asked = [line for line in lines if line["form"] != "captioning"]
    for condition, one in found["accuracy"].items():
        right = sum(line["said"][condition] == line["answer"] for line in asked)
        cells = [cell for forms in one["cells"].values() for cell in forms.values()]
        assert sum(r for r, _ in cells) == right and sum(n for _, n in cells) == len(asked)
    unseen = [cell for forms in found["unseen"]["cells"].values() for cell in forms.values()]
    assert sum(n for _, n in unseen) == sum(line["unseen"] for line in asked) > 0
    yes_no = [line for line in asked if line["form"] == "yesno"]
    share = np.mean([line["said"]["right"] == "yes" for line in yes_no])
    assert found["yes_share"]["right"] == pytest.approx(share, abs=1e-6)
    counts = found["captions"]
    assert counts["events_told"] == counts["events_true"] + counts["events_false"]
    assert counts["events_true"] + counts["events_missing"] == 2 * 3
    json.dumps(found)


def test_the_same_again_is_the_same(evaluated, data, model_dir, tmp_path):
    how = evaluate.Settings(split="dev", world=WORLD, captions=3)
    assert evaluate.evaluate(model_dir, data=data, out=tmp_path, settings=how) == evaluated[0]


def test_part_of_it(evaluated, data, model_dir, tmp_path):
    how = evaluate.Settings(split="dev", world=WORLD, conditions=("right",), scenes=4, captions=0)
    found = evaluate.evaluate(model_dir, data=data, out=tmp_path, settings=how)
    assert set(found["accuracy"]) == {"right"} and found["captioning"] == {}
    lines = [json.loads(t) for t in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert {line["scene"] for line in lines} == set(range(4))
    whole = {line["id"]: line for line in evaluated[1]}
    assert all(whole[line["id"]]["said"]["right"] == line["said"]["right"] for line in lines)


def test_accuracy_means():
    answered = [("speed", "choice", True), ("speed", "choice", False), ("speed", "yesno", True)]
    answered += [("action", "yesno", False), ("camera", "yesno", True)]
    found = accuracy.summary(answered)
    assert found["cells"]["speed"] == {"choice": [1, 2], "yesno": [1, 1]}
    assert found["aspects"] == {"action": 0.0, "speed": 0.75, "camera": 1.0}
    assert found["forms"] == {"choice": 0.5, "yesno": 0.5}
    assert found["average"] == 0.375  # camera stands apart
    assert accuracy.summary([])["average"] is None


@pytest.mark.parametrize("style", ["detailed", "short"])
def test_captions_are_read_for_the_fourth_form(data, style):
    asked, every = videos.read_questions(data, split="dev")
    scenes = scenes_of("dev", count=len(every))
    texts = {
        s.seed: records.caption(truth(s), np.random.default_rng(1), style=style) for s in scenes
    }
    lines = captioning.answers(asked, texts)
    assert len(lines) == sum(q["form"] == "choice" for q in asked)
    assert {line["aspect"] for line in lines} == set(ASPECTS)
    right = [line["said"]["right"] == line["answer"] for line in lines]
    assert np.mean(right) == 1 if style == "detailed" else np.mean(right) < 0.4
    assert all(line["id"].endswith("-captioning") for line in lines)


def test_events_of_captions_are_counted():
    scenes = scenes_of("test", count=60)
    say = lambda facts: captions.detailed(facts, np.random.default_rng(1))
    count = lambda change: captioning.events_of(
        (s, say(change(truth(s), np.random.default_rng(s.seed)))) for s in scenes
    )
    true = count(lambda facts, rng: facts)
    assert true == dict(events_told=120, events_false=0, events_missing=0, events_true=120)
    false = count(lambda facts, rng: made_false(facts, rng, rate=1.0))
    assert false == dict(events_told=120, events_false=120, events_missing=120, events_true=0)
    fewer = count(lambda facts, rng: without_events(facts, rng, rate=0.5))
    assert fewer["events_false"] == 0 and fewer["events_told"] + fewer["events_missing"] == 120
    twice = captioning.events_of([(scenes[0], "first it grows. then it grows.")])
    assert twice["events_true"] <= 1 and twice["events_told"] == 2


def test_a_captioner_describes_scenes(data, model_dir, evaluated):
    scenes = scenes_of("dev", count=3)
    made, counts = captioning.describe(model_dir, scenes, data=data, path="grid")
    told = {line["scene"]: line["caption"] for line in evaluated[1] if line["form"] == "captioning"}
    assert made == {f"pictures/dev-{n}.png": told[n] for n in range(3)}
    assert counts == evaluated[0]["captions"]


@pytest.mark.parametrize(
    "make, error, named",
    [
        (
            lambda: evaluate.Settings(split="dev", world=WORLD, conditions=("wrong",)),
            ConfigError,
            "wrong",
        ),
        (lambda: videos.Videos(None, data="x", path="strips"), ConfigError, "strips"),
        (lambda: videos.read_captions("nowhere"), RecordError, "nowhere"),
    ],
)
def test_what_cannot_be(make, error, named):
    with pytest.raises(error, match=named):
        make()


def test_damaged_data_is_named(data, model_dir, tmp_path):
    file = tmp_path / "questions" / "dev.jsonl"
    file.parent.mkdir()
    file.write_text('{"id": "a"}\n')
    with pytest.raises(RecordError, match="object 1: field 'scene'"):
        videos.read_questions(tmp_path, split="dev")
    file.write_text("{\n")
    with pytest.raises(RecordError, match="line 1: not JSON"):
        videos.read_questions(tmp_path, split="dev")
    clips = videos.Videos(Scorer.load(model_dir).show, data=data, path="grid")
    with pytest.raises(RecordError, match="no picture"):
        clips.shown("pictures/dev-999.png")


def test_slots_stand_where_their_words_begin():
    rng = np.random.default_rng(0)
    for scene in scenes_of("train", count=300):
        facts = truth(scene)
        caption = captions.detailed(facts, rng)
        found = slots.slots_of(caption)
        by_name: dict[str, list[str]] = {}
        for slot in found:
            assert caption[slot.at - 1] == " " and slot.answer in slot.words.values()
            word = next(
                w for w in sorted(slot.words, key=len)[::-1] if caption.startswith(w, slot.at)
            )
            assert slot.words[word] == slot.answer
            by_name.setdefault(slot.name, []).append(slot.answer)
        assert by_name["verb"] == [e.kind for e in facts.events]
        move = next((e for e in facts.events if e.kind == "move"), None)
        turn = next((e for e in facts.events if e.kind == "recolour"), None)
        assert by_name.get("direction", [None]) == [move and move.direction]
        assert by_name.get("speed", [None]) == [move and move.speed]
        assert by_name.get("colour", [None]) == [turn and turn.new]
        assert by_name["size"] == [facts.last.size]
        assert " ".join(by_name["camera"]) == facts.camera.replace("still", "stays")
        colour = next((s for s in found if s.name == "colour"), None)
        assert colour is None or turn.old not in colour.words and len(colour.words) == 5


def test_slots_of_another_wording_are_refused():
    facts = truth(scenes_of("train", count=1)[0])
    text = captions.short(facts, np.random.default_rng(0))
    with pytest.raises(RecordError, match="dev-0.*wording"):
        slots.slots_of(text, where="dev-0")


def test_a_slot_is_what_the_model_would_say_there(data, model_dir):
    """Against the whole next-token distribution after the caption cut before the slot."""
    scorer = Scorer.load(model_dir)
    clips = videos.Videos(scorer.show, data=data, path="grid")
    tokenizer, anyres = scorer.settings.tokenizer, scorer.settings.inputs.anyres
    lines = videos.read_captions(data)[:6]
    found = [slots.slots_of(line["caption"]) for line in lines]
    right = slots.predicted(scorer, lines, found, videos=clips)
    samples, expected = [], []
    for line, each, hits in zip(lines, found, right, strict=True):
        shown = clips.shown(line["video"])
        request = evaluate.Request([videos.user_turn(CAPTION_PROMPT, images=1)], [], shown)
        for slot, hit in zip(each, hits, strict=True):
            # What closes the cut caption is scored where the slot's word would stand.
            sequence = scorer.lay_out(request, line["caption"][: slot.at - 1])
            last = sequence._replace(
                loss_index=sequence.loss_index[-1:], targets=sequence.targets[-1:]
            )
            samples.append(layout.Placed(last, shown[0].tiles, 1.0))
            expected.append((slot, hit))
    budget = Budget(192, 1, 1)
    rows = [
        layout.place([x], budget=budget, side=anyres.side, patches=anyres.patches) for x in samples
    ]
    batch = Batch(*(np.stack(field) for field in zip(*rows, strict=True)))
    hidden = jax.jit(lambda model, b: model.hidden(b, dtype=jnp.float32))(scorer.model, batch)
    at = hidden[np.arange(len(rows)), batch.loss_index[:, 0]]
    chances = np.asarray(jax.nn.softmax(scorer.model.llm.logits(at)))
    for row, (slot, hit) in zip(chances, expected, strict=True):
        sums = dict.fromkeys(slot.words.values(), 0.0)
        for word, answer in slot.words.items():
            sums[answer] += row[tokenizer.encode(f" {word}", special=False)[0]]
        assert (max(sums, key=sums.get) == slot.answer) == hit
    assert {hit for _, hit in expected} == {True, False}


def test_slot_accuracy_counts(evaluated, data):
    counts = evaluated[0]["slots"]
    lines = videos.read_captions(data)
    assert tuple(counts) == slots.SLOTS == tuple(slots.chance(WORLD))
    assert counts["verb"][1] == 2 * len(lines)
    assert counts["order"][1] == counts["camera"][1] == counts["size"][1] == len(lines)
    assert counts["order"][0] <= counts["verb"][0]


def test_words_that_begin_alike_are_refused(tmp_path, model_dir, data):
    poor = make_data(tmp_path / "poor", counts=dict(dev=2), vocab=270)
    scorer = Scorer(*random_model(poor, config=study_config()))
    clips = videos.Videos(scorer.show, data=poor, path="grid")
    with pytest.raises(ConfigError, match="same token"):
        slots.slot_accuracy(scorer, data=poor, videos=clips)
