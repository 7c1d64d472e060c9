"""Programs for the supervisor to run, which tell on standard output what happens to them.

Each is a function of this file and runs as `python children.py NAME ARGUMENTS...`; `child("NAME", ...)` is
that command.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

STOPS = (signal.SIGTERM, signal.SIGINT)


def child(name: str, *arguments: object) -> list[str]:
    # Without site-packages and the variables of Python the start takes a quarter of the time.
    return [sys.executable, "-S", "-E", __file__, name, *map(str, arguments)]


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def drains(seconds: str, code: str, enough: str = "1000") -> None:
    """Says and counts every stop; ends with `code` so long after the first, or at the `enough`th at once."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    say("up")
    count, ends_at = 0, None
    while count < int(enough) and (ends_at is None or time.monotonic() < ends_at):
        left = 600.0 if ends_at is None else max(0.0, ends_at - time.monotonic())
        if found := signal.sigtimedwait(STOPS, left):
            count += 1
            ends_at = ends_at or time.monotonic() + float(seconds)
            say(f"{signal.Signals(found.si_signo).name[3:]} {count}")
    say("drained")
    sys.exit(int(code))


def deaf() -> None:
    """Ignores every stop."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    say("up")
    time.sleep(600)


def stops_itself() -> None:
    """Ignores TERM and is stopped whenever it is continued."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("up")
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


def family(manners: str, end: str) -> None:
    """Has a child in its group, one in a session of its own, and one below that in yet another."""
    if manners == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        say("group")
        time.sleep(600)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            say("session in session")
            time.sleep(600)
        say("session")
        time.sleep(600)
    if end == "stays":
        time.sleep(600)
    time.sleep(0.5)
    sys.exit(int(end))


def changes_group() -> None:
    """Leaves the group that it was started in for that of a child of its own."""
    reader, writer = os.pipe()
    other = os.fork()
    if other == 0:
        os.setpgid(0, 0)
        os.write(writer, b".")
        time.sleep(600)
    os.read(reader, 1)
    os.setpgid(0, other)
    say("moved")
    time.sleep(600)


def keeps_a_zombie(code: str) -> None:
    """Leaves a group that goes on to exist: a dead member's parent, which left it, does not reap it."""
    group = os.getpid()
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setpgid(0, 0)
        if os.fork() == 0:
            os.setpgid(0, group)
            os.write(writer, b".")
        time.sleep(600)
    os.read(reader, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    say("up")
    signal.sigwait(STOPS)
    sys.exit(int(code))


def leaves_others_behind() -> None:
    """Ends at a stop, unlike its child, which is deaf, and one that left for a session of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        say(f"stays in the group: {os.getpid()}")
        time.sleep(600)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if os.fork() == 0:
        os.setsid()
        say(f"left the group: {os.getpid()}")
        time.sleep(600)
    say("up")
    time.sleep(600)


def reports_signals(*numbers: str) -> None:
    """Says every one of these signals that it gets, and so does a child of its own in the same group."""
    wanted = [int(number) for number in numbers]
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    role = "grandchild" if os.fork() == 0 else "child"
    say(f"{role} is {os.getpid()}")
    while True:
        say(f"{role} got {int(signal.sigwait(wanted))}")


def makes_orphans(count: str, orphan: str = "") -> None:
    """Has so many grandchildren whose parent is gone; each sleeps or says its new parent, and ends."""
    for number in range(int(count)):
        if os.fork() == 0:
            parent = os.getpid()
            if os.fork() == 0:
                while orphan == "says" and os.getppid() == parent:
                    time.sleep(0.001)
                if orphan == "says":
                    say(f"orphan of {os.getppid()}")
                elif number % 2:
                    time.sleep(0.05)
            os._exit(number % 256)
        os.wait()
    say("made")
    time.sleep(600)


def serves_health(folder: str, drain_seconds: str = "0") -> None:
    """Answers as Prefect's health page does: when the file `open` is there, with 503 until `good` is."""
    # The other programs start faster without it.
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = Path(folder, "good").exists() and self.path in ("/api/health", "/base/health")
            self.send_response(200 if good else 503)
            self.end_headers()
            self.wfile.write(b"true" if good else b"false")

        def log_message(self, *_: object) -> None:
            pass

    def on_term(*_: object) -> None:
        say("draining")
        time.sleep(float(drain_seconds))
        os._exit(0)

    signal.signal(signal.SIGTERM, on_term)
    say("up")
    while not Path(folder, "open").exists():
        time.sleep(0.05)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever(0.05)


def says_variables(*names: str) -> None:
    """Each as `NAME=hexadecimal bytes`, or `NAME is not set`; then ends."""
    for name in names:
        value = os.environb.get(name.encode())
        say(f"{name} is not set" if value is None else f"{name}={value.hex()}")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
