"""From a trained working directory to answers: one question, a conversation, and bad videos."""

from __future__ import annotations

import fractions
import shutil

import av
import numpy as np
import pytest

from sg4v_jax.cli.exit_codes import BAD_INPUT


@pytest.fixture(scope="module")
def chat(tiny, trained):
    """`chat(*flags, video=..., text=...)` with the tiny trained model."""

    def run(*words, video=tiny.video, text=None):
        return tiny.run("chat", f"--model={trained}", f"--video={video}", *words, text=text)

    return run


def test_one_question_has_one_answer(chat):
    result = chat("--query=What moves?", "--max_new_tokens=6")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr
    assert chat("--query=What moves?", "--max_new_tokens=6").stdout == result.stdout, "greedy"


def test_a_conversation_remembers_its_turns(tiny, trained, chat):
    """The second answer is the one that the engine gives when it sees the first turn too."""
    from sg4v_jax.infer.chat import Chat
    from sg4v_jax.infer.engine import Engine

    questions = ["What moves?", "Where to?"]
    told = chat("--max_new_tokens=6", text="\n".join([questions[0], "", questions[1]]) + "\n")
    assert told.returncode == 0, told.stderr
    own = Chat(Engine.load(trained), video=tiny.video, max_new_tokens=6)
    assert told.stdout.splitlines() == [own.ask(q) for q in questions]
    assert len(own.turns) == 4


def test_both_ways_of_seeing(chat):
    result = chat("--query=What moves?", "--max_new_tokens=2", "--visual=overview")
    assert result.returncode == 0, result.stderr
    bad = chat("--query=x", "--visual=underview")
    assert bad.returncode == BAD_INPUT
    assert "underview" in bad.stderr and "Traceback" not in bad.stderr


def write_sound(path) -> None:
    """An mp4 with a silent audio track and no picture."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        for start in range(0, 4096, 1024):
            silence = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = 8000, start, fractions.Fraction(1, 8000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_videos_that_cannot_be_shown(tiny, chat, tmp_path):
    (tmp_path / "page.mp4").write_text("<html>not found</html>")
    write_sound(tmp_path / "sound.mp4")
    (tmp_path / "cut.mp4").write_bytes(tiny.video.read_bytes()[:900])
    said = {
        "missing.mp4": "No such file",
        "page.mp4": "text, not a video",
        "sound.mp4": "no video stream",
        "cut.mp4": "",
    }
    for name, reason in said.items():
        result = chat("--query=What moves?", video=tmp_path / name)
        assert result.returncode == BAD_INPUT, (name, result.stderr)
        [line] = [s for s in result.stderr.splitlines() if s.startswith("error: ")]
        assert str(tmp_path / name) in line and reason in line
        assert "mend: " in result.stderr and "Traceback" not in result.stderr


def test_folders_that_are_no_model(tiny, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "weightless").mkdir()
    for name in ("model.json", "tokenizer.json"):
        shutil.copy(trained / name, tmp_path / "weightless")
    for folder, reason in (("empty", "no model.json"), ("weightless", "no weights")):
        model = f"--model={tmp_path / folder}"
        result = tiny.run("chat", model, f"--video={tiny.video}", "--query=x")
        assert result.returncode == BAD_INPUT, result.stderr
        assert str(tmp_path / folder) in result.stderr and reason in result.stderr
        assert "Traceback" not in result.stderr


def test_a_model_saved_alone_answers_the_same(tiny, chat, trained, tmp_path):
    saved = tiny.run("model", "save", f"--model={trained}", f"--out={tmp_path}", "--dtype=float32")
    assert saved.returncode == 0, saved.stderr
    assert {p.name for p in tmp_path.iterdir()} == {
        "model.json",
        "tokenizer.json",
        "params.safetensors",
    }
    asked = ("--query=What moves?", "--max_new_tokens=6", f"--video={tiny.video}")
    alone = tiny.run("chat", f"--model={tmp_path}", *asked)
    assert alone.stdout == chat(*asked).stdout


def test_chat_needs_a_model_and_a_video(tiny):
    result = tiny.run("chat", "--query=x")
    assert result.returncode == BAD_INPUT
    assert "chat needs --model and --video" in result.stderr
