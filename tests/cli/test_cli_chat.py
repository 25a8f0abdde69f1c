"""From a trained working directory to answers: one question, a conversation, and bad videos."""

from __future__ import annotations

import fractions
import json
import re
import shutil

import av
import numpy as np
import pytest

from sg4v_jax.cli.exit_codes import BAD_INPUT

QUESTION, MAX = "What moves?", "--max_new_tokens=6"


@pytest.fixture(scope="module")
def chat(tiny, trained):
    """`chat(*flags, video=..., text=...)` with the tiny trained model."""

    def run(*words, video=tiny.video, text=None):
        return tiny.run("chat", f"--model={trained}", f"--video={video}", *words, text=text)

    return run


@pytest.fixture(scope="module")
def answer(chat) -> str:
    """What the model says to the first question."""
    result = chat(f"--query={QUESTION}", MAX)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr
    return result.stdout


def test_one_question_has_one_answer(answer):
    assert len(answer.splitlines()) == 1


def test_a_conversation_goes_on_until_the_end_of_input(chat, answer):
    result = chat(MAX, text=f"{QUESTION}\n\n  \nAnd then?\n")
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines(keepends=True)
    assert first == answer
    assert second.strip()


def test_the_overview_alone(chat, answer):
    result = chat(f"--query={QUESTION}", MAX, "--visual=overview")
    assert result.returncode == 0, result.stderr
    assert result.stdout != answer, "it saw something else"
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


SEVERAL = """
import json, sys
from sg4v_jax.cli import main
for words in json.loads(sys.argv[1]):
    print("exit code", main.run(words), file=sys.stderr)
"""


def refuse_each(tiny, commands: dict[str, tuple[list[str], str]]) -> None:
    """Each command, (words, reason) by the file that is to blame, gives one short message.

    They run in one process, because each new one loads jax.
    """
    words = json.dumps([words for words, _ in commands.values()])
    result = tiny.run(words, program=("-c", SEVERAL))
    assert result.returncode == 0, result.stderr
    messages = re.findall(
        r"^error: (.*)\n  mend: (.+)\nexit code (\d+)$", result.stderr, re.MULTILINE
    )
    assert len(messages) == len(commands), result.stderr
    for (file, (_, reason)), (message, _, code) in zip(commands.items(), messages, strict=True):
        assert file in message and reason in message
        assert int(code) == BAD_INPUT
    assert "Traceback" not in result.stderr


def test_videos_that_cannot_be_shown(tiny, trained, tmp_path):
    (tmp_path / "page.mp4").write_text("<html>not found</html>")
    write_sound(tmp_path / "sound.mp4")
    (tmp_path / "cut.mp4").write_bytes(tiny.video.read_bytes()[:900])
    said = {
        "missing.mp4": "No such file",
        "page.mp4": "text, not a video",
        "sound.mp4": "no video stream",
        "cut.mp4": "",
    }
    chat = ["chat", f"--model={trained}", "--query=x"]
    refuse_each(
        tiny,
        {
            str(tmp_path / name): ([*chat, f"--video={tmp_path / name}"], reason)
            for name, reason in said.items()
        },
    )


def test_folders_that_are_no_model(tiny, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "weightless").mkdir()
    for name in ("model.json", "tokenizer.json"):
        shutil.copy(trained / name, tmp_path / "weightless")
    said = {
        "empty": "no model.json",
        "missing": "no such file or folder",
        "weightless": "no weights",
    }
    chat = ["chat", f"--video={tiny.video}", "--query=x"]
    refuse_each(
        tiny,
        {
            str(tmp_path / name): ([*chat, f"--model={tmp_path / name}"], reason)
            for name, reason in said.items()
        },
    )


def test_a_model_saved_alone_answers_the_same(tiny, answer, trained, tmp_path):
    saved = tiny.run("model", "save", f"--model={trained}", f"--out={tmp_path}", "--dtype=float32")
    assert saved.returncode == 0, saved.stderr
    assert {p.name for p in tmp_path.iterdir()} == {
        "model.json",
        "tokenizer.json",
        "params.safetensors",
    }
    asked = (f"--query={QUESTION}", MAX, f"--video={tiny.video}")
    assert tiny.run("chat", f"--model={tmp_path}", *asked).stdout == answer


def test_chat_needs_a_model_and_a_video(tiny):
    result = tiny.run("chat", "--query=x")
    assert result.returncode == BAD_INPUT
    assert "chat needs --model, and --video or --image" in result.stderr
