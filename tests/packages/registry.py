"""A registry of images, as far as the OCI distribution specification says how a client learns the digest of a tag.

Pulling manifests and "HEAD" requests: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests
The token that a 401 asks for: https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SERVICE = "registry.example"
TOKEN = "a.token-of-the/registry=="


@dataclass
class Registry:
    """`digests` by NAME:TAG; what is not in it answers 404."""

    digests: dict[str, str]
    content_type: str = INDEX
    asks_for_token: bool = True
    token_field: str = "token"
    url: str = ""
    requests: list[str] = field(default_factory=list)


def handler_of(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            """The token service alone; a client that asks for a whole manifest has misunderstood."""
            url = urlsplit(self.path)
            asked = parse_qs(url.query)
            registry.requests.append(f"GET {url.path} {asked.get('scope', [''])[0]}")
            if url.path != "/token" or asked.get("service") != [SERVICE]:
                return self._answer(400, {})
            answer = json.dumps({registry.token_field: TOKEN}, indent=1)
            self._answer(200, {"Content-Type": "application/json"}, answer.encode())

        def do_HEAD(self) -> None:
            registry.requests.append(f"HEAD {self.path}")
            _, _, rest = self.path.partition("/v2/")
            name, _, tag = rest.partition("/manifests/")
            if registry.asks_for_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                challenge = f'Bearer realm="{registry.url}/token",service="{SERVICE}",scope="repository:{name}:pull"'
                return self._answer(401, {"WWW-Authenticate": challenge})
            digest = registry.digests.get(f"{name}:{tag}")
            if digest is None:
                return self._answer(404, {})
            # Without an index among the accepted types, a registry answers with the manifest of one architecture.
            accepted = self.headers.get_all("Accept") or []
            content_type = registry.content_type if INDEX in accepted else MANIFEST
            self._answer(200, {"Content-Type": content_type, "docker-content-digest": digest})

    return Handler


@contextmanager
def serve(registry: Registry) -> Iterator[Registry]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(registry))
    registry.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
