"""Faults of the machine: it forbids calls, refuses memory and forks, freezes the program, and kills it."""

from __future__ import annotations

import errno
import http.server
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import pytest

from children import child
from injection import (
    Freezer,
    Trace,
    require,
    shared_memory,
    why_no_attaching,
    why_no_freezer,
    why_no_injection,
)
from processes import children_of, find_process
from supervisor import Supervisor, run, wait_until
from google_emulator.client import GoogleEmulator

# A rotation comes 30 s after the start of the child at the earliest.
UNTIL_ROTATION = 90.0
ROTATES = ("--rotation", "restart", "--ready-url", "off")


def error_lines(supervisor: Supervisor) -> list[str]:
    return [line.message for line in supervisor.log if line.severity == "ERROR"] + supervisor.errors


def password_file(supervisor: Supervisor) -> Path:
    found = find_process(supervisor.child_pid)
    assert found
    return Path(found.environment["PGPASSFILE"])


# A timer that ran out in another phase


SIDE_BY_SIDE = 3
"""The kernel decides which of the two events is handled first."""


@pytest.mark.long
@pytest.mark.parametrize("way", ["stopped", pytest.param("frozen", marks=require(why_no_freezer))])
def test_a_stop_after_a_freeze_still_drains_the_child(way: str, tokens: GoogleEmulator) -> None:
    """The timer of a rotation that is held back runs out while the program cannot run, as in `docker pause` and `docker
    stop`. At the thaw it must not be taken for the stop timeout's."""
    with ExitStack() as stack:
        # Entered first: it thaws last, after a failing test has killed the supervisors.
        freezer = stack.enter_context(Freezer()) if way == "frozen" else None
        supervisors = [
            stack.enter_context(
                Supervisor(*ROTATES, "--refresh-interval", "1s", command=child("drains", 0.5, 7), emulator=tokens)
            )
            for _ in range(SIDE_BY_SIDE)
        ]
        if freezer:
            stack.callback(freezer.thaw)
        runs_out = 0.0
        for supervisor in supervisors:
            supervisor.wait_for_output("up")
            held_back = supervisor.wait_for_log("rotation: held back")
            runs_out = max(runs_out, time.monotonic() + held_back.fields["wait_ms"] / 1000)
            if freezer:
                freezer.take(supervisor.pid)
            else:
                supervisor.signal(SIGSTOP)
        if freezer:
            freezer.freeze()
        wait_until(lambda: time.monotonic() > runs_out, "the timers to run out", UNTIL_ROTATION, pause=0.2)
        for supervisor in supervisors:
            supervisor.signal(SIGTERM)
            if not freezer:
                supervisor.signal(SIGCONT)
        if freezer:
            freezer.thaw()
        for supervisor in supervisors:
            assert supervisor.wait() == 7, supervisor.transcript()
            assert supervisor.output[-1] == "drained"
            assert not [line for line in supervisor.messages() if "killing it" in line]
            assert not supervisor.processes()


# A child that SIGKILL does not end


@pytest.mark.long
@require(why_no_freezer)
def test_a_drain_that_sigkill_does_not_end_is_the_end(tokens: GoogleEmulator) -> None:
    """Two children must not run side by side, so the program ends, and the platform replaces the container."""
    with (
        Freezer() as freezer,
        Supervisor(
            *ROTATES, *("--refresh-interval", "1s", "--drain-timeout", "1s", "--stop-timeout", "1s"),
            command=child("deaf"),
            emulator=tokens,
        ) as supervisor,
        ExitStack() as stack,
    ):
        supervisor.wait_for_output("up")
        freezer.take(supervisor.child_pid)
        freezer.freeze()
        stack.callback(freezer.thaw)
        supervisor.wait_for_log("rotation: the child did not end within the drain timeout", timeout=UNTIL_ROTATION)
        assert supervisor.wait(UNTIL_ROTATION) == 128 + SIGKILL
        (error,) = error_lines(supervisor)
        assert "SIGKILL" in error
        assert supervisor.messages().count("child: started") == 1


# No memory


HANDED_OVER = "rotation: fresh token handed over in place"


def fill_memory(port: int, stack: ExitStack) -> None:
    """Health requests that need more memory than the program has already. None of them is complete."""
    # It keeps 32 connections, with up to 8 KiB of each.
    for _ in range(32):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        with suppress(OSError):
            connection.sendall(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 8000)


@contextmanager
def no_more_memory(pid: int) -> Iterator[None]:
    """The process keeps the memory that it has, and gets no more (getrlimit(2): RLIMIT_AS)."""
    found = find_process(pid)
    assert found
    size = int(found.status["VmSize"].split()[0]) * 1024
    soft, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (size, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))


@require(why_no_attaching)
@pytest.mark.parametrize(
    "call",
    [
        "epoll_ctl",
        "socket",
        pytest.param("mmap", marks=pytest.mark.only_shipped("a sanitizer ends the program when it gets no memory itself")),
    ],
)
def test_no_memory_for_a_while_does_not_abandon_the_child(call: str, tokens: GoogleEmulator, tmp_path: Path) -> None:
    """Either what needed the memory fails, and the refresh is tried again, or the program ends the child, says why, and
    ends."""
    # The C library's malloc(3) asks by brk(2) first, which here really fails, and so does mmap(2).
    really_fails = call == "mmap"
    trace = Trace({call: None if really_fails else "error=ENOMEM"}, tmp_path / "trace")
    with (
        Supervisor(
            *("--rotation", "in-place", "--refresh-interval", "3s", "--ready-url", "off"),
            command=child("drains", 0, 7),
            emulator=tokens,
        ) as supervisor,
        ExitStack() as stack,
    ):
        supervisor.wait_for_output("up")
        pid = supervisor.child_pid
        file = password_file(supervisor)
        with trace.attached(supervisor.pid), no_more_memory(supervisor.pid) if really_fails else nullcontext():
            if really_fails:
                fill_memory(supervisor.health_port, stack)
            wait_until(lambda: trace.count("ENOMEM") > 0, "a call that fails")
        stack.close()
        before = supervisor.messages().count(HANDED_OVER)
        wait_until(
            lambda: not supervisor.alive or supervisor.messages().count(HANDED_OVER) > before,
            "the end, or the next refresh",
        )
        if supervisor.alive:
            assert file.exists()
            assert supervisor.health("/livez").status == 200
            assert supervisor.status()["child"]["pid"] == pid
            assert supervisor.stop() == 7
        else:
            assert supervisor.wait() > 0
            assert error_lines(supervisor) != []
        # Waiting for the child needs memory, too; if there is none, the child is killed.
        assert really_fails or supervisor.output[-1] == "drained"
        assert supervisor.messages()[-1] == "stopped"
        assert not file.parent.exists()
        assert not supervisor.processes()


# No fork


@require(why_no_injection)
@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
def test_a_first_fork_that_fails_is_one_line_about_the_fork(error: str, tmp_path: Path) -> None:
    trace = Trace({"clone": f"error={error}", "vfork": f"error={error}"}, tmp_path / "trace")
    ended = run("--no-token", command=["sleep", "600"], through=trace.command, timeout=UNTIL_ROTATION)
    assert trace.injected() > 0
    assert ended.process and ended.process.returncode == 1
    (line,) = error_lines(ended)
    assert "fork" in line and os.strerror(getattr(errno, error)) in line
    assert "can't execute" not in line


@pytest.mark.long
@require(why_no_injection)
def test_a_fork_that_fails_once_in_a_rotation_is_tried_again(tokens: GoogleEmulator, tmp_path: Path) -> None:
    trace = Trace({"clone": "error=EAGAIN:when=2"}, tmp_path / "trace")
    with Supervisor(
        *ROTATES, "--refresh-interval", "1s", command=child("drains", 0, 0), emulator=tokens, through=trace.command
    ) as supervisor:
        supervisor.wait_for_log("child: started", count=2, timeout=UNTIL_ROTATION)
        supervisor.wait_for_output("up", count=2)
        assert trace.injected() == 1
        assert any("fork" in line.message for line in supervisor.log if line.severity in ("WARNING", "ERROR"))
        assert supervisor.health("/livez").status == 200
        assert supervisor.status()["restarts"] == 1
        assert supervisor.stop() == 0
        assert not supervisor.processes()


@pytest.mark.long
@require(why_no_injection)
def test_forks_that_go_on_to_fail_in_a_rotation_are_the_end(tokens: GoogleEmulator, tmp_path: Path) -> None:
    trace = Trace({"clone": "error=EAGAIN:when=2+"}, tmp_path / "trace")
    with Supervisor(
        *ROTATES, "--refresh-interval", "1s", command=child("drains", 0, 0), emulator=tokens, through=trace.command
    ) as supervisor:
        supervisor.wait_for_log("rotation: child drained", timeout=UNTIL_ROTATION)
        assert supervisor.wait(UNTIL_ROTATION) == 1
        assert trace.injected() > 1
        assert "fork" in error_lines(supervisor)[-1]
        assert supervisor.messages().count("child: started") == 1
        assert not supervisor.processes()


# A death by SIGKILL


def test_the_next_start_removes_what_a_killed_one_left_and_no_more(tokens: GoogleEmulator) -> None:
    def starts(through: list[str]) -> Supervisor:
        return Supervisor(
            *("--rotation", "in-place", "--ready-url", "off"),
            command=["sleep", "600"],
            emulator=tokens,
            through=through,
        )

    def folder(supervisor: Supervisor) -> str:
        supervisor.wait_for_log("child: started")
        return password_file(supervisor).parent.name

    with shared_memory() as (through, place):
        with starts(through) as living, starts(through) as killed:
            kept, left = folder(living), folder(killed)
            killed.signal(SIGKILL)
            killed.wait()
            assert {entry.name for entry in place.iterdir()} == {kept, left}
            with starts(through) as next_one:
                own = folder(next_one)
                assert {entry.name for entry in place.iterdir()} == {kept, own}
                assert next_one.stop() == 128 + SIGTERM
            assert living.stop() == 128 + SIGTERM
        assert list(place.iterdir()) == []


@pytest.mark.parametrize("rotation", ["restart", "in-place"])
def test_a_child_does_not_outlive_a_killed_supervisor(rotation: str, tokens: GoogleEmulator) -> None:
    """PR_SET_PDEATHSIG (prctl(2)); the kernel does it by itself where the supervisor is PID 1 (pid_namespaces(7))."""
    with Supervisor("--rotation", rotation, command=["sleep", "600"], emulator=tokens) as supervisor:
        supervisor.wait_for_log("child: started")
        pid = supervisor.child_pid
        supervisor.signal(SIGKILL)
        assert supervisor.wait() == -SIGKILL

        def gone() -> bool:
            found = find_process(pid)
            return not found or found.state == "Z"

        wait_until(gone, "the end of the child")


# A zombie that existed before the start

INHERITS_A_ZOMBIE = """
import os, sys
pid = os.fork() or os._exit(3)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_zombie_inherited_at_the_start_is_reaped() -> None:
    """No SIGCHLD will report it, because its parent became the supervisor by exec."""
    with Supervisor(
        "--no-token",
        command=["sleep", "600"],
        through=[sys.executable, "-S", "-E", "-c", INHERITS_A_ZOMBIE],
    ) as supervisor:
        supervisor.wait_for_log("child: started")
        wait_until(
            lambda: [found.pid for found in children_of(supervisor.pid)] == [supervisor.child_pid],
            "the zombie to be reaped",
        )
        assert supervisor.stop() == 128 + SIGTERM


# Another program on Prefect's port


@contextmanager
def another_program(port: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Answers the readiness check as Prefect does; yields the port and the requests that came."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def lines_that_name(port: int, supervisor: Supervisor) -> list[str]:
    """Warnings and errors before the start of a child."""
    lines = supervisor.log
    start = next((index for index, line in enumerate(lines) if line.message == "child: started"), len(lines))
    return [
        line.message
        for line in lines[:start]
        if line.severity in ("WARNING", "ERROR") and str(port) in line.message
    ]


@pytest.mark.parametrize("runs_prefect", [True, False], ids=["prefect", "another command"])
def test_another_program_on_prefects_port_is_named_before_the_launch(
    runs_prefect: bool, tokens: GoogleEmulator, tmp_path: Path
) -> None:
    """Prefect would end because of it, seconds after the other program's answer had been taken for Prefect's."""
    prefect = tmp_path / "prefect"
    prefect.write_text("#!/bin/sh\nexec sleep 600\n")
    prefect.chmod(0o755)
    with (
        another_program() as (port, asked),
        Supervisor(
            command=None if runs_prefect else ["prefect"],
            emulator=tokens,
            environment={"PORT": str(port), "PATH": f"{tmp_path}:/usr/bin:/bin"},
        ) as supervisor,
    ):
        # The answer to the first question has been used when the second is asked.
        wait_until(lambda: not supervisor.alive or len(asked) > 1, "the end, or two readiness questions")
        code = supervisor.stop() if supervisor.alive else supervisor.wait()
        assert lines_that_name(port, supervisor) != []
        if runs_prefect:
            assert "child: ready" not in supervisor.messages()
            assert code == 1 and len(error_lines(supervisor)) == 1
        assert not supervisor.processes()
