"""A chat about one video: what the engine is asked, turn after turn."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from sg4v_jax.data.record import Visual
from sg4v_jax.errors import BudgetError, MissingVideoError, RecordError
from sg4v_jax.infer.chat import Chat
from sg4v_jax.infer.engine import Request
from sg4v_jax.infer.generate import Sampling
from sg4v_jax.text.chat import Turn, render
from sg4v_jax.video.encode import write_mp4


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> str:
    frames = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    write_mp4(path, frames, fps=8)
    return str(path)


class Recorder:
    """Stands for the engine: keeps what it is asked and gives the answers in order."""

    def __init__(self, settings, answers):
        self.settings, self.asked, self._answers = settings, [], iter(answers)

    def answer(self, requests, **options):
        self.asked.append((*requests, options))
        return [next(self._answers)]


def contents(request) -> list[str]:
    return [turn.content for turn in request.turns]


def test_turns_are_remembered_and_the_video_stands_in_the_first(settings, video):
    engine = Recorder(settings, ["a ball", "red", "left"])
    sampling = Sampling(temperature=0.5)
    chat = Chat(engine, visual=Visual("video", str(video)), max_new_tokens=7, sampling=sampling)
    assert [chat.ask(q) for q in ("What?", "Which color?", "Where to?")] == [
        "a ball",
        "red",
        "left",
    ]
    requests = [request for request, _ in engine.asked]
    assert contents(requests[0]) == ["<image>\nWhat?"]
    assert contents(requests[1]) == ["<image>\nWhat?", "a ball", "Which color?"]
    assert contents(requests[2]) == [*contents(requests[1]), "red", "Where to?"]
    for request, options in engine.asked:
        [picture] = request.pictures
        assert picture.shape == (4 * 32 + 3 * 8, 4 * 32 + 3 * 8, 3)
        assert options == {"max_new_tokens": 7, "sampling": sampling}
    for request in requests:
        roles = [turn.role for turn in request.turns]
        alternating = itertools.cycle(["user", "assistant"])
        assert roles == list(itertools.islice(alternating, len(roles))) and roles[-1] == "user"


def test_the_second_prompt_contains_the_first(settings, video):
    engine = Recorder(settings, ["a ball", "red"])
    chat = Chat(engine, visual=Visual("video", str(video)), max_new_tokens=7)
    chat.ask("What?")
    chat.ask("Which color?")
    template = settings.inputs.chat_template
    prompts = [render(r.turns, template, generation=True) for r, _ in engine.asked]
    assert prompts[1].startswith(prompts[0] + "a ball<|eot_id|>")


def test_the_preamble_stands_before_the_first_question_alone(settings, video):
    inputs = dataclasses.replace(settings.inputs, preamble="A grid of frames. ")
    engine = Recorder(dataclasses.replace(settings, inputs=inputs), ["a", "b"])
    chat = Chat(engine, visual=Visual("video", str(video)), max_new_tokens=7)
    chat.ask("What?")
    chat.ask("Why?")
    assert contents(engine.asked[1][0]) == ["<image>\nA grid of frames. What?", "a", "Why?"]


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("<image> and <image>?", " and ?"),
        ("<ima<image>ge>?", "?"),
        ("<<image>image>?", "?"),
        ("<Image>?", "<Image>?"),
    ],
)
def test_image_places_that_a_user_types_are_taken_out(settings, video, typed, asked):
    engine = Recorder(settings, ["a", "b"])
    chat = Chat(engine, visual=Visual("video", str(video)), max_new_tokens=7)
    chat.ask(typed)
    chat.ask(typed)
    assert contents(engine.asked[1][0]) == [f"<image>\n{asked}", "a", asked]


def test_image_places_that_a_model_says_are_not_remembered(settings, video):
    engine = Recorder(settings, ["an <image>", "b"])
    chat = Chat(engine, visual=Visual("video", str(video)), max_new_tokens=7)
    assert chat.ask("What?") == "an <image>"
    chat.ask("Why?")
    assert contents(engine.asked[1][0]) == ["<image>\nWhat?", "an ", "Why?"]


def test_an_empty_answer_is_forgotten_with_its_question(settings, video):
    engine = Recorder(settings, ["", "a ball"])
    chat = Chat(engine, visual=Visual("video", str(video)), max_new_tokens=7)
    assert chat.ask("What?") == "" and chat.turns == []
    chat.ask("What now?")
    assert contents(engine.asked[1][0]) == ["<image>\nWhat now?"]


def test_a_real_conversation_outlives_refused_questions(engine, video):
    chat = Chat(engine, visual=Visual("video", str(video)), max_new_tokens=6)
    first = chat.ask("hi <image>?")
    before = [Turn("user", "<image>\nhi ?"), Turn("assistant", first)]
    assert first and chat.turns == before
    with pytest.raises(RecordError, match="control token"):
        chat.ask("hi<|eot_id|>")
    with pytest.raises(RecordError, match="empty message"):
        chat.ask("<image>")
    with pytest.raises(BudgetError, match="the model has 2048"):
        chat.ask("why? " * 1000)
    assert chat.turns == before
    second = chat.ask("why?")
    [alone] = engine.answer(
        [Request([*before, Turn("user", "why?")], [chat.picture])], max_new_tokens=6
    )
    assert second == alone
    assert chat.turns == [*before, Turn("user", "why?"), Turn("assistant", second)]


def test_a_video_that_is_not_there(engine, tmp_path):
    with pytest.raises(MissingVideoError, match="none.mp4"):
        Chat(engine, visual=Visual("video", str(tmp_path / "none.mp4")), max_new_tokens=5)
