"""A listening TCP port that can refuse connections for a while without losing its number."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    def __init__(
        self, name: str, host: str, port: int, serve: Serve, tls: ssl.SSLContext | None = None
    ) -> None:
        self._serve = serve
        self._tls = tls
        self._server: asyncio.Server | None = None
        self.host = host
        try:
            self._socket = _bind(host, port)
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot listen on {host} port {port} for the {name}: {reason}") from None
        self.port: int = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def accepting(self) -> bool:
        return self._server is not None

    async def accept(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, sock=self._socket, limit=64 * 1024, ssl=self._tls
            )

    def refuse(self) -> None:
        """Makes the kernel refuse new connections. The port stays bound, so that no other program gets it."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket = _bind(self.host, self.port)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        else:
            self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # The accepted sockets have it from this one. Without it an answer behind TLS's session tickets waits 40 ms for the client's
        # delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Set before the bind it helps with a port of the user's choice; for a free port it must come after,
        # or the kernel may pick one that another program has bound and not yet listens on.
        if port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except BaseException:
        sock.close()
        raise
    return sock
