"""Google Cloud Storage in memory: a file system for fsspec, and a loopback server for TensorStore.

`Bucket` stands for gcsfs, which the path layer asks; `serve` answers the part of the JSON API that
TensorStore speaks, from the same objects. Run as a program it trains into such a bucket:

    python -m tests.gcs_stand_in CONFIG gs://bucket/run

and prints the names of the objects and the run's log.
"""

from __future__ import annotations

import dataclasses
import http.server
import importlib.util
import itertools
import json
import os
import sys
import threading
import urllib.parse

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

_generations = itertools.count(1)


class Bucket(MemoryFileSystem):
    """`gs://` in memory; as in an object store, nothing can be appended or renamed in place."""

    protocol = ("gs", "gcs")
    store = {}  # noqa: RUF012 (of this class, apart from memory://)
    pseudo_dirs = [""]  # noqa: RUF012
    cachable = False

    @classmethod
    def _strip_protocol(cls, path):
        for start in ("gs://", "gcs://"):
            path = path.removeprefix(start)
        return super()._strip_protocol(path)

    def _open(self, path, mode="rb", **options):
        assert mode in ("rb", "wb", "xb"), f"an object store cannot open for {mode!r}"
        return super()._open(path, mode=mode, **options)

    def cp_file(self, *_, **__):
        raise AssertionError("renamed in an object store: a copy, not at once")


def install() -> None:
    """Makes `gs://` an empty bucket of this process."""
    for name in Bucket.protocol:
        fsspec.register_implementation(name, Bucket, clobber=True)
    Bucket.store.clear()
    Bucket.pseudo_dirs[:] = [""]


def serve() -> None:
    """Starts the server and tells TensorStore, which must not have opened anything yet."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["TENSORSTORE_GCS_HTTP_URL"] = f"http://127.0.0.1:{server.server_port}"
    os.environ["GOOGLE_AUTH_TOKEN_FOR_TESTING"] = "none"


class _Handler(http.server.BaseHTTPRequestHandler):
    """GET, media upload, DELETE and list of objects, with the precondition "only if absent"."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        place = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(place.query))
        bucket, name = self._place(place.path)
        if name is None:
            start = f"/{bucket}/"
            names = [k.removeprefix(start) for k in sorted(Bucket.store) if k.startswith(start)]
            found = [{"name": n} for n in names if n.startswith(query.get("prefix", ""))]
            return self._send(200, json.dumps({"items": found}).encode())
        if not Bucket().exists(f"{bucket}/{name}"):
            return self._send(404)
        data = Bucket().cat_file(f"{bucket}/{name}")
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            low = int(first) if first else len(data) - int(last)
            high = min(int(last) if first and last else len(data) - 1, len(data) - 1)
            about = {"Content-Range": f"bytes {low}-{high}/{len(data)}"}
            return self._send(206, data[low : high + 1], about)
        return self._send(200, data)

    def do_POST(self):
        place = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(place.query))
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = f"{self._place(place.path)[0]}/{query['name']}"
        if query.get("ifGenerationMatch") == "0" and Bucket().exists(path):
            return self._send(412)
        Bucket().pipe_file(path, data)
        told = {"name": query["name"], "generation": str(next(_generations))}
        return self._send(200, json.dumps(told).encode())

    def do_DELETE(self):
        bucket, name = self._place(urllib.parse.urlsplit(self.path).path)
        if not Bucket().exists(f"{bucket}/{name}"):
            return self._send(404)
        Bucket().rm_file(f"{bucket}/{name}")
        return self._send(204)

    def _place(self, path: str) -> tuple[str, str | None]:
        """`/storage/v1/b/BUCKET/o/NAME` -> bucket and name."""
        parts = path.split("/b/", 1)[1].split("/o", 1)
        name = urllib.parse.unquote(parts[1].removeprefix("/")) if len(parts) > 1 else ""
        return parts[0], name or None

    def _send(self, code: int, body: bytes = b"", headers: dict | None = None) -> None:
        self.send_response(code)
        for key, value in ({"x-goog-generation": "1"} | (headers or {})).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(config_file: str, workdir: str) -> None:
    """Trains to a third of the way, then, as another run of the same command, to the end."""
    install()
    serve()
    # Here, as TensorStore must not be loaded before the server is known.
    from orbax.checkpoint._src.path import gcs_utils
    from rich.console import Console

    from sg4v_jax import files
    from sg4v_jax.cli.runtime import start_jax
    from sg4v_jax.tasks import video_sft

    # Orbax asks the bucket about folders through google-cloud-storage, which is not at hand.
    gcs_utils.is_hierarchical_namespace_enabled = lambda path: False
    start_jax()
    spec = importlib.util.spec_from_file_location("config_of_the_test", config_file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config, real = module.get_config(), video_sft.loop.run
    third = config.optim.steps // 3

    def stops_early(*args, settings, **options):
        settings = dataclasses.replace(settings, steps=third, save_every=third)
        return real(*args, settings=settings, **options)

    for run in (stops_early, real):
        video_sft.loop.run = run
        video_sft.train(config, folder=workdir, console=Console(stderr=True, width=120))
    log = files.read_jsonl(f"{workdir}/metrics.jsonl")
    print(json.dumps({"objects": sorted(Bucket.store), "log": log}))


if __name__ == "__main__":
    main(*sys.argv[1:])
