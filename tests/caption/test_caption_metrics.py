"""CIDEr-D, METEOR and tokens against pycocoevalcap; what captions are made of."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sg4v_jax.caption import coco_java
from sg4v_jax.caption.cider import cider_d
from sg4v_jax.caption.lexical import TEMPORAL, lexical_statistics, sentences, words
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.world.captions import detailed_caption, short_caption
from sg4v_jax.world.scene import sample_scene

REAL = [
    "A red fox runs over a field of snow, while the dark trees behind it slide to the left.",
    "Green and white buds open into full pink, white, blue and orange flowers, in a time-lapse.",
    "It's a dog's 3.5 m long run; they don't stop -- the \"camera\" pans (slowly) left at 10:30.",
    "The man’s hat is gone, and he has become an astronaut in a white suit!",
]


def sets(n: int = 40) -> tuple[dict, dict]:
    """Captions as words, some wrong, short or whole; one to three references each."""
    captions, references = {}, {}
    for seed in range(n):
        scene, rng = sample_scene(seed), np.random.default_rng(seed)
        references[str(seed)] = [words(detailed_caption(scene, rng)) for _ in range(1 + seed % 3)]
        other = sample_scene(seed + 100) if seed % 2 else scene
        write = detailed_caption if seed % 5 else short_caption
        captions[str(seed)] = words(write(other, rng))
    for number, text in enumerate(REAL):
        captions[f"r{number}"], references[f"r{number}"] = words(REAL[-1 - number]), [words(text)]
    captions["empty"], references["empty"] = [], [["a", "dog"]]
    return captions, references


def test_cider_of_perfect_and_foreign_captions():
    references = {"a": [["a", "dog", "runs", "far"]], "b": [["two", "ships", "leave", "port"]]}
    same = {name: texts[0] for name, texts in references.items()}
    assert cider_d(same, references) == pytest.approx({"a": 10.0, "b": 10.0})
    crossed = {"a": same["b"], "b": same["a"]}
    assert cider_d(crossed, references) == {"a": 0.0, "b": 0.0}
    assert cider_d({"a": same["a"]}, {"a": references["a"]}) == {"a": 0.0}
    # Repeats are clipped, and the length penalty takes its part: sigma 6, three pairs more.
    longer = {"a": [*same["a"], "runs", "far", "far"], "b": same["b"]}
    assert 0 < cider_d(longer, references)["a"] < 10 * math.exp(-(3**2) / 72)


def test_cider_needs_the_same_ids():
    with pytest.raises(RecordError, match="'b' are missing"):
        cider_d({"a": []}, {"a": [["x"]], "b": [["x"]]})
    with pytest.raises(RecordError, match="'a' are missing"):
        cider_d({"a": []}, {"a": []})


def test_cider_equals_the_released_scorer():
    pytest.importorskip("pycocoevalcap", reason="needs the package pycocoevalcap")
    from pycocoevalcap.cider.cider import Cider

    captions, references = sets()
    _, wanted = Cider().compute_score(
        {name: [" ".join(t) for t in texts] for name, texts in references.items()},
        {name: [" ".join(text)] for name, text in captions.items()},
    )
    found = list(cider_d(captions, references).values())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert max(found) > 5 > min(found) == 0


needs_java = pytest.mark.skipif(
    coco_java.available() is not None, reason=f"METEOR: {coco_java.available()}"
)


@pytest.mark.slow  # each start of the jar reads its paraphrase table
@needs_java
def test_meteor_is_the_jars():
    captions, references = sets(6)
    of_set, each = coco_java.meteor(captions, references)
    assert list(each) == list(captions)
    assert each["empty"] == 0.0 and 0 < of_set < 1
    same = {name: texts[0] for name, texts in references.items()}
    assert coco_java.meteor(same, references)[0] == pytest.approx(1.0, abs=1e-3)


@needs_java
def test_own_words_are_those_of_the_coco_evaluation_on_plain_text():
    plain = [
        *REAL,
        *(detailed_caption(sample_scene(i), np.random.default_rng(i)) for i in range(9)),
    ]
    assert coco_java.ptb_words(plain) == [words(text) for text in plain]
    assert coco_java.ptb_words(["", "a\ndog.", ""]) == [[], ["a", "dog"], []]


def test_without_java_or_package_it_says_so(monkeypatch):
    monkeypatch.setattr(coco_java.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="Java is not installed"):
        coco_java.meteor({"a": ["x"]}, {"a": [["x"]]})
    monkeypatch.setattr(coco_java.shutil, "which", lambda _: "java")
    monkeypatch.setattr(coco_java.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pycocoevalcap is not installed"):
        coco_java.ptb_words(["x"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The dog's tail, then: a time-lapse.", "the dog 's tail then a time-lapse"),
        ("It’s 3.5 m; they don't stop!", "it 's 3.5 m they do n't stop"),
        ('(slowly) "left" -- at 10:30 …', "slowly left at 10:30"),
        ("O'Brien's re-entry", "o'brien 's re-entry"),
        (" \n", ""),
    ],
)
def test_words(text, wanted):
    assert " ".join(words(text)) == wanted


@pytest.mark.parametrize(
    ("text", "count"),
    [("A dog. It runs 3.5 m.", 2), ("no stop", 1), ('What?! "Yes." ok', 3), ("", 0), ("...", 0)],
)
def test_sentences(text, count):
    assert sentences(text) == count


def test_statistics_of_a_set(monkeypatch):
    monkeypatch.setattr("sg4v_jax.caption.lexical.tagger", lambda: None)
    found = lexical_statistics({"a": "First a dog runs. Then it stops.", "b": "A dog."})
    assert {"first", "then"} <= TEMPORAL
    assert found == {
        "captions": 2,
        "words": 4.5,
        "sentences": 1.5,
        "sentence_words": 3.0,
        "vocabulary": 7,
        "temporal": 2 / 9,
        "tagger": None,
        "classes": None,
    }
    assert lexical_statistics({})["words"] == 0


def test_parts_of_speech():
    pytest.importorskip("textblob", reason="needs the package textblob")
    found = lexical_statistics({"a": "Two red cars slowly went to the old house."})
    assert found["tagger"].startswith("textblob ")
    wanted = {"noun": 2, "adjective": 2, "adverb": 1, "verb": 1, "numeral": 1, "preposition": 1}
    assert found["classes"] == pytest.approx({name: n / 9 for name, n in wanted.items()})


def test_parts_of_speech_without_a_tagger(monkeypatch):
    from sg4v_jax.caption import lexical

    monkeypatch.setattr(lexical, "tagger", lambda: None)
    with pytest.raises(ConfigError, match="need the package textblob"):
        lexical.class_shares(["a dog"])
