"""The child of a soak: it serves Prefect's health page, and takes its token and its database as Prefect does.

It runs as `python soak_child.py FOLDER`, in each rotation mode: it listens on the socket that it was given
(sd_listen_fds(3)), or else on PORT, and has its token from PGPASSFILE, read anew each time, or else from the URL in its
environment. It writes nothing to standard output. The file FOLDER/manner, read at the start and at each event, holds
words that say how it behaves, and may change at any time:

    late=S      it listens S seconds after its start
    never       it never listens
    ends=CODE   it ends with this code in place of listening
    slow=S      each answer takes S seconds
    drain=S     at TERM it closes its socket, and ends S seconds later
    deaf        at TERM it serves on

    GET /api/health    true
    GET /token         its pid, the hash of the token that it would log in with now, and whether the database takes a
                       connection, behind one another
    GET /orphans/N     makes N orphans, which end soon
    GET /end/CODE      it ends with this code, unanswered

At TERM it ends with CODE.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

CODE = 7
FIRST_DESCRIPTOR = 3
URL = "PREFECT_API_DATABASE_CONNECTION_URL"


def soak_child(folder: Path) -> list[str]:
    # Without site-packages and Python's environment variables the start takes a quarter of the time.
    return [sys.executable, "-S", "-E", __file__, str(folder)]


class Child:
    def __init__(self, folder: Path) -> None:
        self._manner_file = folder / "manner"
        self._told_to_end = False
        self._listener: socket.socket | None = None

    def manner(self, name: str) -> str | None:
        """The value of the word, which is empty where it has none; None if it is not there."""
        words = dict(word.partition("=")[::2] for word in self._manner_file.read_text().split())
        return words.get(name)

    def run(self) -> int:
        # Every signal that the supervisor forwards, but the stops.
        for number in {*range(1, 65)} - {9, 17, 18, 19, 32, 33, *(int(s) for s in _FATAL)}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        waker, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        if (code := self._before_it_listens()) is not None:
            return code
        self._listener = listening_socket()
        while not self._told_to_end:
            ready, _, _ = select.select([self._listener, waker], [], [])
            if waker in ready:
                os.read(waker, 4096)
            elif self._listener in ready:
                with contextlib.suppress(OSError):
                    connection, _ = self._listener.accept()
                    with connection:
                        connection.settimeout(2.0)
                        self._answer(connection)
        return CODE

    def _before_it_listens(self) -> int | None:
        if (code := self.manner("ends")) is not None:
            return int(code)
        until = time.monotonic() + float(self.manner("late") or 0)
        while not self._told_to_end and (time.monotonic() < until or self.manner("never") is not None):
            time.sleep(0.05)
        return CODE if self._told_to_end else None

    def _on_stop(self, *_: object) -> None:
        if self.manner("deaf") is not None:
            return
        self._told_to_end = True
        if drain := self.manner("drain"):
            if self._listener:
                self._listener.close()
            time.sleep(float(drain))
        os._exit(CODE)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(4096)
            if not more:
                return
            request += more
        path = request.split()[1].decode()
        if slow := self.manner("slow"):
            time.sleep(float(slow))
        if path == "/api/health":
            text = "true"
        elif path == "/token":
            text = f"{os.getpid()} {token_hash()} {database_answers()}"
        elif path.startswith("/orphans/"):
            make_orphans(int(path.rpartition("/")[2]))
            text = "made"
        elif path.startswith("/end/"):
            os._exit(int(path.rpartition("/")[2]))
        else:
            text = "false"
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        connection.sendall(f"{head}{text}".encode())


_FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS)


def listening_socket() -> socket.socket:
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        listener = socket.socket(fileno=FIRST_DESCRIPTOR)
        listener.listen(128)
        return listener
    return socket.create_server(("127.0.0.1", int(os.environ["PORT"])))


def token() -> str:
    if file := os.environ.get("PGPASSFILE"):
        # Five fields, as libpq's documentation describes the file; the token has no colon.
        return Path(file).read_text().rstrip("\n").split(":")[4]
    return unquote(urlsplit(os.environ[URL]).password or "")


def token_hash() -> str:
    """As the supervisor's log names it."""
    try:
        return hashlib.sha256(token().encode()).hexdigest()[:8]
    except OSError:
        return "none"


def database_answers() -> str:
    place = urlsplit(os.environ[URL])
    try:
        socket.create_connection((place.hostname, place.port), 0.5).close()
    except OSError:
        return "gone"
    return "there"


def make_orphans(count: int) -> None:
    """Each ends a moment after its parent, and every second one leaves the group."""
    for number in range(count):
        command = ["setsid"] * (number % 2) + ["sleep", f"0.0{number % 10}"]
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                with contextlib.suppress(OSError):
                    os.execvp(command[0], command)
            os._exit(0)
        os.waitpid(middle, 0)


if __name__ == "__main__":
    sys.exit(Child(Path(sys.argv[1])).run())
