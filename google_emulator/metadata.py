"""The metadata server: the tree that Google's clients read, and its scripted failures."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from google_emulator.http_server import Delivery, HttpServer, Request, Response
from google_emulator.listener import Listener
from google_emulator.records import MetadataRequest
from google_emulator.script import Script, Step
from google_emulator.tokens import Token, TokenCache, token_hash

_ROOT = "/computeMetadata/v1"
_TOKEN_PATH = f"{_ROOT}/instance/service-accounts/default/token"
_ELSEWHERE = "/elsewhere/token"
_CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"

_SERVER_HEADERS = {
    "Server": "Metadata Server for VM",
    "X-XSS-Protection": "0",
    "X-Frame-Options": "SAMEORIGIN",
}
_FLAVOR = {"Metadata-Flavor": "Google"}

_PROXY_PAGE = b"""<!DOCTYPE html>
<html><head><title>Sign in to the network</title></head>
<body><h1>Access denied</h1><p>This network needs you to sign in.</p></body></html>
"""

_LOGGED_REQUESTS = 100_000


class MetadataServer:
    def __init__(self, host: str, port: int, cache: TokenCache, email: str) -> None:
        self.script = Script()
        self.log: deque[MetadataRequest] = deque(maxlen=_LOGGED_REQUESTS)
        self._cache = cache
        self._requests = 0
        self._token_requests_in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._script_timer: asyncio.TimerHandle | None = None
        self._http = HttpServer(self._handle)
        self.listener = Listener("metadata server", host, port, self._http.serve)
        self._email = email
        self._tree = _tree(email)
        self._watchers: list[Callable[[MetadataRequest], None]] = []

    def watch(self, watcher: Callable[[MetadataRequest], None]) -> None:
        """Reports every request once its answer has been sent."""
        self._watchers.append(watcher)

    async def start(self) -> None:
        await self.listener.accept()

    def close(self) -> None:
        if self._script_timer:
            self._script_timer.cancel()
        self.listener.close()
        self._http.close_all()

    # Scripted failures

    async def add_steps(self, steps: list[Step]) -> None:
        self.script.add(steps)
        await self._follow_script()

    async def clear_script(self) -> None:
        self.script.clear()
        await self._follow_script()

    async def _follow_script(self) -> None:
        """Opens or closes the port as the step that holds now says, and comes back when it ends."""
        now = time.time()
        step = self.script.head(now)
        if step is not None and step.answer == "refused":
            self.listener.refuse()
            self._http.close_idle()
        else:
            await self.listener.accept()
        if self._script_timer:
            self._script_timer.cancel()
            self._script_timer = None
        ends_at = self.script.head_ends_at(now)
        if ends_at is not None:
            pause = max(0.0, ends_at - now) + 0.001
            self._script_timer = asyncio.get_running_loop().call_later(pause, self._follow_script_soon)

    def _follow_script_soon(self) -> None:
        # The loop itself keeps no task alive.
        task = asyncio.get_running_loop().create_task(self._follow_script())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Requests

    async def _handle(self, request: Request) -> Response:
        self._requests += 1
        entry = MetadataRequest(
            number=self._requests,
            time=time.time(),
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            peer_port=request.peer_port,
            is_token_request=_is_token_path(request.path, self._email),
            answer="status",
        )
        self.log.append(entry)
        if entry.is_token_request:
            entry.in_flight = self._token_requests_in_flight
            self._token_requests_in_flight += 1
        try:
            response = self._answer(request, entry)
        except BaseException:
            self._token_requests_in_flight -= entry.is_token_request
            raise
        entry.status = response.status or None

        def started() -> None:
            entry.answered = time.time()

        def finished(complete: bool) -> None:
            entry.finished = time.time()
            for watcher in self._watchers:
                watcher(entry)
            self._token_requests_in_flight -= entry.is_token_request
            entry.client_left_early = not complete and response.delivery in (Delivery.WHOLE, Delivery.HANG)
            if entry.is_token_request and len(self.script):
                self._follow_script_soon()

        response.started, response.finished = started, finished
        return response

    def _answer(self, request: Request, entry: MetadataRequest) -> Response:
        refusal = _refusal(request)
        if refusal is not None:
            return refusal
        if entry.is_token_request:
            return self._answer_token(request, entry)
        if request.path == _ELSEWHERE:
            return _token_response("ya29.c.elsewhere-" + secrets.token_urlsafe(300), 3599)
        return _answer_tree(self._tree, request)

    def _answer_token(self, request: Request, entry: MetadataRequest) -> Response:
        now = time.time()
        step = self.script.take(now) or Step()
        entry.answer = step.answer
        if step.answer in ("status", "redirect", "proxy-page", "empty-body", "hang", "reset", "refused"):
            response = _failure(step, request)
        else:
            padded = step.answer == "padded-token"
            token = self._cache.answer_padded(now) if padded else self._cache.answer(now)
            response = self._answer_with(token, step, entry)
        response.delay = step.delay
        return response

    def _answer_with(self, token: Token, step: Step, entry: MetadataRequest) -> Response:
        text, expires_in = token.text, math.floor(token.left(time.time()))
        body: dict[str, Any] = {"access_token": text, "expires_in": expires_in, "token_type": "Bearer"}
        match step.answer:
            case "expires-in":
                body["expires_in"] = step.expires_in
            case "no-expires-in":
                del body["expires_in"]
            case "no-token":
                del body["access_token"]
            case "empty-token":
                body["access_token"] = ""
            case "long-token":
                body["access_token"] = "ya29.c." + secrets.token_hex(4497)[:8993]
            case "newline-token":
                body["access_token"] = text[:100] + "\n" + text[100:]
        if body.get("access_token"):
            entry.token = token_hash(body["access_token"])
        entry.expires_in = body.get("expires_in")

        content = json.dumps(body).encode()
        response = _json_response(content)
        match step.answer:
            case "bad-json":
                response.body = content[:-20]
            case "huge-body":
                response.body = content[:-1] + b" " * max(0, step.size - len(content)) + b"}"
            case "no-flavor":
                del response.headers["Metadata-Flavor"]
            case "cut-body":
                response.delivery = Delivery.CUT_BODY
        return response


def _is_token_path(path: str, email: str) -> bool:
    return path in (_TOKEN_PATH, _TOKEN_PATH.replace("/default/", f"/{email}/"))


def _refusal(request: Request) -> Response | None:
    if request.path == _ELSEWHERE:
        return None
    flavor = request.headers.get("metadata-flavor")
    if "x-forwarded-for" in request.headers:
        return _error(403, "Requests with the header X-Forwarded-For are not answered")
    # The root answers without the header, so that a ping can tell where it runs.
    if request.path != "/" and flavor is None:
        return _error(403, 'Missing required header "Metadata-Flavor": "Google"')
    if flavor is not None and flavor != "Google":
        return _error(404, "Not found")
    if request.method not in ("GET", "HEAD"):
        return _error(405, f"The method {request.method} is not allowed for {request.path}")
    return None


def _failure(step: Step, request: Request) -> Response:
    match step.answer:
        case "status":
            body = step.body if step.body is not None else f"Could not fetch URI {request.path}\n"
            response = _error(step.status, body)
            if step.retry_after is not None:
                response.headers["Retry-After"] = str(step.retry_after)
            return response
        case "redirect":
            location = step.location or f"http://{request.headers.get('host', '')}{_ELSEWHERE}"
            response = _error(301, "Moved")
            response.headers["Location"] = location
            return response
        case "proxy-page":
            return Response(
                200, _PROXY_PAGE, "text/html", {"Server": "squid/5.7", "Via": "1.1 proxy (squid/5.7)"}
            )
        case "empty-body":
            return _json_response(b"")
        case "hang":
            return Response(0, delivery=Delivery.HANG)
        case _:
            return Response(0, delivery=Delivery.RESET)


def _error(status: int, text: str) -> Response:
    return Response(status, text.encode(), headers=_FLAVOR | _SERVER_HEADERS)


def _json_response(content: bytes) -> Response:
    return Response(200, content, "application/json", _FLAVOR | _SERVER_HEADERS)


def _token_response(text: str, expires_in: int) -> Response:
    body = {"access_token": text, "expires_in": expires_in, "token_type": "Bearer"}
    return _json_response(json.dumps(body).encode())


def _tree(email: str) -> dict[str, Any]:
    """Directories are dicts; leaves are text, or lists of lines."""
    project = email.partition("@")[2].removesuffix(".iam.gserviceaccount.com") or "my-project"
    account = {"aliases": ["default"], "email": email, "scopes": [_CLOUD_PLATFORM]}
    return {
        "instance": {
            "id": "7520839150461824310",
            "region": "projects/123456789012/regions/us-central1",
            "service-accounts": {"default": account, email: account},
            "zone": "projects/123456789012/zones/us-central1-1",
        },
        "project": {"numeric-project-id": "123456789012", "project-id": project},
    }


def _answer_tree(tree: dict[str, Any], request: Request) -> Response:
    if request.path == "/":
        return _text_response("computeMetadata/\n")
    if request.path in ("/computeMetadata", _ROOT):
        return _to_directory(request)
    if request.path == "/computeMetadata/":
        return _text_response("v1/\n")
    if not request.path.startswith(_ROOT + "/"):
        return _error(404, "Not found")
    node: Any = tree
    names = request.path.removeprefix(_ROOT + "/").split("/")
    for name in names:
        if name == "" and name is names[-1]:
            break
        if not isinstance(node, dict) or name not in node:
            return _error(404, "Not found")
        node = node[name]
    is_directory, has_slash = isinstance(node, dict), request.path.endswith("/")
    if is_directory and not has_slash:
        return _to_directory(request)
    if has_slash and not is_directory:
        return _error(404, "Not found")
    if request.query.get("recursive", "").lower() == "true" and request.query.get("alt") != "text":
        return _json_response(json.dumps(_camel_case(node)).encode())
    if is_directory:
        return _text_response("".join(_listing(node)))
    return _text_response("\n".join(node) + "\n" if isinstance(node, list) else node)


def _listing(node: dict[str, Any]) -> list[str]:
    lines = [f"{name}/\n" if isinstance(child, dict) else f"{name}\n" for name, child in node.items()]
    return lines + ["token\n"] if "email" in node else lines


def _to_directory(request: Request) -> Response:
    response = _error(301, "Moved permanently")
    response.headers["Location"] = f"http://{request.headers.get('host', '')}{request.path}/"
    return response


def _text_response(text: str) -> Response:
    return Response(200, text.encode(), "application/text", _FLAVOR | _SERVER_HEADERS)


def _camel_case(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    converted = {}
    for name, child in node.items():
        head, *rest = name.split("-") if "@" not in name else [name]
        converted[head + "".join(part.capitalize() for part in rest)] = _camel_case(child)
    return converted
