"""Judges: exact requests, replies asked for again, cache, budget, a key that never shows."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pathlib

import pytest

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.evals import tempcompass, videobench
from sg4v_jax.evals.judges import Asked, EndpointJudge, Rule, open_judge
from sg4v_jax.evals.questions import Question
from sg4v_jax.evals.score import Options, score
from sg4v_jax.evals.tempcompass import judging as tempcompass_judging
from sg4v_jax.evals.videobench import judging as videobench_judging
from sg4v_jax.evals.videochatgpt import judging as videochatgpt_judging
from tests.endpoint.chat_server import KEY, completion, serving
from tests.evals import made_up
from tests.evals.test_evals_score import cell, write_run

RULE = Rule(model="gpt", settings={"temperature": 1.0}, attempts=3, wait=(1.0, 2.0))


@pytest.fixture
def serve(monkeypatch):
    with serving(monkeypatch) as start:
        yield start


def number(reply: str) -> int:
    return int(reply)


def asked(*names):
    return [Asked(n, f"said {n}", [{"role": "user", "content": n}]) for n in names]


def judge(server, **options):
    waits = []
    made = EndpointJudge(f"{server.url},gpt-x", sleep=waits.append, **options)
    made.waits = waits
    return made


def test_replies_that_cannot_be_used_are_asked_for_again(serve):
    replies = {"a": ["1"], "b": ["what", " 2 "], "c": ["x", "", "y", "3"]}
    server = serve(lambda n, body: completion(replies[body["messages"][0]["content"]].pop(0)))
    made = judge(server)
    assert made.ask(asked("a", "b", "c"), rule=RULE, read=number) == {"a": "1", "b": "2"}
    assert len(server.bodies) == 1 + 2 + 3
    assert len(made.waits) == 2 and all(1 <= w <= 2 for w in made.waits)
    assert server.bodies[0] == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": server.bodies[0]["messages"][0]["content"]}],
        "temperature": 1.0,
    }


def test_a_refused_request_spoils_no_other(serve):
    def script(n, body):
        if body["messages"][0]["content"] == "bad":
            return 400, {"error": {"type": "invalid_request_error"}}, {}
        return completion("7")

    made = judge(serve(script))
    assert made.ask(asked("bad", "good"), rule=RULE, read=number) == {"good": "7"}


def test_the_cache_pays_once_and_another_attempt_is_another_draw(serve, tmp_path):
    server = serve(lambda n, body: completion("x" if n == 0 else "5"))
    for _ in range(2):
        made = judge(server, cache=str(tmp_path))
        assert made.ask(asked("a"), rule=RULE, read=number) == {"a": "5"}
    assert len(server.bodies) == 2


def test_the_budget_stops_and_keeps(serve, tmp_path):
    server = serve(lambda n, body: completion("5"))
    made = judge(server, cache=str(tmp_path), budget=2, concurrency=1)
    with pytest.raises(ConfigError, match="judge openai: the budget of 2 requests is used up"):
        made.ask(asked("a", "b", "c"), rule=RULE, read=number)
    made = judge(server, cache=str(tmp_path), budget=1)
    assert len(made.ask(asked("a", "b", "c"), rule=RULE, read=number)) == 3


def test_the_log_replays(serve, tmp_path):
    log = tmp_path / "judge.jsonl"
    made = judge(serve(lambda n, body: completion("5")), log=log)
    made.ask(asked("a", "b"), rule=RULE, read=number)
    again = open_judge(f"replay:{tmp_path}", stored=lambda path: [])
    assert again.ask(asked("a", "c"), rule=RULE, read=number) == {"a": "5"}
    other = [Asked("a", "said something else")]
    assert again.ask(other, rule=RULE, read=number) == {}
    assert again.name == f"replay:{tmp_path.name}" and not again.asks


def test_specs():
    assert open_judge("none", stored=lambda path: []).absent
    for spec in ("openai", "replay:", "gpt", ""):
        with pytest.raises(ConfigError, match="is unknown"):
            open_judge(spec, stored=lambda path: [])


def test_logs_that_cannot_be_read(tmp_path):
    (tmp_path / "judge.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(RecordError, match="record 1: needs id and answer"):
        open_judge(f"replay:{tmp_path}", stored=lambda path: [])


# The instructions themselves are not ours to give away; these stand for them.
TEMPLATES = {t: f"Judge {t}." for t in made_up.TEMPCOMPASS_TASKS}


@pytest.fixture
def templates(monkeypatch, tmp_path):
    """A made-up `prompt_templates.py` whose checksums are taken for the published ones."""
    known = {
        t: (len(text), hashlib.sha256(text.encode()).hexdigest()[:16])
        for t, text in TEMPLATES.items()
    }
    monkeypatch.setattr(tempcompass_judging, "_TEMPLATES", known)
    lines = [f"x{n} = '''{text}'''\n" for n, text in enumerate(TEMPLATES.values())]
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "prompt_templates.py").write_text(
        "import nothing_at_all\n" + "".join(lines)
    )
    return tmp_path / "data"


def test_tempcompass_asks_exactly_what_the_authors_ask(serve, tmp_path, templates, caplog, capsys):
    caplog.set_level(logging.DEBUG)

    def script(n, body):
        if body["messages"][1]["content"].startswith("Judge captioning"):
            return completion("Answer: A. red")
        return completion("Correct")

    server = serve(script)
    made_up.tempcompass(templates, videos=1, aspects=("speed",))
    loaded = tempcompass.load(templates)
    write_run(tmp_path / "run", loaded, lambda q: "hm", benchmark="tempcompass")
    options = Options(judge=f"openai:{server.url},gpt-3.5-turbo-1106", budget=9)
    found = score(
        "tempcompass",
        data=templates,
        predictions=tmp_path / "run",
        out=tmp_path / "out",
        options=options,
    )
    assert found["headline"] == {"name": "mean of tasks", "value": 100.0}
    assert found["judge"] == {"name": "openai:gpt-3.5-turbo-1106", "unjudged": 0}
    assert not any("is not the published" in w for w in found["counts"]["warnings"])
    sent = {b["messages"][1]["content"]: b for b in server.bodies}
    lines = "Which sentence?\nSentence A: it is speed\nSentence B: it is not"
    choices = "What speed?\nA. red\nB. blue\n D. away"
    assert set(sent) == {
        (
            f"Judge multi-choice.\nMulti-Choice Question:\n{choices}\n"
            "Ground-Truth Answer: A. red\nModel Prediction: hm"
        ),
        (
            "Judge yes_no.\nYes/No Question:\nIs it speed?\n"
            "Ground-Truth Answer: yes\nModel Prediction: hm"
        ),
        (
            f"Judge caption_matching.\nCaption Matching Question:\n{lines}\n"
            "Ground-Truth Answer: Sentence A: it is speed\nModel Prediction: hm"
        ),
        f"Judge captioning.\nVideo Description:hm\nMulti-Choice Question:\n{choices}\n",
    }
    body = next(iter(sent.values()))
    assert {k: v for k, v in body.items() if k != "messages"} == {
        "model": "gpt-3.5-turbo-1106",
        "temperature": 1.0,
        "top_p": 1,
        "presence_penalty": 1,
        "max_tokens": 128,
    }
    assert body["messages"][0] == {
        "role": "system",
        "content": "You are an AI assistant for question answering.",
    }
    # The official result rows tell what the judge said.
    name = tmp_path / "out" / "official" / "auto_eval_results" / "m" / "yes_no.json"
    [row] = files.read_json(name)["100"]["speed"]
    assert list(row) == [
        *("question", "gt-answer", "video-llm-prediction"),
        *("match_success", "chatgpt-response", "rating"),
    ]
    # Scored again without the server, from what was kept.
    options = Options(judge=f"replay:{tmp_path / 'out'}")
    again = score(
        "tempcompass",
        data=templates,
        predictions=tmp_path / "run",
        out=tmp_path / "again",
        options=options,
    )
    assert again["averages"] == found["averages"]
    # The key went to the server, and nowhere else.
    assert server.headers[0][1]["Authorization"] == f"Bearer {KEY}"
    written = [p.read_text() for p in tmp_path.rglob("*") if p.is_file()]
    captured = capsys.readouterr()
    for text in (*written, caplog.text, captured.out, captured.err):
        assert KEY not in text


def test_without_the_authors_instructions_no_judge_is_asked(serve, tmp_path, templates):
    server = serve(lambda n, body: completion("Correct"))
    loaded = tempcompass.load(made_up.tempcompass(templates), tasks=["yes_no"])
    write_run(tmp_path / "run", loaded, lambda q: "hm", benchmark="tempcompass", tasks=["yes_no"])
    how = dict(data=templates, predictions=tmp_path / "run", out=tmp_path / "out")
    options = Options(judge=f"openai:{server.url},g")
    name = templates / "prompt_templates.py"
    name.write_text(name.read_text().replace("Judge yes_no.", "Judge yes_no!"))
    with pytest.raises(ConfigError, match="no text of 13 characters .* instruction for yes_no"):
        score("tempcompass", options=options, **how)
    name.write_text("x = (\n")
    with pytest.raises(ConfigError, match="prompt_templates.py: line 1: not Python"):
        score("tempcompass", options=options, **how)
    name.unlink()
    with pytest.raises(ConfigError, match="no such file, and the judge needs it"):
        score("tempcompass", options=options, **how)
    assert server.bodies == []


REAL = os.environ.get("SG4V_TEMPCOMPASS_DIR", "")


@pytest.mark.skipif(not REAL, reason="SG4V_TEMPCOMPASS_DIR names no copy of TempCompass")
def test_the_published_instructions_are_known():
    found = tempcompass_judging.load_templates(REAL)
    assert {task: len(text) for task, text in found.items()} == {
        "multi-choice": 339,
        "yes_no": 333,
        "caption_matching": 343,
        "captioning": 1433,
    }


RESULTS = pathlib.Path(REAL, "auto_eval_results", "video-llava")


@pytest.mark.skipif(
    not REAL or not RESULTS.exists(), reason="SG4V_TEMPCOMPASS_DIR holds no stored results"
)
def test_the_published_results_are_reproduced_from_stored_replies(tmp_path):
    """Every rating that the authors stored, by our rules and their judge's stored replies."""
    score(
        "tempcompass",
        data=REAL,
        predictions=pathlib.Path(REAL, "predictions", "video-llava"),
        out=tmp_path,
        options=Options(judge=f"replay:{RESULTS}", model="video-llava"),
    )
    rows = {row["id"]: row["rating"] for row in files.read_jsonl(tmp_path / "rows.jsonl")}
    for task in made_up.TEMPCOMPASS_TASKS:
        stored = json.loads((RESULTS / f"{task}.json").read_text())
        for video, aspects in stored.items():
            for aspect, listed in aspects.items():
                for n, row in enumerate(listed):
                    assert rows[f"{task}/{video}/{aspect}/{n}"] == row["rating"]


def test_videobench_asks_exactly_what_the_authors_ask():
    question = Question(
        id="MV/7",
        task="MV",
        video="x",
        text="It's which?",
        gold="(B) Two",
        extra={"letters": {"A": "One", "B": "Two"}},
    )
    asked_for = videobench_judging.asked(question, "Two, I'd say")
    system, assistant, user = asked_for.messages
    assert system == {
        "role": "system",
        "content": "As a language expert, please complete the following task.",
    }
    assert assistant == {
        "role": "assistant",
        "content": "You are now an answer selection expert, and I will provide you with a question "
        "with several options, as well as a target sentence. Please return the alphabet of the "
        "option with the highest probability of matching this target sentence. Given question with "
        "options and the target sequence:\n"
        "{'target sequcene': \"Two, I'd say\", 'question': \"It's which? A.One B.Two \\n Among the "
        'two options A, B above, the one closest to the correct answer is: "}',
    }
    assert user == {
        "role": "user",
        "content": 'Please output your responses in the form of a dictionary {"maximum '
        'probability":"xxx"}  where xxx is A or B or C or ...',
    }
    assert videobench_judging.RULE.settings == {}
    assert videobench_judging.RULE.model == "gpt-3.5-turbo-0613"


def test_videobench_with_a_judge(serve, tmp_path):
    server = serve(lambda n, body: completion('{"maximum probability": "B"}'))
    data = made_up.videobench(tmp_path / "data")
    loaded = videobench.load(data, tasks=["MOT"])
    write_run(tmp_path / "run", loaded, lambda q: "Two", benchmark="videobench", tasks=["MOT"])
    found = score(
        "videobench",
        data=data,
        predictions=tmp_path / "run",
        out=tmp_path / "out",
        options=Options(judge=f"openai:{server.url},g"),
    )
    assert cell(found, "MOT")["score"] == 100.0 and len(server.bodies) == 1  # equal ones go once
    rows = files.read_jsonl(tmp_path / "out" / "rows.jsonl")
    assert all(row["judged"] for row in rows)
    assert any("judge openai:g is not the published one" in w for w in found["counts"]["warnings"])


VIDEOCHATGPT = {
    "correctness": ("d3e95c91b75d55f1", "b73821cf31e193f1"),
    "detail": ("692afe543175215e", "12a0945be9496cfb"),
    "context": ("ab6063175e1a35da", "c48840afd96688be"),
    "temporal": ("2a0b0335b04144b9", "98f80acc48fefa7f"),
    "consistency": ("15f01dba1f255e7f", "45cb7a21eb8ae214"),
}


@pytest.mark.parametrize("name", VIDEOCHATGPT)
def test_videochatgpt_asks_exactly_what_the_authors_ask(name):
    texts = (videochatgpt_judging.SYSTEM[name], videochatgpt_judging.user_template(name))
    digests = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]
    assert tuple(digests) == VIDEOCHATGPT[name]


def test_videochatgpt_puts_texts_into_their_places_once():
    found = videochatgpt_judging.asked(
        "x",
        score="consistency",
        questions=["Q{pred1}", "R"],
        answer="{answer}",
        preds=["p{question2}", "q"],
    )
    text = found.messages[1]["content"]
    assert "Question 1: Q{pred1}\nQuestion 2: R\nCorrect Answer: {answer}\n" in text
    assert "to Question 1: p{question2}\nPredicted Answer to Question 2: q\n\n" in text
    assert text.endswith("{''score': 4.8}.")


@pytest.mark.parametrize(("twice", "second"), [(False, "Isn't it?"), (True, "Is it?")])
def test_the_first_question_twice_is_a_choice(serve, tmp_path, twice, second):
    server = serve(lambda n, body: completion("{'score': 4}"))
    data = made_up.videochatgpt(tmp_path / "data")
    pred = [{"video_name": "v_b", "Q1": "Is it?", "Q2": "Isn't it?", "pred1": "a", "pred2": "b"}]
    made_up.dump(tmp_path / "pred.json", pred)
    found = score(
        "videochatgpt",
        data=data,
        predictions=tmp_path / "pred.json",
        out=tmp_path / "out",
        options=Options(judge=f"openai:{server.url},g", q1_twice=twice),
    )
    assert f"\nQuestion 2: {second}\n" in server.bodies[0]["messages"][1]["content"]
    assert cell(found, "consistency")["score"] == 4.0
    assert found["headline"]["name"] == "mean of 1 of 5 scores"
