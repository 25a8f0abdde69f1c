"""Statistics of training texts: counted by hand on small arms, and shown."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from sg4v_jax.caption import data_stats, data_stats_page, lexical
from sg4v_jax.caption.data_stats import Arm, Limit
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.text.tokenizer import Tokenizer

LONG = "A dog runs. Then the dog stops."
TEXTS = {"a": LONG, "b": "A cat sleeps."}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file("asset:world")


def words_limit(tokens: int) -> Limit:
    return Limit(f"words {tokens}", tokens, lambda text: len(text.split()))


def test_an_arm_counted_by_hand(tokenizer):
    limits = [words_limit(3), words_limit(99)]
    found = data_stats.statistics(Arm("one", "x", TEXTS), tokenizer=tokenizer, limits=limits)
    assert found["texts"] == 2
    assert found["words"] == {"mean": 5.0, "median": 5.0, "p95": 6.8, "max": 7.0, "total": 10.0}
    assert found["sentences"]["mean"] == 1.5 and found["sentence_words"] == 10 / 3
    assert found["vocabulary"] == 8  # a dog runs then the stops cat sleeps
    assert found["type_token"] == 0.8 and found["type_token_1000"] is None
    assert found["temporal"] == 0.1
    assert found["limits"]["words 3"] == {
        "limit": 3,
        "over": 1,
        "share": 0.5,
        "lost_tokens": 0.4,
        "longest": 7,
    }
    assert found["limits"]["words 99"]["over"] == 0
    assert json.loads(json.dumps(found)) == found


def test_stretches_of_words_can_be_compared(tokenizer):
    few = Arm("few", "x", {str(i): "one two three four five" for i in range(400)})
    more = Arm("more", "x", {str(i): "one two three four five" for i in range(800)})
    a, b = (data_stats.statistics(arm, tokenizer=tokenizer, tagged=0) for arm in (few, more))
    assert a["type_token"] == 2 * b["type_token"]
    assert a["type_token_1000"] == b["type_token_1000"] == 0.005


def test_parts_of_speech_are_optional(tokenizer, monkeypatch):
    arm = Arm("one", "x", TEXTS)
    monkeypatch.setattr(lexical, "tagger", lambda: None)
    report = data_stats.compared([arm], tokenizer=tokenizer)
    assert report["arms"][0]["classes"] is None
    assert any("sg4v_jax[captions]" in note for note in data_stats_page.notes(report, missing=[]))
    assert "nouns" not in [row[0] for row in data_stats_page.rows(report)]


def test_parts_of_speech(tokenizer):
    pytest.importorskip("textblob", reason="needs the extra [captions]")
    found = data_stats.statistics(Arm("one", "x", TEXTS), tokenizer=tokenizer, tagged=1)
    assert found["tagged"] == 1 and found["tagger"].startswith("textblob")
    assert found["classes"]["noun"] > 0.2


def test_limits_of_encoders_count_their_own_special_tokens(tokenizer):
    limits = data_stats.encoder_limits("t5", tokenizer)
    assert [(limit.name, limit.tokens) for limit in limits] == [
        ("t5 200", 200),
        ("t5 226", 226),
        ("t5 300", 300),
        ("t5 512", 512),
    ]
    assert limits[0].count("A dog.") == len(tokenizer.encode("A dog.", special=True))
    assert [x.tokens for x in data_stats.encoder_limits("clip", tokenizer)] == [77]


def test_a_rows_limit_holds_video_question_and_answer(tokenizer):
    how = dict(positions=100, template="llama_3_bare")
    bare, seen = (data_stats.row_limit(tokenizer, visual=n, **how).count("A dog.") for n in (0, 50))
    assert seen - bare == 50 and bare > len(tokenizer.encode("A dog.", special=False))


def test_arms_are_compared_by_id(tokenizer):
    arms = [Arm("one", "x", TEXTS), Arm("two", "y", {"a": LONG, "b": "A cat.", "c": "More."})]
    report = data_stats.compared(arms, tokenizer=tokenizer)
    assert report["shared_ids"] == 2 and report["equal_texts"] == 1
    for wrong in ([], [arms[0], arms[0]]):
        with pytest.raises(ConfigError, match="arms"):
            data_stats.compared(wrong, tokenizer=tokenizer)


@pytest.fixture
def files_(tmp_path):
    """A caption file with a row that cannot be used, and a training set of the same videos."""
    rows = [{"id": k, "caption": v} for k, v in TEXTS.items()] + [{"id": "c"}]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A dog."}]
    more = [{"from": "human", "value": "And?"}, {"from": "gpt", "value": "It runs."}]
    record = {"id": "a", "video": "a.mp4", "conversations": turns + more}
    (tmp_path / "train.json").write_text(json.dumps([record]))
    return tmp_path


def test_arms_from_files(files_):
    captions = data_stats.read_arm("c", str(files_ / "captions.jsonl"))
    assert dict(captions.texts) == TEXTS and captions.left_out == 1
    answers = data_stats.read_arm("t", str(files_ / "train.json"), format="llava_json")
    assert list(answers.texts.values()) == ["A dog.\nIt runs."]
    with pytest.raises(ConfigError, match="format 'csv' is unknown"):
        data_stats.read_arm("t", str(files_ / "train.json"), format="csv")
    with pytest.raises(RecordError, match="not a finished store"):
        data_stats.read_arm("t", str(files_))
    (files_ / "none.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(RecordError, match="holds no caption"):
        data_stats.read_arm("n", str(files_ / "none.jsonl"))


def test_the_table_and_the_page(tokenizer, tmp_path):
    arms = [Arm("detailed", "d.jsonl", TEXTS, 1), Arm("short", "<s>.jsonl", {"a": "A dog."})]
    report = data_stats.compared(arms, tokenizer=tokenizer, limits=[words_limit(3)])
    text = io.StringIO()
    Console(width=80, file=text).print(data_stats_page.as_table(report))
    assert "cut at words 3" in text.getvalue() and "50.0% (1)" in text.getvalue()
    remarks = data_stats_page.notes(report, missing=["clip 77: --clip_tokenizer"])
    data_stats_page.write_page(tmp_path / "p.html", report, remarks=remarks)
    page = (tmp_path / "p.html").read_text()
    assert "What models cut off" in page and "not counted: clip 77" in page
    assert "&lt;s&gt;.jsonl" in page and "<script" not in page


@pytest.mark.slow
def test_the_verb(files_):
    words = ["one=" + str(files_ / "captions.jsonl"), f"--json={files_ / 'out.json'}"]
    words += ["--tagged=0", "--template=llama_3_bare", f"--html={files_ / 'out.html'}"]
    done = subprocess.run(
        [sys.executable, "-m", "sg4v_jax", "data", "stats", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "not counted: t5 200, 226, 300, 512" in done.stdout
    assert json.loads((files_ / "out.json").read_text())["arms"][0]["texts"] == 2
    assert (files_ / "out.html").exists()
