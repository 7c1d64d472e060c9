"""A small HTTP/1.1 server whose answers can also go wrong on purpose."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_MAX_HEAD = 64 * 1024
_MAX_BODY = 4 * 1024 * 1024


class Delivery(Enum):
    WHOLE = "whole"
    # The head promises the whole body, half of it follows, then the connection ends.
    CUT_BODY = "cut-body"
    # The connection is reset without an answer.
    RESET = "reset"
    # Nothing is sent until the client goes away.
    HANG = "hang"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    peer_port: int

    def json(self) -> Any:
        """The body as JSON, or ValueError in words for the sender."""
        try:
            return json.loads(self.body or b"{}")
        except ValueError as error:
            raise ValueError(f"the body is not JSON: {error}") from None


@dataclass
class Response:
    status: int
    body: bytes = b""
    content_type: str = "text/html; charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    delivery: Delivery = Delivery.WHOLE
    # Told before the first byte, so before the client can know anything of the answer.
    started: Callable[[], None] | None = None
    # Told after the last byte, with whether the client was still there.
    finished: Callable[[bool], None] | None = None

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Response:
        return cls(status, json.dumps(value).encode(), "application/json")

    def head(self, keep_alive: bool) -> bytes:
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Scripted"
        headers = {
            "Content-Type": self.content_type,
            "Date": formatdate(usegmt=True),
            **self.headers,
            "Content-Length": str(len(self.body)),
        }
        if not keep_alive:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {self.status} {reason}"] + [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


Handler = Callable[[Request], Awaitable[Response]]


class _BadRequest(Exception):
    pass


class HttpServer:
    """Serves connections that somebody else accepted."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._idle: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            keep_alive = True
            while keep_alive:
                self._idle.add(writer)
                request = await _read_request(reader, writer)
                self._idle.discard(writer)
                if request is None:
                    break
                keep_alive = request.headers.get("connection", "").lower() != "close"
                response = await self._handler(request)
                keep_alive = await _deliver(response, request, reader, writer, keep_alive)
        except _BadRequest as error:
            writer.write(
                Response(400, f"{error}\n".encode(), "text/plain").head(False) + f"{error}\n".encode()
            )
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            self._idle.discard(writer)
            self._open.discard(writer)
            writer.close()

    def close_idle(self) -> None:
        """Ends the connections on which no request is under way."""
        for writer in self._idle:
            writer.close()

    def close_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise _BadRequest("the request's head is too long") from None
    request_line, *header_lines = head[:-4].decode("latin-1").split("\r\n")
    try:
        method, target, version = request_line.split(" ")
    except ValueError:
        raise _BadRequest(f"not a request line: {request_line!r}") from None
    if not version.startswith("HTTP/1."):
        raise _BadRequest(f"not a version that is spoken here: {version!r}")
    headers: dict[str, str] = {}
    for line in header_lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise _BadRequest(f"not a header: {line!r}")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > _MAX_BODY:
        raise _BadRequest(f"not a length that is taken here: {length!r}")
    body = await reader.readexactly(int(length)) if int(length) else b""
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        # A client that takes us for a proxy sends the whole URL; its path is what counts.
        path = urlsplit(path).path or "/"
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    return Request(method, unquote(path), parameters, headers, body, writer.get_extra_info("peername")[1])


def _client_is_gone(reader: asyncio.StreamReader) -> bool:
    return reader.at_eof() or reader.exception() is not None


async def _wait(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Waits, but no longer than the client does; returns whether it is still there."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not _client_is_gone(reader):
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return True
        await asyncio.sleep(min(left, 0.01))
    return False


def _tell_of_start(response: Response) -> None:
    if response.started:
        response.started()


async def _deliver(
    response: Response,
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    keep_alive: bool,
) -> bool:
    """Sends the answer; returns whether the connection may take another request."""
    complete = False
    try:
        if response.delay and not await _wait(reader, response.delay):
            return False
        match response.delivery:
            case Delivery.WHOLE:
                _tell_of_start(response)
                body = b"" if request.method == "HEAD" else response.body
                writer.write(response.head(keep_alive) + body)
                await writer.drain()
                complete = True
                return keep_alive
            case Delivery.CUT_BODY:
                _tell_of_start(response)
                writer.write(response.head(False) + response.body[: len(response.body) // 2])
                await writer.drain()
            case Delivery.RESET:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            case Delivery.HANG:
                await _wait(reader, float("inf"))
        return False
    finally:
        if response.finished:
            response.finished(complete)
