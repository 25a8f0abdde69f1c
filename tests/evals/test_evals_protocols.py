"""Prompts, byte for byte, of every benchmark and task, under both protocols."""

from __future__ import annotations

import pytest

from sg4v_jax.evals import videobench, videochatgpt
from sg4v_jax.evals.benchmarks import BENCHMARKS, get_protocol, open_benchmark
from sg4v_jax.evals.protocol import PROTOCOLS
from sg4v_jax.evals.questions import Question
from sg4v_jax.text.chat import TEMPLATES, render
from tests.evals import made_up

P = (
    "The provided image arranges keyframes from a video in a grid view, keyframes are separated "
    "with white bands. Answer concisely with overall content and context of the video, "
    "highlighting any significant events, characters, or objects that appear throughout the "
    "frames."
)
SYSTEM = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail "
    "and movement of objects, and the action and pose of persons. Based on your observations, "
    "select the best option that accurately addresses the question.\n"
)


def question(task, text="What?", **more):
    return Question(id="x", task=task, video="v.mp4", text=text, gold="", **more)


SUFFIXES = {
    "multi-choice": "\nPlease directly give the best option:",
    "yes_no": "\nPlease answer yes or no:",
    "caption_matching": "\nPlease directly give the best option:",
    "captioning": "",
}


@pytest.mark.parametrize("task", SUFFIXES)
def test_tempcompass(task):
    asked = question(task, "What?\nA. red\nB. blue")
    official = get_protocol("tempcompass", "official")
    assert official.prompt(asked) == f"What?\nA. red\nB. blue{SUFFIXES[task]}"
    sg4v = get_protocol("tempcompass", "sg4v")
    wanted = f"<image>\n{P} Question: What?\nA. red\nB. blue{SUFFIXES[task]}"
    [turn] = sg4v.turns(asked)
    assert (turn.role, turn.content) == ("user", wanted)


MV = question("state_change", options=("red ", "blue\n"))
MV_BLOCK = "Question: What?\nOptions:\n(A) red \n(B) blue"


def test_mvbench():
    sg4v = get_protocol("mvbench", "sg4v")
    template = TEMPLATES["llava_llama_3"]
    replaced = type(template)(name="mvbench", system=sg4v.system)
    assert render(sg4v.turns(MV), replaced, generation=True) == (
        f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{SYSTEM}<|eot_id|>"
        f"<|start_header_id|>user<|end_header_id|>\n\n<image>\n {P} {MV_BLOCK} "
        "\nOnly give the best option.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nBest option:("
    )
    official = get_protocol("mvbench", "official")
    user, opened = official.turns(MV)
    assert user.content == f"<image>\n{SYSTEM}{MV_BLOCK}\nOnly give the best option."
    assert opened.content == "Best option:(" and official.system == SYSTEM


def test_answers_are_cut_as_each_protocol_does():
    sg4v, official = (get_protocol("mvbench", name) for name in PROTOCOLS)
    assert sg4v.answer(" B) blue\nbecause ") == "(B) blue\nbecause"
    assert official.answer(" B) blue\nbecause ") == "(B) blue"
    assert official.answer("") == "("
    assert get_protocol("tempcompass", "sg4v").answer(" B. ") == "B."


def videobench_question(letters):
    return question("MV", "Which?", extra={"letters": letters})


def options(count):
    return {chr(ord("A") + i): f"o{i}" for i in range(count)}


OFFICIAL = {
    6: "Which?Choices: A.o0 B.o1 C.o2 D.o3 E.o4 F.o5 \n Among the six options A, B, C, D, E, F "
    "above, the one closest to the correct answer is:",
    5: "Which? A.o0 B.o1 C.o2 D.o3 E.o4 \n Among the five options A, B, C, D, E above, the one "
    "closest to the correct answer is: ",
    4: "Which? A.o0 B.o1 C.o2 D.o3 \n Among the four options A, B, C, D above, the one closest to "
    "the correct answer is:",
    3: "Which? A.o0 B.o1 C.o2 \n Among the three options A, B, C above, the one closest to the "
    "correct answer is: ",
    2: "Which? A.o0 B.o1 \n Among the two options A, B above, the one closest to the correct "
    "answer is: ",
    1: "Which?",
}


@pytest.mark.parametrize("count", OFFICIAL)
def test_videobench(count):
    asked = videobench_question(options(count))
    assert get_protocol("videobench", "official").prompt(asked) == OFFICIAL[count]
    lines = "\n".join(f"({letter}) {text}" for letter, text in options(count).items())
    user, opened = get_protocol("videobench", "sg4v").turns(asked)
    assert user.content == (
        f"<image>\n {P} Question: Which?\nOptions:\n {lines} \nOnly give the best option."
    )
    assert opened.content == "Best option:("
    assert get_protocol("videobench", "sg4v").system == SYSTEM


def test_videobench_shows_options_by_letter():
    asked = videobench_question({"A": "a", "B": "b", "D": "d", "C": "c"})
    assert " A.a B.b C.c D.d \n" in get_protocol("videobench", "official").prompt(asked)
    assert "(C) c\n(D) d" in get_protocol("videobench", "sg4v").prompt(asked)


def test_null_options_are_shown_as_the_authors_script_shows_them(tmp_path):
    loaded = videobench.load(made_up.videobench(tmp_path), tasks=["ActivityNet"])
    asked = next(q for q in loaded.questions if q.id.endswith("null"))
    assert " A.x B.None C.None \n" in get_protocol("videobench", "official").prompt(asked)


@pytest.mark.parametrize("task", videochatgpt.TASKS)
def test_videochatgpt(task):
    asked = question(task)
    assert get_protocol("videochatgpt", "official").prompt(asked) == "What?"
    assert get_protocol("videochatgpt", "sg4v").prompt(asked) == f"{P}What?"


# benchmark, protocol: visual, frames' rule, cap, tokens, temperature, answer's beginning, rule.
SETTINGS = {
    ("tempcompass", "sg4v"): ("anyres", "tempcompass", 0, 128, 0.0, "", "tempcompass"),
    ("tempcompass", "official"): (None, None, None, 128, 0.0, "", "tempcompass"),
    ("mvbench", "sg4v"): ("overview", "mvbench", 1920, 32, 0.0, "(", "letters a-g"),
    ("mvbench", "official"): (None, "mvbench", None, 100, 0.0, "(", "official"),
    ("videobench", "sg4v"): ("overview", "mvbench", 1920, 32, 0.0, "(", "letters a-h"),
    ("videobench", "official"): (None, None, None, 128, 0.0, "", "judge"),
    ("videochatgpt", "sg4v"): ("overview", "run", 1920, 1024, 0.0, "", "judge"),
    ("videochatgpt", "official"): (None, None, None, 1024, 0.2, "", "judge"),
}


def test_every_protocol_is_written_down():
    assert set(SETTINGS) == {(b, p) for b in BENCHMARKS for p in PROTOCOLS}
    for (benchmark, name), wanted in SETTINGS.items():
        p = get_protocol(benchmark, name)
        assert (p.benchmark, p.name) == (benchmark, name)
        found = (p.visual, p.sampling, p.longest_side, p.max_new_tokens, p.temperature)
        assert (*found, p.prepend, p.rule) == wanted, (benchmark, name)
        assert set(p.inputs) <= {"template", "frames", "sampling", "band", "longest_side", "visual"}
        tasks = open_benchmark(benchmark).TASKS
        assert isinstance(p.suffix, str) or set(p.suffix) == set(tasks)
