"""Programs for the supervisor to run, which report on standard output what happens to them.

Each is a function of this file and runs as `python children.py NAME ARGUMENTS...`; `child("NAME", ...)` is
that command. What one of them waits for is an event that a test or another process causes, and never a time.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
import time
from pathlib import Path

STOPS = (signal.SIGTERM, signal.SIGINT)


def child(name: str, *arguments: object) -> list[str]:
    # Without site-packages and Python's environment variables the start takes a quarter of the time.
    return [sys.executable, "-S", "-E", __file__, name, *map(str, arguments)]


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def drains(seconds: str, code: str, enough: str = "1000") -> None:
    """Says and counts every stop. Ends with `code` that many seconds after the first, and at once at the `enough`th."""
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
    """Has a child in its group, one in a session of its own, and one below that in yet another. Then stays, or ends
    with the exit code `end`."""
    if manners == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reader, writer = os.pipe()

    def say_and_stay(what: str) -> None:
        say(what)
        os.write(writer, b".")
        time.sleep(600)

    if os.fork() == 0:
        say_and_stay("group")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            say_and_stay("session in session")
        say_and_stay("session")
    if end == "stays":
        time.sleep(600)
    # All descendants exist before the first process ends.
    wait_for_bytes(reader, 3)
    sys.exit(int(end))


def wait_for_bytes(reader: int, count: int) -> None:
    while count:
        count -= len(os.read(reader, count))


def leaves_a_deaf_one(code: str) -> None:
    """Ends with `code` once a process of its group ignores TERM."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(writer, b".")
        time.sleep(600)
    wait_for_bytes(reader, 1)
    sys.exit(int(code))


def reaps_its_own(code: str) -> None:
    """Leaves a zombie child unreaped until the supervisor has reaped an orphan, and says the zombie's exit code."""
    own = os.fork()
    if own == 0:
        os._exit(int(code))
    # This waits until the child is a zombie and does not reap it (waitid(2), WNOWAIT).
    os.waitid(os.P_PID, own, os.WEXITED | os.WNOWAIT)
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        orphan = os.fork()
        if orphan:
            os.write(writer, f"{orphan}\n".encode())
        os._exit(0)
    os.waitpid(middle, 0)
    wait_until_reaped(int(os.read(reader, 20)))
    _, status = os.waitpid(own, 0)
    say(f"its code is {os.waitstatus_to_exitcode(status)}")
    time.sleep(600)


def wait_until_reaped(pid: int) -> None:
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)


def changes_group() -> None:
    """Leaves the group that it was started in, and joins the group of its own child."""
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
    """Leaves a group that goes on to exist: the parent of a member left the group and does not reap that member.

    So a rotation stays between two children for as long as the supervisor waits for the group, which is two seconds. In
    that time the parent asks the supervisor's probes, reports what they answered, and sends the supervisor a TERM. This
    process does it, and not the test, because it sees the time begin and has nothing else to do.
    """
    group = os.getpid()
    port = health_port_of(os.getppid())
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setpgid(0, 0)
        if os.fork() == 0:
            os.setpgid(0, group)
            os.write(writer, b".")
            time.sleep(600)
        # Only the supervisor reaps the child, and only then has it seen that the child ended.
        wait_until_reaped(group)
        for path in ("/livez", "/readyz", "/status"):
            say(f"{path}: {ask_probe(port, path)}")
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(600)
    wait_for_bytes(reader, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    say("up")
    signal.sigwait(STOPS)
    sys.exit(int(code))


def health_port_of(supervisor: int) -> int:
    arguments = Path(f"/proc/{supervisor}/cmdline").read_bytes().split(b"\0")
    return int(arguments[arguments.index(b"--health-address") + 1].rpartition(b":")[2])


def ask_probe(port: int, path: str) -> str:
    """The status of the answer and its body, in one line."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = connection.makefile("rb").read().decode()
    head, _, body = answer.partition("\r\n\r\n")
    return " ".join([head.split()[1], *body.split()])


def leaves_others_behind() -> None:
    """Ends at a stop, and leaves behind a child that ignores TERM and a child in a session of its own."""
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
    """Reports each of these signals that it gets, and has a child in the same group that does so too."""
    wanted = [int(number) for number in numbers]
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    role = "grandchild" if os.fork() == 0 else "child"
    say(f"{role} is {os.getpid()}")
    while True:
        say(f"{role} got {int(signal.sigwait(wanted))}")


def makes_orphans(count: str, orphan: str = "") -> None:
    """Makes `count` grandchildren whose parent has ended. Each ends soon; with "says" it reports its new parent first."""
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


def makes_orphans_for_ever() -> None:
    """Makes grandchildren whose parent has ended, again and again, and says so after each hundred."""
    for number in itertools.count(1):
        if os.fork() == 0:
            os.fork()
            os._exit(0)
        os.wait()
        time.sleep(0.01)
        if number % 100 == 0:
            say("made")


def serves_health(folder: str, end: str = "at once") -> None:
    """Answers as Prefect's health page does: once the file `open` is there, with 503 until `good` is. Each question
    adds its time and the status of its answer, as a line, to the file `questions`. At TERM it ends, at once or (`end`
    is "waits") when the file `drained` is there."""
    # It is imported here because the other programs start faster without it.
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = Path(folder, "good").exists() and self.path in ("/api/health", "/base/health")
            status = 200 if good else 503
            with Path(folder, "questions").open("a") as questions:
                questions.write(f"{time.time()} {status}\n")
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"true" if good else b"false")

        def log_message(self, *_: object) -> None:
            pass

    def wait_for_file(name: str) -> None:
        while not Path(folder, name).exists():
            time.sleep(0.05)

    def on_term(*_: object) -> None:
        say("draining")
        if end == "waits":
            wait_for_file("drained")
        os._exit(0)

    signal.signal(signal.SIGTERM, on_term)
    say("up")
    wait_for_file("open")
    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever(0.05)


def says_variables(*names: str) -> None:
    """Prints each variable as `NAME=hexadecimal bytes` or as `NAME is not set`, and ends."""
    for name in names:
        value = os.environb.get(name.encode())
        say(f"{name} is not set" if value is None else f"{name}={value.hex()}")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
