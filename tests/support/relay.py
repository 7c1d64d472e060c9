"""Passes the bytes of a connection on to another, for what stands between a client and a server in a test."""

from __future__ import annotations

import selectors
import socket
import threading


def relay(client: socket.socket, target: tuple[str, int], over: threading.Event) -> None:
    """Connects to `target` and passes bytes on in both directions, until either side closes or the test is over."""
    server = socket.create_connection(target)
    other = {client: server, server: client}
    with client, server, selectors.DefaultSelector() as selector:
        for end in other:
            end.settimeout(60)
            selector.register(end, selectors.EVENT_READ)
        while not over.is_set():
            for key, _ in selector.select(0.05):
                source = key.fileobj
                assert isinstance(source, socket.socket)
                try:
                    data = source.recv(65536)
                    if not data:
                        return
                    other[source].sendall(data)
                except OSError:
                    return
