"""What lmms-eval asks, as requests of the engine; lmms-eval itself is not needed here."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.harness import requests
from sg4v_jax.infer.engine import Engine

GRID = "Frames of a video."


@pytest.fixture(scope="module")
def engine():
    return Engine.load("asset:world").showing(preamble=GRID)


@pytest.fixture(scope="module")
def video(mini):
    return str(next((mini("tempcompass") / "videos").glob("*.mp4")))


def test_a_blank_line_alone_does_not_end_an_answer():
    said = "First paragraph.\n\nSecond; Q: next"
    assert requests.generation({"until": ["\n\n"]}).cut(said) == said
    assert requests.generation({"until": []}).cut(said) == said
    assert requests.generation({"until": ["Q:", "\n\n"]}).cut(said) == "First paragraph."
    assert requests.generation({"until": "Q:"}).cut(said) == "First paragraph.\n\nSecond; "


def test_generation_settings():
    found = requests.generation({"max_new_tokens": 16, "temperature": 0, "until": ["\n\n"]})
    assert (found.max_new_tokens, found.temperature, found.top_p) == (16, 0.0, 1.0)
    assert requests.generation({"temperature": 0.7, "do_sample": False}).temperature == 0
    assert requests.generation({"temperature": 0.7, "top_p": 0.9}).sampling.top_p == 0.9
    assert requests.generation({}).max_new_tokens == requests.LONGEST_ANSWER
    assert requests.generation({"max_new_tokens": 4096}).max_new_tokens == requests.LONGEST_ANSWER
    with pytest.raises(ConfigError, match="num_beams=3"):
        requests.generation({"num_beams": 3})


def test_the_three_ways_to_wrap_a_text():
    wrap = lambda style, pictures=1: requests.wrap(
        " What? ", style=style, preamble=GRID, pictures=pictures
    )
    assert wrap("question") == f"<image>\n{GRID} Question: What?"
    assert wrap("demo") == f"<image>\n{GRID}What?"
    assert wrap("plain") == "<image>\nWhat?"
    assert wrap("question", 0) == "What?"
    assert wrap("plain", 2) == "<image>\n<image>\nWhat?"
    assert requests.wrap("<image> a", style="plain", preamble="", pictures=1) == "<image>\na"
    with pytest.raises(ConfigError, match="prompt=loud"):
        wrap("loud")


def test_videos_and_images_become_pictures(engine, video):
    image = Image.fromarray(np.zeros((8, 10, 3), np.uint8)).convert("L")
    request = requests.simple_request("Which?", [[video], image], engine, style="question")
    assert [s.size[0] >= 10 for s in request.pictures] == [True, True]
    assert request.pictures[1].size == (10, 8)
    assert request.turns[0].content == f"<image>\n<image>\n{GRID} Question: Which?"
    assert requests.simple_request("Which?", None, engine, style="question").pictures == []
    with pytest.raises(RecordError, match="type int"):
        requests.picture(3, engine)


def test_a_chat_keeps_its_turns_system_text_and_opened_answer(engine, video):
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [{"type": "video", "url": video}, {"type": "text", "text": "Which?"}],
        },
        {"role": "assistant", "content": "red"},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": [{"type": "text", "text": "It is ("}]},
    ]
    request = requests.chat_request(messages, engine, style="demo")
    assert request.system == "Be brief."
    assert [t.role for t in request.turns] == ["user", "assistant", "user", "assistant"]
    assert request.turns[0].content == f"<image>\n{GRID}Which?"
    assert request.turns[2].content == "And then?"
    assert len(request.pictures) == 1
    placed = engine.lay_out(request, max_new_tokens=4)
    tail = [int(t) for t in placed.sequence.tokens[-8:]]
    assert engine.settings.tokenizer.decode(tail).endswith("It is (")
    with pytest.raises(RecordError, match="'audio'"):
        requests.chat_request(
            [{"role": "user", "content": [{"type": "audio", "url": "x"}]}], engine, style="demo"
        )


def test_an_engine_that_shows_otherwise_shares_its_weights(engine):
    other = engine.showing(visual="overview")
    assert other.settings.inputs.visual == "overview" != engine.settings.inputs.visual
    assert other._model is engine._model
