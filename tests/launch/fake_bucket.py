"""A bucket in memory: as much of the JSON API of Cloud Storage as gcsfs and TensorStore use.

https://cloud.google.com/storage/docs/json_api/v1. Objects have generations, and a put with
`ifGenerationMatch` is refused where another one is there.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator

_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)$")


class Bucket(http.server.ThreadingHTTPServer):
    """Serves any bucket; `objects` maps names to (generation, content)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.uploads: dict[str, tuple[str, str, bytes]] = {}  # session: (name, condition, so far)
        self.counter, self.lock = itertools.count(1), threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serve() -> Iterator[Bucket]:
    """A bucket for as long as the block runs."""
    with Bucket() as bucket:
        threading.Thread(target=bucket.serve_forever, daemon=True).start()
        yield bucket
        bucket.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def log_message(self, *_):
        """Quiet."""

    def answer(self, code: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def say(self, value: object, code: int = 200, **headers: str) -> None:
        self.answer(code, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def parts(self) -> tuple[str, dict[str, str]]:
        parsed = urllib.parse.urlsplit(self.path)
        return parsed.path, dict(urllib.parse.parse_qsl(parsed.query, keep_blank_values=True))

    def describe(self, name: str) -> dict[str, str]:
        generation, content = self.server.objects[name]
        about = {"kind": "storage#object", "name": name, "bucket": "bucket"}
        about |= {"size": str(len(content)), "generation": str(generation)}
        return about | {"updated": "2026-01-01T00:00:00Z", "timeCreated": "2026-01-01T00:00:00Z"}

    def do_GET(self) -> None:
        path, query = self.parts()
        found = _OBJECT.fullmatch(path)
        if found is None and path.endswith("/o"):
            self.list(query)
        elif found is None:
            self.say({"kind": "storage#bucket", "name": "bucket", "location": "US"})
        elif (name := urllib.parse.unquote(found[2])) not in self.server.objects:
            self.say({"error": {"code": 404, "message": "Not Found"}}, 404)
        elif query.get("alt") == "media" or path.startswith("/download"):
            self.read(name, query)
        else:
            self.say(self.describe(name))

    def read(self, name: str, query: dict[str, str]) -> None:
        generation, content = self.server.objects[name]
        about = {"x_goog_generation": str(generation)}
        if query.get("ifGenerationNotMatch") == str(generation):
            self.answer(304, **about)
        elif ranged := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(ranged[1]), int(ranged[2] or len(content) - 1) + 1
            if start >= len(content):
                self.answer(416, Content_Range=f"bytes */{len(content)}", **about)
                return
            end = min(end, len(content))
            where = f"bytes {start}-{end - 1}/{len(content)}"
            self.answer(206, content[start:end], Content_Range=where, **about)
        else:
            self.answer(200, content, **about)

    def list(self, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        items, prefixes = [], set()
        for name in sorted(self.server.objects):
            if not name.startswith(prefix):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                prefixes.add(prefix + rest.split(delimiter)[0] + delimiter)
            else:
                items.append(self.describe(name))
        self.say({"items": items, "prefixes": sorted(prefixes)})

    def put(self, name: str, condition: str | None, content: bytes) -> None:
        with self.server.lock:
            there = self.server.objects.get(name, (0, b""))[0]
            if condition is not None and condition != str(there):
                self.say({"error": {"code": 412, "message": "conditionNotMet"}}, 412)
                return
            self.server.objects[name] = (next(self.server.counter), content)
        self.say(self.describe(name))

    def do_POST(self) -> None:
        path, query = self.parts()
        if path in self.server.uploads:
            self.do_PUT()
            return
        body = self.body()
        condition = query.get("ifGenerationMatch")
        if path == "/batch/storage/v1":
            self.batch(body)
        elif query.get("uploadType") == "media":
            self.put(query["name"], condition, body)
        elif query.get("uploadType") == "multipart":
            about, content = _parts(body, self.headers["Content-Type"])
            self.put(json.loads(about)["name"], condition, content)
        elif query.get("uploadType") == "resumable":
            name = query.get("name") or json.loads(body)["name"]
            session = f"/session/{next(self.server.counter)}"
            self.server.uploads[session] = (name, condition, b"")
            self.answer(200, Location=self.server.url + session)
        else:
            self.say({"error": {"code": 501, "message": path}}, 501)

    def do_PUT(self) -> None:
        name, condition, before = self.server.uploads[self.parts()[0]]
        content = before + self.body()
        if (self.headers.get("Content-Range") or "").endswith("/*"):
            self.server.uploads[self.parts()[0]] = (name, condition, content)
            self.answer(308, Range=f"bytes=0-{max(len(content) - 1, 0)}")
        else:
            self.put(name, condition, content)

    def do_DELETE(self) -> None:
        path, _ = self.parts()
        gone = self.server.objects.pop(urllib.parse.unquote(_OBJECT.fullmatch(path)[2]), None)
        self.answer(204 if gone else 404)

    def batch(self, body: bytes) -> None:
        answers = []
        for path in re.findall(rb"DELETE (\S+) HTTP", body):
            name = urllib.parse.unquote(_OBJECT.fullmatch(path.decode().split("?")[0])[2])
            code = "204 No Content" if self.server.objects.pop(name, None) else "404 Not Found"
            answers.append(f"--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {code}\r\n\r\n")
        text = "".join(answers) + "--b--"
        self.answer(200, text.encode(), Content_Type="multipart/mixed; boundary=b")


def _parts(body: bytes, kind: str) -> list[bytes]:
    """The contents of a multipart body."""
    boundary = re.search(r"boundary=[\"']?([^\"';]+)", kind)[1].encode()
    found = []
    for part in body.split(b"--" + boundary)[1:-1]:
        head = re.search(rb"\r?\n\r?\n", part)
        found.append(re.sub(rb"\r?\n$", b"", part[head.end() :], count=1))
    return found
