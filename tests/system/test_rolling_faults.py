"""Rolling rotations where the kernel or a sandbox refuses what they need, or where memory is short."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import re
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from google_emulator.client import GoogleEmulator
from injection import Trace, require, why_no_attaching, why_no_injection
from prefect_load import Request
from refused_options import SO_ATTACH_REUSEPORT_CBPF, refusing, why_no_refusing
from rolling import (
    CLIENTS,
    DRAINED,
    ROLLING,
    UNTIL_ROTATION,
    Part,
    answer_from,
    fresh_connections,
    lost,
    run_side_by_side,
)
from socket_child import CODE, FILLING, socket_child
from supervisor import Supervisor, run, wait_until

MEBI = 1024 * 1024
ENDED_FIRST = "rotation: the next child can't run beside this one, which is ended first"
FAILED = "rotation: the next child failed, the old one is kept"


# Memory

_numbers = itertools.count(1)
_MOUNT = re.compile(r"^\S+ (\S+) cgroup (\S+)", re.MULTILINE)


class MemoryLimit:
    """A control group of version 1 with a limit (cgroups(7)), in which a program can be started."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        mounts = _MOUNT.findall(Path("/proc/self/mounts").read_text())
        mounted = [point for point, options in mounts if "memory" in options.split(",")]
        own = re.search(r"^\d+:[^:]*\bmemory\b[^:]*:(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        if not mounted or not own:
            raise OSError("there is no memory controller of cgroup version 1")
        self._folder = Path(mounted[0], own[1].lstrip("/"), f"prefect-supervisor-test-{os.getpid()}-{next(_numbers)}")

    def __enter__(self) -> MemoryLimit:
        self._folder.mkdir()
        (self._folder / "memory.limit_in_bytes").write_text(str(self._limit))
        return self

    def __exit__(self, *_: object) -> None:
        def removed() -> bool:
            # A process that is dying counts until it is reaped.
            with contextlib.suppress(OSError):
                self._folder.rmdir()
                return True
            return False

        wait_until(removed, "the control group to be empty")

    @property
    def command(self) -> list[str]:
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self._folder)]


@functools.cache
def why_no_memory_limit() -> str | None:
    try:
        with MemoryLimit(64 * MEBI) as limit:
            tried = subprocess.run([*limit.command, "true"], capture_output=True, text=True, check=False)
            return f"a control group can't be used here: {tried.stderr.strip()}" if tried.returncode else None
    except OSError as error:
        return f"a control group with a limit can't be made here: {error}"


# At the start


@require(why_no_injection)
def test_a_port_that_can_not_be_bound_is_one_line_and_1(tokens: GoogleEmulator, tmp_path: Path) -> None:
    trace = Trace({"bind": "error=EACCES"}, tmp_path / "trace")
    ended = run(
        *ROLLING,
        command=socket_child(tmp_path, "serves"),
        emulator=tokens,
        ready_url="off",
        through=trace.command,
    )
    assert trace.injected() > 0
    assert ended.process.returncode == 1
    (line,) = [line.message for line in ended.log if line.severity in ("WARNING", "ERROR")]
    assert "can't bind port" in line and os.strerror(errno.EACCES) in line
    assert ended.output == ended.errors == []


# In a rotation


def complaints(supervisor: Supervisor) -> list[str]:
    return [line.message for line in supervisor.log if line.severity in ("WARNING", "ERROR")]


def check_plain_restart(supervisor: Supervisor) -> str:
    """Waits for a rotation that ends the old child first. Returns the line that says why."""
    why = supervisor.wait_for_log(ENDED_FIRST, timeout=UNTIL_ROTATION)
    second = supervisor.wait_for_log("child: started", count=2)
    log, messages = supervisor.log, supervisor.messages()
    steps = [log.index(why), messages.index("rotation: draining the child"), messages.index(DRAINED), log.index(second)]
    assert steps == sorted(steps)
    return why.message


def check_end(supervisor: Supervisor, number: int) -> None:
    """The child of this number serves, and is the only one."""
    assert answer_from(supervisor.port) == str(number)
    supervisor.wait_for_health("/readyz")
    assert supervisor.status()["restarts"] == number - 1
    assert supervisor.stop() == CODE + number
    assert not supervisor.processes()


def counts(requests: Sequence[Request]) -> dict[str, object]:
    """A client has one connection at a time, so that it loses one at most when a child closes its socket."""
    assert len(lost(requests)) <= CLIENTS, lost(requests)
    return {"requests": len(requests), "lost": len(lost(requests))}


def a_port_that_can_not_be_shared_is_handed_on_by_a_restart(supervisor: Supervisor, folder: Path) -> None:
    """Connections that come between the two children wait in the queue of the socket, which both have in turn."""
    supervisor.wait_for_output("1 listens")
    (said,) = complaints(supervisor)
    assert "can't share the port" in said and os.strerror(errno.ENOPROTOOPT) in said
    assert "the port can't be shared" in check_plain_restart(supervisor)
    supervisor.wait_for_output("2 up")
    with socket.create_connection(("127.0.0.1", supervisor.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        (folder / "listen").touch()
        assert client.makefile("rb").read().endswith(b"\r\n\r\n2")
    assert len(complaints(supervisor)) == 2
    check_end(supervisor, 2)


def connections_that_can_not_be_led_are_spread_over_both(supervisor: Supervisor, folder: Path) -> dict[str, object]:
    supervisor.wait_for_health("/readyz")
    with fresh_connections(supervisor.port) as requests:
        supervisor.wait_for_log(DRAINED, timeout=UNTIL_ROTATION)
        supervisor.wait_for_health("/readyz")
    (said,) = complaints(supervisor)
    assert "can't be led to the next child alone" in said and os.strerror(errno.ENOPROTOOPT) in said
    check_end(supervisor, 2)
    return counts(requests)


def a_kernel_that_does_not_tell_when_a_child_listens_makes_it_a_restart(supervisor: Supervisor, folder: Path) -> None:
    supervisor.wait_for_output("1 listens")
    (said,) = complaints(supervisor)
    assert "getsockopt SO_ACCEPTCONN" in said and os.strerror(errno.ENOPROTOOPT) in said
    assert "getsockopt SO_ACCEPTCONN" in check_plain_restart(supervisor)
    supervisor.wait_for_output("2 listens")
    check_end(supervisor, 2)


def a_queue_that_can_not_be_seen_does_not_hold_up_the_rotation(
    supervisor: Supervisor, folder: Path
) -> dict[str, object]:
    supervisor.wait_for_health("/readyz")
    with fresh_connections(supervisor.port) as requests:
        supervisor.wait_for_log(DRAINED, timeout=UNTIL_ROTATION)
    check_end(supervisor, 2)
    return counts(requests)


def a_next_socket_that_can_not_be_bound_makes_it_a_restart(supervisor: Supervisor, folder: Path) -> None:
    supervisor.wait_for_output("1 listens")
    trace = Trace({"bind": "error=EACCES"}, folder / "trace")
    with trace.attached(supervisor.pid):
        why = check_plain_restart(supervisor)
    assert trace.injected() == 1
    assert "can't bind port" in why and os.strerror(errno.EACCES) in why
    check_end(supervisor, 2)


def a_fork_that_fails_keeps_the_old_child_and_is_tried_again_later(supervisor: Supervisor, folder: Path) -> None:
    supervisor.wait_for_output("1 listens")
    trace = Trace({"clone": "error=EAGAIN", "vfork": "error=EAGAIN"}, folder / "trace")
    with trace.attached(supervisor.pid):
        failed = supervisor.wait_for_log(FAILED, timeout=UNTIL_ROTATION)
    assert trace.injected() == 1
    assert "fork" in failed.message and failed.fields["next_try_ms"] == 30_000
    assert answer_from(supervisor.port) == "1" and supervisor.health("/readyz").status == 200
    supervisor.wait_for_log(DRAINED, timeout=UNTIL_ROTATION)
    assert complaints(supervisor) == [failed.message]
    check_end(supervisor, 2)


def too_little_memory_makes_it_a_restart(supervisor: Supervisor, folder: Path) -> None:
    why = check_plain_restart(supervisor)
    said = re.search(r"(\d+) MiB of memory are left, and (\d+) MiB are needed, 1.3 times the child's", why)
    assert said, why
    left, needed = map(int, said.groups())
    assert left < needed and 1.3 * FILLING / MEBI <= needed <= 2 * FILLING / MEBI
    check_end(supervisor, 2)


def enough_memory_makes_it_none(supervisor: Supervisor, folder: Path) -> None:
    supervisor.wait_for_log(DRAINED, timeout=UNTIL_ROTATION)
    assert complaints(supervisor) == []
    check_end(supervisor, 2)


def refused_parts() -> list[Part]:
    return [
        Part(
            a_port_that_can_not_be_shared_is_handed_on_by_a_restart,
            ("serves", "waits"),
            through=refusing("setsockopt", socket.SOL_SOCKET, socket.SO_REUSEPORT),
        ),
        Part(
            connections_that_can_not_be_led_are_spread_over_both,
            ("serves",),
            through=refusing("setsockopt", socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF),
        ),
        Part(
            a_kernel_that_does_not_tell_when_a_child_listens_makes_it_a_restart,
            ("serves",),
            through=refusing("getsockopt", socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
        ),
        Part(
            a_queue_that_can_not_be_seen_does_not_hold_up_the_rotation,
            ("serves",),
            through=refusing("getsockopt", socket.IPPROTO_TCP, socket.TCP_INFO),
        ),
    ]


FAILING_PARTS = [
    Part(a_next_socket_that_can_not_be_bound_makes_it_a_restart, ("serves",)),
    Part(a_fork_that_fails_keeps_the_old_child_and_is_tried_again_later, ("serves",)),
]


@pytest.mark.long
def test_rotations_that_lack_what_they_need(
    tokens: GoogleEmulator, tmp_path: Path, subtests, record_property: Callable[[str, object], None]
) -> None:
    parts: list[Part] = []
    with contextlib.ExitStack() as stack:

        def short_memory() -> list[Part]:
            def limited(check: Callable[[Supervisor, Path], None], mebibytes: int) -> Part:
                limit = stack.enter_context(MemoryLimit(mebibytes * MEBI))
                return Part(check, ("fills",), through=limit.command)

            return [limited(too_little_memory_makes_it_a_restart, 96), limited(enough_memory_makes_it_none, 512)]

        for what, why_not, made in (
            ("refused options", why_no_refusing, refused_parts),
            ("failing calls", why_no_attaching, lambda: FAILING_PARTS),
            ("memory", why_no_memory_limit, short_memory),
        ):
            if why := why_not():
                with subtests.test(msg=what):
                    pytest.skip(why)
            else:
                parts += made()
        for name, measured in run_side_by_side(parts, tokens, tmp_path, subtests).items():
            record_property(name, measured)
