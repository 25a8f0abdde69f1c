"""Notices of maintenance, from a metadata server that the test plays."""

from __future__ import annotations

import contextlib
import http.server
import threading

import pytest

from sg4v_jax.train import maintenance, metadata
from sg4v_jax.train.maintenance import notice, watch


class Server(http.server.ThreadingHTTPServer):
    """Answers `/maintenance-event` and `/preempted` from `answers`, with Google's header alone."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = {"/maintenance-event": "NONE", "/preempted": "FALSE"}
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = self.server.answers.get(self.path)
        allowed = self.headers.get("Metadata-Flavor") == "Google"
        self.send_response(200 if text and allowed else 404 if allowed else 403)
        self.end_headers()
        self.wfile.write((text or "no").encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with contextlib.closing(Server()) as made:
        made.close = made.server_close
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()


def test_what_is_no_notice_and_what_is_one(server):
    read = metadata.read
    assert notice(server.url, read=read) == ""
    server.answers["/maintenance-event"] = "TERMINATE_ON_HOST_MAINTENANCE"
    assert notice(server.url, read=read) == "maintenance-event TERMINATE_ON_HOST_MAINTENANCE"
    server.answers = {"/preempted": "TRUE"}
    assert notice(server.url, read=read) == "preempted TRUE"
    server.answers = {}
    assert notice(server.url, read=read) is None


def test_a_proxy_is_not_asked(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert metadata.read(f"{server.url}/preempted") == "FALSE"


def test_a_notice_is_told_once(server):
    told = threading.Event()
    seen = []
    end = watch(server.url, interval=0.02, on_notice=lambda n: (seen.append(n), told.set()))
    server.answers["/preempted"] = "TRUE"
    assert told.wait(20)
    end()
    assert seen == ["preempted TRUE"]


def test_where_nobody_answers_nothing_is_watched():
    asked = threading.Event()
    calls = []

    def read(url):
        calls.append(url)
        asked.set()

    watch("http://nobody", interval=0.0, on_notice=lambda n: pytest.fail(n), read=read)
    assert asked.wait(20)
    assert set(calls) <= {"http://nobody/maintenance-event", "http://nobody/preempted"}


def test_auto_asks_only_a_machine_with_chips(monkeypatch):
    never = lambda url: pytest.fail("asked")
    watch("", on_notice=never, read=never)
    watch(maintenance.AUTO, on_notice=never, read=never, has_tpu=lambda: False)
    asked = threading.Event()
    monkeypatch.setenv("GCE_METADATA_IP", "1.2.3.4")
    seen = []
    watch(
        maintenance.AUTO,
        on_notice=never,
        has_tpu=lambda: True,
        read=lambda url: (seen.append(url), asked.set(), None)[-1],
    )
    assert asked.wait(20)
    assert seen[0] == "http://1.2.3.4/computeMetadata/v1/instance/maintenance-event"


def test_a_notice_saves_and_stops_a_run(server, tmp_path, run_of):
    from sg4v_jax.train import loop

    def during(step):
        if step == 3:
            server.answers["/preempted"] = "TRUE"
        return {}

    around = loop.Around(maintenance_url=server.url)
    run = run_of(tmp_path, steps=100_000, save_every=10**6, during=during, around=around)
    outcome = run.go()
    assert not outcome.finished
    assert run.checkpoints.saved == [(int(outcome.state.step), 8 * int(outcome.state.step))]
    assert "notice of maintenance (preempted TRUE)" in run.said
