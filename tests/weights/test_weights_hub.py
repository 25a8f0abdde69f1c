"""Hub ids, against a server on this machine that speaks the hub's protocol."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.parse

import pytest

from sg4v_jax.errors import CheckpointError
from sg4v_jax.weights import hub
from sg4v_jax.weights.source import open_source

COMMIT, OLDER = "a" * 40, "b" * 40


class Hub(http.server.ThreadingHTTPServer):
    """Serves `revisions` (commit -> folder) of the one repository org/model."""

    def __init__(self, revisions: dict[str, pathlib.Path]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.revisions, self.asked = revisions, []

    def folder(self, revision: str) -> tuple[str, pathlib.Path] | None:
        commit = COMMIT if revision == "main" else revision
        return (commit, self.revisions[commit]) if commit in self.revisions else None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:4] == ["api", "models", "org", "model"]:
            revision = parts[5] if len(parts) > 5 else "main"
            return self._repository(revision, tree=len(parts) > 4 and parts[4] == "tree")
        if parts[:3] == ["org", "model", "resolve"]:
            return self._file(parts[3], "/".join(parts[4:]))
        return self._say(404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _repository(self, revision: str, *, tree: bool):
        found = self.server.folder(revision)
        if found is None:
            return self._say(404, {"X-Error-Code": "RevisionNotFound"})
        commit, folder = found
        names = sorted(p.name for p in folder.iterdir())
        if tree:
            value = [
                {"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": n}
                for n in names
            ]
        else:
            siblings = [{"rfilename": n} for n in names]
            value = {"id": "org/model", "sha": commit, "siblings": siblings, "private": False}
        return self._say(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _file(self, revision: str, name: str):
        found = self.server.folder(revision)
        if found is None or not (found[1] / name).is_file():
            return self._say(404, {"X-Error-Code": "EntryNotFound"})
        commit, folder = found
        body = (folder / name).read_bytes()
        tag = hashlib.sha256(body).hexdigest()
        return self._say(200, {"X-Repo-Commit": commit, "ETag": f'"{tag}"'}, body)

    def _say(self, status: int, headers: dict[str, str], body: bytes = b""):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(revisions):
    server = Hub(revisions)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


PROGRAM = """
import sys
from sg4v_jax.errors import Sg4vError
from sg4v_jax.weights.source import open_source
try:
    source = open_source("org/model", revision=sys.argv[1] or None)
    print(source.layout, len(source.tensors), source.folder)
except Sg4vError as e:
    print("error:", e)
"""


def ask(server: Hub | None, home: pathlib.Path, *, revision: str = "", offline: bool = False):
    """What a process with these settings says; huggingface_hub reads them when it is imported."""
    endpoint = f"http://127.0.0.1:{server.server_port if server else 9}"
    env = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, revision],
        check=True,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stdout


def test_a_repository_is_fetched_pinned_cached_and_read_offline(checkpoints, tmp_path):
    newer = checkpoints("llava")
    (newer / "modeling.py").write_text("raise SystemExit('code of the repository')")
    revisions = {COMMIT: newer, OLDER: checkpoints("hf")}
    with serving(revisions) as server:
        said = ask(server, tmp_path)
        assert said.startswith("llava 81 ") and f"snapshots/{COMMIT}" in said
        assert not any("modeling.py" in line for line in server.asked)
        fetched = [a for a in server.asked if a.startswith("GET") and "safetensors" in a]
        assert ask(server, tmp_path, revision=OLDER).startswith("hf 81 ")
        before = len(server.asked)
        ask(server, tmp_path, revision=COMMIT)
        assert not any("resolve" in a for a in server.asked[before:]) and fetched
    (newer / "modeling.py").unlink()
    assert ask(None, tmp_path, offline=True).startswith("llava 81 ")


@pytest.mark.parametrize(
    "offline", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["not asked", "refused"]
)
def test_without_network_the_message_says_what_to_place_where(tmp_path, offline):
    said = ask(None, tmp_path, offline=offline)
    assert "error: org/model is no folder here and cannot be fetched" in said
    assert "get config.json, tokenizer.json" in said and "http://127.0.0.1:9/org/model" in said
    assert "every *.safetensors file" in said and "put them into one folder" in said


def test_an_unknown_revision_or_repository_is_named(checkpoints, tmp_path):
    with serving({COMMIT: checkpoints("llava")}) as server:
        said = ask(server, tmp_path, revision="c" * 40)
        assert (
            f"error: org/model at revision {'c' * 40} is no folder here and cannot be fetched"
            in said
        )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("org/model", True), ("a-b.c/d_e", True), ("model", False), ("./org/model", False)]
    + [("a/b/c", False), ("/org/model", False), ("../model", False), ("org/", False)],
)
def test_what_looks_like_a_hub_id(name, expected):
    assert hub.is_id(name) == expected


def test_a_mistyped_folder_is_not_looked_up(monkeypatch):
    monkeypatch.setattr(hub, "fetch", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match="no such file or folder"):
        open_source("runs/mistyped/folder")
