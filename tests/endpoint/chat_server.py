"""A chat server on loopback, whose answers a test scripts."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading

KEY = "sk-very-secret-0123456789"


def completion(text, *, finish="stop") -> dict:
    return {
        "choices": [{"message": {"content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2},
    }


class Server(http.server.ThreadingHTTPServer):
    """Calls `script(number of the request, body)`: gives (status, body, headers) or a dict."""

    daemon_threads = True

    def __init__(self, script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.bodies, self.headers, self.lock = script, [], [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.bodies)
            self.server.bodies.append(body)
            self.server.headers.append((self.path, dict(self.headers)))
        said = self.server.script(number, body)
        status, content, headers = said if isinstance(said, tuple) else (200, said, {})
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        try:
            self.send_response(status)
            for name, value in ({"Content-Length": len(content)} | headers).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            pass  # the client has given up

    do_GET = do_POST

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(monkeypatch):
    """Gives `start(script)`, which starts a server; all of them end with the block."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    servers = []

    def start(script) -> Server:
        server = Server(script)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
