"""Something in front of a server that refuses every request until it is told to let them in, as Cloud Run's check of
the caller does while a change of access propagates.

    with RefusingFront(("127.0.0.1", 4200)) as front:
        ...  # front.address answers 403
        front.let_in()  # from now on connections go to the server

Cloud Run itself checks the caller (docs.cloud.google.com/run/docs/authenticating/public), so such a refusal is not
Prefect's JSON. Only the status and that difference count here.
"""

from __future__ import annotations

import contextlib
import socket
import threading

from relay import relay

_PAGE = b"<html><head><title>403 Forbidden</title></head></html>"
_REFUSAL = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nConnection: close\r\n"
    + b"Content-Length: %d\r\n\r\n" % len(_PAGE)
    + _PAGE
)


class RefusingFront:
    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = threading.Event()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.refused = 0

    def __enter__(self) -> RefusingFront:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def let_in(self) -> None:
        self._open.set()

    def _start(self, function, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self._start(self._forward if self._open.is_set() else self._refuse, client)

    def _refuse(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            request = b""
            while b"\r\n\r\n" not in request:
                if not (data := client.recv(65536)):
                    return
                request += data
            client.sendall(_REFUSAL)
            self.refused += 1
            # A body that is not read would turn the close into a reset, which could overtake the answer.
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass

    def _forward(self, client: socket.socket) -> None:
        relay(client, self._target, self._over)
