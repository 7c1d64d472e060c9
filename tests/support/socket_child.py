"""A program for a rolling rotation, which takes its listening socket by systemd's convention (sd_listen_fds(3)).

It runs as `python socket_child.py FOLDER MANNER...`, and `socket_child(FOLDER, MANNER, ...)` is that command. The
first start has the first manner, the second start the second one, and the last manner is also that of all later
starts. A manner says when the program listens:

    serves      at once
    fills       at once, and it uses 48 MiB of memory more
    waits       when the file `listen` is in the folder
    ends        never: it ends with its code, as it would after an error

and, behind a hyphen, what it does at TERM when that is not to close the socket and to end:

    -deaf       it closes the socket and never ends, and while it waits it takes no notice
    -holds      it closes the socket and ends at the second TERM
    -stops      it closes the socket and stops itself, and again whenever it is continued

The answer to every request is the number of the start, over a connection that is closed then. The code with which the
program ends is CODE and that number. On standard output each event is a line behind the number.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

CODE = 10
FIRST_DESCRIPTOR = 3
FILLING = 48 * 1024 * 1024
TERM = [signal.SIGTERM]


def socket_child(folder: Path, *manners: str) -> list[str]:
    # Without site-packages and Python's environment variables the start takes a quarter of the time.
    return [sys.executable, "-S", "-E", __file__, str(folder), *manners]


def count_start(folder: Path) -> int:
    """The number of this start. Children are started one after another, so nobody else writes the file meanwhile."""
    file = folder / "starts"
    number = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(number))
    return number


def inherited_socket() -> socket.socket | None:
    """Descendants inherit the variables too, and LISTEN_PID says for which process they are."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    return socket.socket(fileno=FIRST_DESCRIPTOR)


def answer(connection: socket.socket, text: str) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        more = connection.recv(4096)
        if not more:
            return
        request += more
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    connection.sendall(f"{head}{text}".encode())


def serve(listener: socket.socket, number: int) -> None:
    """Until a TERM comes. What is in the queue then is left there, as uvicorn does."""
    listener.settimeout(0.05)
    while signal.sigtimedwait(TERM, 0) is None:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(None)
            try:
                answer(connection, str(number))
            except ConnectionError:
                # The client has left.
                continue


def main(folder: Path, manners: list[str]) -> int:
    number = count_start(folder)
    start, _, at_term = manners[min(number, len(manners)) - 1].partition("-")

    def say(event: str) -> None:
        os.write(1, f"{number} {event}\n".encode())

    if at_term == "deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, TERM)
    listener = inherited_socket()
    say("up" if listener else "has no socket")
    if start == "ends":
        return CODE + number
    filling = b"x" * FILLING if start == "fills" else b""
    while not listener or (start == "waits" and not (folder / "listen").exists()):
        time.sleep(0.02)
    signal.pthread_sigmask(signal.SIG_BLOCK, TERM)
    listener.listen(128)
    say("listens")
    serve(listener, number)
    listener.close()
    say("drains")
    del filling
    while at_term == "stops":
        os.kill(os.getpid(), signal.SIGSTOP)
    while at_term in ("holds", "deaf"):
        signal.sigwait(TERM)
        if at_term == "holds":
            break
    return CODE + number


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
