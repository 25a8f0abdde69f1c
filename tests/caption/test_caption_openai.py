"""The HTTP captioner against a real server on loopback."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.caption.captioners import CaptionRequest, open_captioner
from sg4v_jax.caption.openai_captioner import NoAnswerError, OpenAICaptioner
from sg4v_jax.errors import ConfigError, Sg4vError
from tests.endpoint.chat_server import KEY, completion, serving

PICTURE = np.random.default_rng(0).integers(0, 255, (12, 17, 3)).astype(np.uint8)


@pytest.fixture
def serve(monkeypatch):
    """`serve(script)` starts a server; all end with the test."""
    with serving(monkeypatch) as start:
        yield start


def captioner(server, **options) -> OpenAICaptioner:
    waits = []
    made = OpenAICaptioner(server.url, "vlm-1", sleep=waits.append, **options)
    made.waits = waits
    return made


def ask(prompt="What?", *, images=(), name="clip#0") -> CaptionRequest:
    return CaptionRequest(tuple(images), prompt, name)


def test_a_request_as_it_goes_over_the_wire(serve):
    server = serve(lambda number, body: completion("a cat", finish="length"))
    made = open_captioner(f"openai:{server.url}/,vlm-1")
    assert made.describe([ask(images=[PICTURE, PICTURE[:5]])]) == ["a cat"]
    (body,), ((path, headers),) = server.bodies, server.headers
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"]) == ("vlm-1", 0.0)
    (message,) = body["messages"]
    first, second, text = message["content"]
    assert message["role"] == "user" and text == {"type": "text", "text": "What?"}
    kind, _, data = first["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) == PICTURE).all()
    assert second["image_url"]["url"] != first["image_url"]["url"]
    usage = made.usage
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (1, 10, 2)
    assert usage.truncated == 1


def test_answers_come_in_order_several_at_once_and_equal_requests_go_once(serve):
    together = threading.Barrier(4, timeout=20)

    def script(number, body):
        together.wait()  # breaks unless four requests are under way
        return completion("re: " + body["messages"][0]["content"][-1]["text"])

    server = serve(script)
    made = captioner(server, concurrency=4)
    requests = [ask(f"q{i % 8}") for i in range(16)]
    assert made.describe(requests) == [f"re: q{i % 8}" for i in range(16)]
    assert len(server.bodies) == 8
    assert made.describe([]) == []


@pytest.mark.parametrize(
    "fault",
    [
        (429, {"error": "slow down"}, {}),
        (500, b"<html>oops</html>", {}),
        (503, b"", {}),
        (200, b"\xff\xfe not json", {}),
        (200, b'{"choices": [{"message": {"cont', {}),
        (200, json.dumps(completion("cut off")).encode()[:60], {"Content-Length": 5000}),
        (200, {"choices": []}, {}),
        (200, [], {}),
        (200, completion(""), {}),
        (200, completion(None), {}),
    ],
    ids=str,
)
def test_passing_faults_are_tried_again_with_growing_waits(serve, fault):
    server = serve(lambda number, body: fault if number < 3 else completion("at last"))
    made = captioner(server, timeout=5)
    assert made.describe([ask()]) == ["at last"]
    assert len(server.bodies) == 4 and made.usage.requests == 4
    assert 0.5 <= made.waits[0] < made.waits[1] < made.waits[2] <= 3.0


def test_a_server_that_hangs_and_one_that_is_not_there(serve):
    hold = threading.Event()

    def script(number, body):
        if number == 0:
            hold.wait(20)
        return completion("awake")

    assert captioner(serve(script), timeout=0.2).describe([ask()]) == ["awake"]
    hold.set()
    gone = serve(script)
    gone.shutdown()
    gone.server_close()
    with pytest.raises(NoAnswerError, match=r"clip#0: no answer .* in 2 tries; last: .*refused"):
        captioner(gone, attempts=2).describe([ask()])


def test_the_servers_own_wait_is_kept(serve):
    slow = (429, b"", {"Retry-After": "7"})
    server = serve(lambda number, body: slow if number == 0 else completion("ok"))
    made = captioner(server)
    made.describe([ask()])
    assert made.waits == [7.0]


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, ConfigError, "refuses model 'vlm-1': HTTP 401"),
        (404, ConfigError, "HTTP 404"),
        (302, ConfigError, "HTTP 302"),
        (400, NoAnswerError, "clip#0: .* refuses the request: HTTP 400"),
        (413, NoAnswerError, "HTTP 413"),
    ],
)
def test_lasting_faults_are_not_tried_again(serve, status, error, message):
    other = serve(lambda number, body: completion("stolen"))
    headers = {"Location": other.url + "/chat/completions"}
    server = serve(lambda number, body: (status, {"error": f"bad key {KEY}"}, headers))
    with pytest.raises(error, match=message):
        captioner(server).describe([ask()])
    assert len(server.bodies) == 1
    assert other.bodies == []  # a redirect would have taken the key along


def test_answers_are_kept_on_disk_by_what_was_asked(serve, tmp_path):
    server = serve(lambda number, body: completion(f"answer {number}"))
    folder = str(tmp_path / "cache")
    requests = [ask("a"), ask("b"), ask("a", images=[PICTURE]), ask("a", images=[PICTURE + 1])]
    first = captioner(server, cache=folder, concurrency=1).describe(requests)
    assert len(set(first)) == 4
    again = captioner(server, cache=folder)
    assert again.describe(requests) == first
    assert (again.usage.requests, again.usage.cached) == (0, 4)
    warmer = captioner(server, cache=folder, settings={"temperature": 1.0})
    assert warmer.describe(requests[:1]) == ["answer 4"]
    for file in (tmp_path / "cache").rglob("*.json"):
        file.write_text('{"tex')
    assert captioner(server, cache=folder).describe(requests[:1]) == ["answer 5"]


def test_the_budget_ends_the_work_and_nothing_is_paid_twice(serve, tmp_path):
    server = serve(lambda number, body: completion(f"answer {number}"))
    requests = [ask(f"q{i}") for i in range(5)]
    options = {"cache": str(tmp_path), "concurrency": 1}
    with pytest.raises(ConfigError, match="budget of 3 requests is used up"):
        captioner(server, budget=3, **options).describe(requests)
    assert len(server.bodies) == 3
    assert len(captioner(server, budget=2, **options).describe(requests)) == 5
    assert len(server.bodies) == 5


def test_one_refused_request_keeps_the_answers_to_the_others(serve):
    def script(number, body):
        text = body["messages"][0]["content"][-1]["text"]
        return (400, b"too large", {}) if text == "bad" else completion(text)

    server = serve(script)
    made = captioner(server)
    with pytest.raises(NoAnswerError):
        made.describe([ask("good"), ask("bad"), ask("fine")])
    assert made.describe([ask("good"), ask("fine")]) == ["good", "fine"]
    assert len(server.bodies) == 3


def test_the_key_is_nowhere_to_be_read(serve, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    replies = [
        (500, f"Bearer {KEY}".encode(), {}),
        (200, {"echo": f"Bearer {KEY}"}, {}),
        completion("fine"),
    ]
    server = serve(lambda number, body: replies[number % 3])
    made = captioner(server, cache=str(tmp_path))
    made.describe([ask()])
    seen = [repr(made), str(made), made.name, repr(made.usage)]
    for attempts in (1, 2):
        with pytest.raises(Sg4vError) as caught:
            captioner(server, attempts=attempts).describe([ask("other")])
        seen += [str(caught.value), repr(caught.value.__cause__), repr(caught.value.__context__)]
        server.bodies.clear()
    seen += [file.read_text() for file in tmp_path.rglob("*.json")]
    seen += [caplog.text, *capfd.readouterr()]
    assert not [text for text in seen if KEY in text]
    assert any("[key]" in text for text in seen)


@pytest.mark.parametrize("spec", ["openai:", "openai:http://h/v1", "openai:ftp://h,m"])
def test_addresses_that_cannot_be(spec):
    with pytest.raises(ConfigError, match="captioner openai"):
        open_captioner(spec)


def test_a_password_in_an_address_is_refused_and_not_shown():
    with pytest.raises(ConfigError) as caught:
        open_captioner(f"openai:https://me:{KEY}@host/v1,m")
    assert KEY not in str(caught.value)
