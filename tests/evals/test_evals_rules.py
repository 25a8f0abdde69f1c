"""The rules that read answers: every truth table of the protocols."""

from __future__ import annotations

import pytest

from sg4v_jax.evals.mvbench.rules import right_option
from sg4v_jax.evals.tempcompass import rules
from sg4v_jax.evals.videobench.judging import choice
from sg4v_jax.evals.videobench.scoring import weighted_averages
from sg4v_jax.evals.videochatgpt.judging import read_score

# Answer to gold (B): official, MVBench of ShareGPT4Video, its Video-Bench.
OPTIONS = [
    *[
        (said, "(B) blue", True, True, True)
        for said in ("(B) blue", "(b)", "(B", "(B.", "((B) blue", "(B)blue", "(B)\nA")
    ],
    *[
        (said, "(B) blue", False, False, False)
        for said in ("(A) red", "(The", "(Blue", "(AB", "()", "(B: blue", "(B,", "(B\nx")
    ],
    *[(said, "(B) blue", True, False, False) for said in ("(", "", "( B) blue")],
    ("(H) x", "(H) x", True, False, True),
]


@pytest.mark.parametrize(("said", "gold", "official", "mvbench", "videobench"), OPTIONS)
def test_options(said, gold, official, mvbench, videobench):
    assert right_option(said, gold=gold) is official
    assert right_option(said, gold=gold, letters="abcdefg") is mvbench
    assert right_option(said, gold=gold, letters="abcdefgh") is videobench


def test_an_option_without_text_does_not_break_the_rule():
    assert right_option("(B", gold="(B) ") and not right_option("(A", gold="(B) ")


MULTI_CHOICE = [
    ("B. blue", 1),
    ("B", 1),
    ("B. whatever", 1),
    ("B) blue", 1),
    ("B.", 1),
    ("A", 0),
    ("A. blue", 0),
    ("C) blue", 0),
    ("blue", None),
    ("b", None),
    ("", None),
    ("E. x", None),
    ("(B) blue", None),
    ("The answer is B", None),
]


@pytest.mark.parametrize(("said", "rating"), MULTI_CHOICE)
def test_multi_choice(said, rating):
    assert rules.multi_choice(said, gold="B. blue") == rating


YES_NO = [
    ("Yes", "yes", 1),
    ("yes, it is", "no", 0),
    ("yesterday", "yes", 1),
    ("No.", "no", 1),
    ("Nothing", "no", 1),
    ("Not at all", "no", 1),
    ("now it moves", "no", 1),
    ("NO", "yes", 0),
    ("It is", "yes", None),
    ("", "no", None),
]


@pytest.mark.parametrize(("said", "gold", "rating"), YES_NO)
def test_yes_no(said, gold, rating):
    assert rules.yes_no(said, gold=gold) == rating


MATCHING = [
    ("Sentence A: a man runs", 1),
    ("a man runs", 1),
    ("A) a man runs", 1),
    ("B) a man runs", 1),
    ("Sentence A", 1),
    ("A", 1),
    ("A.", 1),
    ("Sentence A.", 1),
    ("Sentence B: a man walks", 0),
    ("a man walks", 0),
    ("B", 0),
    ("x) a man walks", 0),
    ("a", None),
    ("A man runs", None),
    ("", None),
    ("Sentence C", None),
]


@pytest.mark.parametrize(("said", "rating"), MATCHING)
def test_caption_matching(said, rating):
    question = "Which sentence?\nSentence A: a man runs\nSentence B: a man walks"
    gold = "Sentence A: a man runs"
    assert rules.caption_matching(said, question=question, gold=gold) == rating


@pytest.mark.parametrize("label", ["Caption A", "Option 1", "Sentence A"])
def test_caption_matching_knows_all_labels(label):
    other = label[:-1] + {"A": "B", "1": "2"}[label[-1]]
    question = f"Which?\n{label}: up\n{other}: down"
    for said in (label, label[-1], f"{label[-1]}.", "up", f"{label}: up"):
        assert rules.caption_matching(said, question=question, gold=f"{label}: up") == 1
    assert rules.caption_matching(other[-1], question=question, gold=f"{label}: up") == 0


def test_in_caption_matching_the_last_hit_wins():
    # The sentence of B is the label of A; the loop over labels comes last.
    question = "Which?\nCaption A: up\nCaption B: Caption A"
    assert rules.caption_matching("Caption A", question=question, gold="Caption A: up") == 1
    assert rules.caption_matching("Caption A", question=question, gold="Caption B: Caption A") == 1
    # Both options say the same: the second is the one that was meant.
    same = "Which?\nCaption A: up\nCaption B: up"
    assert rules.caption_matching("up", question=same, gold="Caption A: up") == 1
    # Bare labels come after whole ones.
    crossed = "Which?\nB A: up\nx B: down"
    assert rules.caption_matching("B", question=crossed, gold="x B: down") == 1


def test_the_end_mark_is_taken_out():
    assert rules.clean(" B. blue</s> ") == "B. blue"
    assert rules.clean("</s>") == ""


CAPTION_REPLIES = [
    ("Reasoning: so\nAnswer: B. blue", 1),
    ("Answer: B. blue.", 1),
    ("B. blue", 1),
    ("Answer: A. red\nAnswer: B. blue", 1),
    ("Answer: B. blue\nAnswer: A. red", 0),
    ("Answer: B", 0),
    ("Answer: B.", 0),
    ("B", 0),
    ("Answer: B. blue or C. green", 0),
    ("Answer: A. red", 0),
    ("The Answer is B. blue", 0),
    ("it is blue", 0),
]


@pytest.mark.parametrize(("reply", "rating"), CAPTION_REPLIES)
def test_captioning_replies(reply, rating):
    assert rules.captioning(reply, gold="B. blue")[0] == rating


def test_a_captioning_reply_is_taken_apart():
    reply = "Reasoning: it turns blue\nAnswer: B. blue"
    assert rules.captioning(reply, gold="B. blue") == (1, "B. blue", "it turns blue")
    assert rules.captioning("B. blue", gold="B. blue") == (1, "B. blue", None)


VERDICTS = [
    ("Correct", 1),
    ("Correct, not Incorrect", 1),
    ("Incorrect", 0),
    ("It is Correct.", 1),
    ("It is Incorrect, not Correct", 0),
    ("The answer is Incorrect", 0),
]


@pytest.mark.parametrize(("reply", "rating"), VERDICTS)
def test_verdicts(reply, rating):
    assert rules.verdict(reply) == rating


@pytest.mark.parametrize("reply", ["", "correct", "Yes", "incorrect"])
def test_a_verdict_that_says_neither_is_asked_for_again(reply):
    with pytest.raises(ValueError, match="neither"):
        rules.verdict(reply)


def test_captions_of_two_families_of_models_are_unwrapped():
    said = 'Sure.\n**Caption: "a man runs"**'
    assert rules.caption_of(said, model="gemini-1.5") == "a man runs"
    assert rules.caption_of('I say "a man runs" here', model="reka-core") == "a man runs"
    assert rules.caption_of("x\nCaption: a man", model="reka-core") == "a man"
    assert rules.caption_of(said, model="video-llava") == said


SCORE_REPLIES = [
    ("{'score': 4}", 4),
    ('{"score": 4}', 4),
    ("{'score': 2.9}", 2),
    ("{'score':'3'}", 3),
]


@pytest.mark.parametrize(("reply", "score"), SCORE_REPLIES)
def test_scores_are_cut_to_whole_numbers(reply, score):
    assert read_score(reply) == score


def test_the_mean_of_cut_scores():
    scores = [read_score(f"{{'score': {x}}}") for x in (5, 2.9, 3)]
    assert sum(scores) / len(scores) == pytest.approx(3.333, abs=1e-3)


@pytest.mark.parametrize(
    "reply", ["{''score': 4.8}", "```python\n{'score': 4}\n```", "4", "[4]", "", "{'rating': 4}"]
)
def test_scores_that_cannot_be_read(reply):
    with pytest.raises(ValueError, match="score"):
        read_score(reply)


def test_one_script_takes_no_score_for_zero():
    assert read_score("{'rating': 4}", none_is_zero=True) == 0


def test_a_choice_must_be_a_letter_in_json():
    assert choice('{"maximum probability": "B"}') == "B"
    for reply in ('{"maximum probability": "G"}', "B", "{'maximum probability': 'B'}", '["B"]'):
        with pytest.raises(ValueError):
            choice(reply)


def test_the_weights_of_videobench():
    names = ["ActivityNet", "MSVD", "MSRVTT", "TGIF", "Youcook2", "Ucfcrime", "MOT"]
    first = dict(zip(names, (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0), strict=True))
    second = {"TVQA": 30.0, "MV": 60.0, "NBA": 90.0}
    third = {"Driving-exam": 50.0, "Driving-decision-making": 20.0, "SQA3D": 30.0}
    found = weighted_averages(first | second | third)
    levels = (245 / 6.5, 60.0, 75 / 2.5)
    assert list(found.values())[1:] == pytest.approx(levels)
    assert found["official-weighted"] == pytest.approx(sum(levels) / 3)
    assert weighted_averages(first | second)["official-weighted"] is None
