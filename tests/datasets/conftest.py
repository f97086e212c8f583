"""A server on this machine in the place of the public one, that can do what networks do to files."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, as it is or as `server.mode` says: a flipped byte, half of the file, an error."""

    def do_GET(self):
        self.server.asked.append(self.path)
        path = Path(self.translate_path(self.path))
        if self.server.mode == "broken" or not path.is_file():
            self.send_error(503 if self.server.mode == "broken" else 404)
            return
        content = bytearray(path.read_bytes())
        if self.server.mode == "flipped":
            content[len(content) // 2] ^= 1
        if self.server.mode == "page":
            content = b"page"
        if self.server.mode == "endless":
            content *= 3
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.server.mode == "half" else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Function that serves a folder at a free port as if it were the source, and returns the server."""
    servers = []

    def start(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        server.mode, server.asked = "whole", []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("JAMIE_MIRROR", f"http://127.0.0.1:{server.server_port}")
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
