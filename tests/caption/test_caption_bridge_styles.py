"""Arms: what each style makes of a caption, and that draws depend on seed and id alone."""

from __future__ import annotations

from collections import Counter

import pytest
import tokenizers

from sg4v_jax.caption.bridge import sentences, styles
from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault
from sg4v_jax.errors import ConfigError
from sg4v_jax.text.tokenizer import Tokenizer, train_byte_bpe

TEXT = "A dog runs to Mr. J. Smith. It weighs 3.5 kg! He says “stop.” Then it sits"
TOLD = [
    "A dog runs to Mr. J. Smith.",
    "It weighs 3.5 kg!",
    "He says “stop.”",
    "Then it sits",
]
CLIP = CaptionedClip("a", "a.mp4", detailed=TEXT, short="A dog.", differential=("A brown dog.",))
TOKENIZER = train_byte_bpe([TEXT] * 3, vocab_size=300)


def make(name: str, clip: CaptionedClip = CLIP, *, seed: int = 0) -> str:
    return styles.parse(name).text(clip, styles.Tools(seed, TOKENIZER))[0]


def test_sentences():
    assert sentences.split(TEXT) == TOLD
    assert sentences.first(TEXT, 2) == " ".join(TOLD[:2])
    assert sentences.first(TEXT, 9) == TEXT and sentences.first("", 1) == ""
    assert sentences.split("no stop") == ["no stop"] and sentences.split(" . ") == ["."]
    assert sentences.split("他走。她笑！好") == ["他走。", "她笑！", "好"]
    assert sentences.split("and so am I. I see.") == ["and so am I.", "I see."]
    assert sentences.split("What?! (A cat.) So...\nYes.") == ["What?!", "(A cat.)", "So...", "Yes."]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("detailed", TEXT),
        ("short", "A dog."),
        ("first_n_sentences:1", TOLD[0]),
        ("first_n_sentences:3", " ".join(TOLD[:3])),
        ("long_static", "A brown dog. " * 5 + "A brown."),
    ],
)
def test_a_style(name, text):
    assert make(name) == text


@pytest.mark.parametrize(("words", "first"), [(2, "One two three four."), (9, "A. B c."), (3, "x")])
def test_static_text_has_as_many_words_as_the_detailed(words, first):
    clip = CaptionedClip("a", "a.mp4", detailed=" ".join(["w"] * words), static=first)
    made = make("long_static", clip)
    assert len(made.split()) == words and made.endswith(".")
    assert set(made.replace(".", "").split()) <= set(first.replace(".", "").split())


@pytest.mark.parametrize("tokens", [1, 2, 5, 17, 34])
def test_truncated_to_what_its_tokens_spell(tokens):
    made = make(f"truncate:{tokens}")
    assert TEXT.startswith(made) and made
    ids = TOKENIZER.encode(TEXT, special=False)
    assert len(TOKENIZER.encode(made, special=False)) <= tokens < len(ids)
    longer = TOKENIZER.decode(ids[: tokens + 1])
    assert len(made) <= len(longer)
    assert make("truncate:1000") == TEXT


def test_truncation_cuts_the_text_whatever_the_tokenizer_makes_of_it():
    """A tokenizer of lower case and single spaces, as text encoders have them."""
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    backend.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.NFKC(), tokenizers.normalizers.Lowercase()]
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    text = "A  Dog\nRuns ﬁne, Then SITS."
    tools = styles.Tools(0, Tokenizer(backend))
    cut = [
        styles.parse(f"truncate:{n}").text(CaptionedClip("a", "a", detailed=text), tools)[0]
        for n in (1, 2, 4, 5, 8, 9)
    ]
    assert cut == ["A", "A  Dog", "A  Dog\nRuns ﬁne", "A  Dog\nRuns ﬁne,", text, text]


def test_truncation_never_ends_within_a_character():
    clip = CaptionedClip("a", "a.mp4", detailed="\U0001f600é" * 9)
    for tokens in range(1, 40):
        try:
            made = make(f"truncate:{tokens}", clip)
        except RowFault as e:
            assert e.kind == "nothing left" and tokens < 4
        else:
            assert clip.detailed.startswith(made) and "�" not in made


def test_shuffled_has_the_same_sentences_in_another_order():
    orders = set()
    for number in range(40):
        clip = CaptionedClip(f"v{number}", "a.mp4", detailed=TEXT)
        made = make("shuffled", clip)
        assert made == make("shuffled", clip) != TEXT
        assert sorted(made.split()) == sorted(TEXT.split())
        orders.add(made)
    assert len(orders) > 10
    assert make("shuffled", CaptionedClip("a", "a.mp4", detailed="One. One.")) == "One. One."
    two = CaptionedClip("a", "a.mp4", detailed="One. Two.")
    assert make("shuffled", two) == "Two. One."
    assert make("shuffled", seed=1) != make("shuffled", seed=2)


def test_a_mix_is_drawn_for_each_video_by_its_weights():
    mix, tools = styles.parse("mix:detailed=0.7,short=0.3"), styles.Tools(5)
    clips = [CaptionedClip(f"v{i}", "a", detailed="Long one.", short="S.") for i in range(2000)]
    used = [mix.text(clip, tools)[1] for clip in clips]
    assert abs(Counter(used)["short"] - 600) < 62  # three standard deviations
    assert [mix.text(clip, tools)[1] for clip in reversed(clips)] == used[::-1]
    assert [mix.text(clip, styles.Tools(6))[1] for clip in clips] != used
    # What one of its styles cannot make it does not make of the other: the arm keeps its clips.
    with pytest.raises(RowFault, match="no short caption"):
        mix.text(CaptionedClip("v1", "a", detailed="Long."), tools)


def test_draws_are_written_down():
    """Another system or Python must draw the same."""
    assert styles.draw(0, "a", "mix") == 0x4B80FA1F0DDA / 2**48
    assert make("shuffled") == " ".join(TOLD[i] for i in (0, 2, 3, 1))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("short", "no short caption"),
        ("long_static", "no first-frame caption"),
        ("detailed", "empty caption"),
        ("truncate:3", "empty caption"),
        ("shuffled", "empty caption"),
    ],
)
def test_a_clip_that_has_not_what_a_style_needs(name, kind):
    with pytest.raises(RowFault) as caught:
        make(name, CaptionedClip("a", "a.mp4", static="x" if name != "long_static" else ""))
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "name",
    ["", "long", "first_n_sentences", "first_n_sentences:0", "first_n_sentences:x", "truncate:",
     "truncate:-3", "truncate:1e3", "detailed:2", "mix:", "mix:detailed", "mix:detailed=1",
     "mix:detailed=0,short=1", "mix:detailed=nan,short=1", "mix:detailed=inf,short=1",
     "mix:mix=1,short=1", "mix:short=1,short=2", "first_n_sentences:²"],
)  # fmt: skip
def test_styles_that_are_none(name):
    with pytest.raises(ConfigError) as caught:
        styles.parse(name)
    assert caught.value.mend


def test_names_as_files():
    assert styles.slug("mix:detailed=0.7,short=0.3") == "mix_detailed-0.7_short-0.3"
    assert styles.needs_tokenizer(styles.parse("mix:detailed=1,truncate:9=1"))
    assert not styles.needs_tokenizer(styles.parse("first_n_sentences:9"))
