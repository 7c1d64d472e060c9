"""Both ends of the health questions: Prefect's health page, and a platform that probes the supervisor."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from background import Background


class HealthPage:
    """Answers `GET /api/health` as Prefect does, on a port of its own."""

    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *_: object) -> None:
            pass

    def __enter__(self) -> HealthPage:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_port


class Probes(Background):
    """Asks `http://127.0.0.1:PORT/PATH` again and again within the block, and counts the good answers."""

    def __init__(self, port: int, path: str, every: float) -> None:
        super().__init__()
        self._url = f"http://127.0.0.1:{port}{path}"
        self._every = every
        self.answered = 0

    def _work(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due += self._every
            try:
                with opener.open(self._url, timeout=5) as answer:
                    answer.read()
                    self.answered += 1
            except (OSError, http.client.HTTPException):
                # "Not ready yet" is an answer, too; the count shows whether there ever was a successful one.
                pass
