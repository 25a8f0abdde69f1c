"""`sg4v caption filter`, `score` and `compare` as a user runs them."""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from sg4v_jax.world.dataset import make_dataset

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("world")
    make_dataset(str(folder), videos=4, seed=0)
    return folder


def sg4v(verb: str, *words) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sg4v_jax", "caption", verb, *map(str, words)]
    wide = os.environ | {"COLUMNS": "300"}
    return subprocess.run(command, cwd=ROOT, env=wide, capture_output=True, text=True, check=False)


def test_filter_by_a_file_of_captions(world, tmp_path):
    captions, out = world / "captions.jsonl", tmp_path / "out"
    done = sg4v(
        *("filter", f"--captions={captions}", f"--videos={world}/videos", f"--out={out}"),
        "--threshold=0.35",
    )
    assert done.returncode == 0, done.stderr + done.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert summary["encoder"] == "hash:512" and summary["threshold"] == 0.35
    kept, dropped = (
        [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        for name in ("kept", "dropped")
    )
    assert len(kept) + len(dropped) == 4 and dropped
    assert all(row["seconds"] == 17 / 8 and row["detailed"] for row in kept)
    assert f"kept {len(kept)} of 4; 0 too long, {len(dropped)} alike" in done.stdout


def test_filter_by_a_captioner_names_what_it_cannot_read(world, tmp_path):
    (tmp_path / "videos").mkdir()
    for video in (world / "videos").iterdir():
        (tmp_path / "videos" / video.name).write_bytes(video.read_bytes())
    (tmp_path / "videos" / "zero.mp4").write_bytes(b"")
    words = [f"--videos={tmp_path}/videos", f"--out={tmp_path}/out", "--captioner=world:"]
    done = sg4v("filter", *words, "--max_seconds=2")
    assert done.returncode == 1, done.stderr
    assert "kept 0 of 4; 4 too long" in done.stdout
    assert "1 not readable: " in done.stdout and "zero" in done.stdout


def test_score_against_the_truth(world, tmp_path):
    words = [f"--captions={world}/captions.jsonl", f"--truth={world}", f"--out={tmp_path}/s.json"]
    done = sg4v("score", *words, f"--references={world}/captions.jsonl")
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["events"]["exact"]["value"] == 1.0
    assert report["agreement"]["cider_d"]["value"] == pytest.approx(10)
    for text in ("recall", "hallucination", "CIDEr-D", "4 captions", "sentences each"):
        assert text in done.stdout
    short = sg4v("score", *words[:2], "--field=short")
    assert short.returncode == 0 and "0.000" in short.stdout


class Judge(http.server.BaseHTTPRequestHandler):
    """Says that every reference has one event and that every caption tells it."""

    asked = 0

    def do_POST(self):
        type(self).asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"][-1]["text"]
        events = '{"events": ["it moves"]}'
        told = '{"told": [{"event": "it moves", "is": 1}]}'
        text = told if "Events:" in prompt else events
        answer = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_score_through_a_judge_and_again_without_it(world, tmp_path):
    words = [f"--captions={world}/captions.jsonl", f"--references={world}/captions.jsonl"]
    log = tmp_path / "log.jsonl"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Judge) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        spec = f"--judge=openai:http://127.0.0.1:{server.server_port}/v1,judge"
        live = sg4v("score", *words, spec, f"--judge_log={log}", f"--out={tmp_path}/live.json")
        server.shutdown()
    assert live.returncode == 0, live.stderr + live.stdout
    assert Judge.asked == 8
    again = sg4v("score", *words, f"--judge=replay:{log}", f"--out={tmp_path}/again.json")
    assert again.returncode == 0, again.stderr + again.stdout
    first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("live", "again"))
    assert first["events"] == second["events"] and first["events"]["recall"]["value"] == 1.0
    assert first["judge"].startswith("openai:judge") and second["judge"] == "replay:log.jsonl"


def test_compare_writes_a_sheet_and_reads_it_filled(world, tmp_path):
    page, captions = tmp_path / "sheet.html", world / "captions.jsonl"
    (tmp_path / "b.json").write_text('{"train-000000": "a ball", "train-000001": "a cube"}')
    done = sg4v("compare", captions, tmp_path / "b.json", f"--out={page}")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "2 videos" in done.stdout and "2 only in one file" in done.stdout
    key = json.loads((tmp_path / "sheet.key.json").read_text())
    answers = {str(n): {"left": [1, 1, 1], "right": [0, 0, 0]} for n in (1, 2)}
    filled = {"sheet": key["sheet"], "rater": "ann", "answers": answers}
    (tmp_path / "ann.json").write_text(json.dumps(filled))
    words = [f"--filled={tmp_path}/ann.json", f"--key={tmp_path}/sheet.key.json"]
    done = sg4v("compare", *words, f"--json={tmp_path}/result.json")
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    total = result["total"]
    assert result["videos"] == 2 and total["wins"] == total["losses"] == 1
    assert "2 of 2 videos judged, by 1 raters" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["filter", "--out=x"], "one of --captions and --captioner"),
        (["filter", "--out=x", "--captioner=world:"], "--captioner needs --videos"),
        (["filter", "--out=x", "--captions=none.jsonl"], "none.jsonl: no such file"),
        (["score"], "needs --captions"),
        (["score", "--captions=x", "--judge=world:", "--truth=y"], "both given"),
        (["score", "--captions=x", "--judge=openai:x"], "need --references"),
        (["compare", "a", "--out=x.html"], "needs A, B and --out"),
        (["compare", "--filled=a"], "--filled needs --key"),
    ],
)
def test_what_cannot_be_done_is_said(words, message):
    done = sg4v(*words)
    assert done.returncode == 2 and message in done.stderr and "mend:" in done.stderr
    assert "Traceback" not in done.stderr
