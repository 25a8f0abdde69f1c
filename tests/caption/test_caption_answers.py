"""What answers cost goes from an HTTP server's words into the rows, also out of the cache."""

from __future__ import annotations

import http.server
import json
import threading
import time
from concurrent import futures

import pytest

from sg4v_jax.caption.captioners import CaptionRequest, open_captioner
from sg4v_jax.caption.job import run_job
from sg4v_jax.caption.run import CaptionWork
from sg4v_jax.caption.run_items import video_items
from sg4v_jax.video.encode import write_mp4
from sg4v_jax.world.render import render


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the number of images; summaries are cut off; each tenth answer fails."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = body["messages"][0]["content"]
        self.server.asked += 1
        self.server.gate.wait(10)
        images = sum(part["type"] == "image_url" for part in parts)
        choice = {
            "message": {"content": f"{images} images"},
            "finish_reason": "stop" if images else "length",
        }
        usage = {"prompt_tokens": 100 * images + 1, "completion_tokens": 2}
        content = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(500 if self.server.asked % 10 == 0 else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.gate = 0, threading.Event()
    server.gate.set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_rows_of_a_job_tell_tokens_and_a_second_job_costs_nothing(server, scenes, tmp_path):
    for number in range(3):
        write_mp4(tmp_path / f"v/{number}.mp4", render(scenes[number]), fps=8)
    root, items = video_items(tmp_path / "v", keyframes=None)
    spec = f"openai:http://127.0.0.1:{server.server_port}/v1,m"

    def run(out: str) -> list[dict]:
        options = {"cache": str(tmp_path / "answers"), "sleep": lambda seconds: None}
        captioner = open_captioner(spec, **options)
        work = CaptionWork("sliding", "paper", spec, root=root, interval=1.0, opened=captioner)
        finished = run_job(
            items,
            work,
            job=tmp_path / out,
            file=tmp_path / f"{out}.jsonl",
            settings=work.settings,
            shard_size=1,
            workers=2,
        )
        assert not finished.failed
        return [json.loads(line) for line in (tmp_path / f"{out}.jsonl").read_text().splitlines()]

    first = run("a")
    for row in first:
        assert row["diff_captions"] == ["1 images", "2 images", "2 images"]
        assert row["prompt_tokens"] == 101 + 201 + 201 + 1 and row["completion_tokens"] == 8
        assert row["truncated"] is True and row["caption_detailed"] == "0 images"
        assert row["decode"] == {"temperature": 0.0, "max_tokens": 1024}
    asked = server.asked
    assert run("b") == first and server.asked == asked


def test_what_two_threads_ask_at_once_is_asked_once(server, tmp_path):
    request = CaptionRequest((), "the same", "x")
    spec = f"openai:http://127.0.0.1:{server.server_port}/v1,m"
    captioner = open_captioner(spec, cache=str(tmp_path))
    server.gate = threading.Event()
    with futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(captioner.describe, [request]) for _ in range(8)]
        while not server.asked:
            time.sleep(0.001)
        server.gate.set()
        assert {tuple(a.result()) for a in answers} == {("0 images",)}
    assert server.asked == 1 == captioner.usage.requests and captioner.usage.cached == 7
