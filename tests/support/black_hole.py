"""A TCP port whose packets are dropped until it is opened, as before Cloud Run's Direct VPC egress works.

    with BlackHole() as hole:
        ...  # a connection to hole.port gets no answer
        hole.open(("127.0.0.1", 5432))  # from now on connections go there

The kernel drops the packets itself: it answers no SYN for a socket whose accept queue is full (listen(2); Linux's
tcp_conn_request()).
"""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from relay import relay


class BlackHole:
    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        # The queue of length 0 takes one connection, and then it is full.
        self._listener.listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._filler = socket.create_connection(("127.0.0.1", self.port))
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._target: tuple[str, int] | None = None
        self.connections = 0

    def __enter__(self) -> BlackHole:
        with contextlib.closing(socket.socket()) as another:
            another.settimeout(0.2)
            try:
                another.connect(("127.0.0.1", self.port))
            except TimeoutError:
                return self
        self.__exit__()
        pytest.fail("the kernel answers although the queue is full")

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._filler.close()
        self._listener.close()

    def open(self, target: tuple[str, int] | None = None) -> None:
        """From now on connections are taken, and connected to `target` if there is one."""
        self._target = target
        self._listener.settimeout(0.05)
        accepted, _ = self._listener.accept()
        accepted.close()
        self._listener.listen(128)
        self._start(self._accept)

    def _start(self, function, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            if self._target is None:
                client.close()
            else:
                self._start(relay, client, self._target, self._over)
