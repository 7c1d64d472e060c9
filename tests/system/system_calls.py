"""The behaviour of the program when a system call is missing (ENOSYS) or forbidden (EPERM), observed by injection.

As a program it writes the table of docs/system-calls.md to standard output; with --write it rewrites the document:

    .deps/venv/bin/python tests/system/system_calls.py --write
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM

if __name__ == "__main__":
    # What pytest's configuration does for the tests.
    _TESTS = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(_TESTS.parent), str(_TESTS), str(_TESTS / "support")]

from injection import Trace, why_no_injection
from processes import find_process
from supervisor import BINARY, REPOSITORY, Supervisor, wait_until
from google_emulator.client import GoogleEmulator

DOCUMENT = REPOSITORY / "docs/system-calls.md"
ERRORS = ("ENOSYS", "EPERM")
STOPPED = 128 + SIGTERM
# Much longer than a busy machine needs for a token or for the end of a child.
START_DEADLINE = "10s"
LIMIT = 15.0

# Each call that the program makes, or a library for it, and what for.
PURPOSES = {
    "epoll_create1": "the loop, which waits for everything",
    "epoll_create": "the loop, where `epoll_create1` is missing",
    "epoll_ctl": "the loop: each descriptor that it watches",
    "eventfd2": "the loop: its own waking",
    "eventfd": "the loop: its own waking, where `eventfd2` is missing",
    "timerfd_create": "the loop: its timer",
    "signalfd4": "receiving signals",
    "rt_sigprocmask": "blocking signals until the loop reads them",
    "rt_sigaction": "ignoring PIPE; the child's default dispositions",
    "prctl": "becoming the subreaper; no core files; the child's end with ours",
    "prlimit64": "no core files",
    "getrandom": "the C library's own start; the jitter of pauses",
    "socket": "health requests; the token's request",
    "bind": "health requests; whether Prefect's port is free",
    "listen": "health requests",
    "accept": "health requests",
    "accept4": "health requests",
    "setsockopt": "health requests; the token's request",
    "ioctl": "sockets that do not block",
    "connect": "the token's request; the readiness question",
    "sendto": "the token's request; the readiness question",
    "recvfrom": "the token's answer; the readiness answer",
    "sendmsg": "the answers to health requests",
    "poll": "the token's connection; a log that is not read",
    "openat": "the password file",
    "mkdir": "the password file's directory",
    "flock": "the lock that tells that the password file's owner lives",
    "fsync": "the password file",
    "fchmod": "the password file's mode",
    "rename": "a new password file in the place of the old one",
    "renameat": "a new password file in the place of the old one",
    "pipe2": "learning from the fork that the exec failed",
    "clone": "the fork of the child",
    "clone3": "a thread of the resolver, where a host is a name",
    "vfork": "nothing",
    "pidfd_open": "a handle of the child",
    "setpgid": "the child's own process group",
    "close_range": "no descriptor of ours in the child",
    "execve": "the child's command",
    "kill": "signals to the child",
    "getpgid": "telling orphans of the child's group from others",
    "wait4": "reaping",
}

# The call of the key is made only if the other call is missing, so that other call is made to fail.
INSTEAD_OF = {"epoll_create": "epoll_create1", "eventfd": "eventfd2"}

HEAD = """\
# The system calls that the program depends on

Made by `tests/system/system_calls.py --write`, and compared by `tests/system/test_system_calls.py`: what the release
build did when strace(1) made every call of that name fail, in the program and in what it forks until its exec. A
call fails with `ENOSYS` where the kernel or a sandbox lacks it, and with `EPERM` where a seccomp profile forbids it.

Each run has the rotation `in-place`, the health server on, a metadata server that answers and hosts that are addresses.
What `rolling` needs beside these are options of sockets; `tests/system/test_rolling_faults.py` shows each of them refused:
without `SO_REUSEPORT` or `SO_ACCEPTCONN` a rotation is a plain restart, without `SO_ATTACH_REUSEPORT_CBPF` new connections
go to both children until the old one ends, and without `TCP_INFO` the old child gets its TERM a second after the hand-over
whatever waits in its queue.

The loop's waiting itself (`epoll_wait`, `timerfd_settime`) is left out: without these calls no program that is built
on Boost.Asio works, and it does not notice.

- *works*: the child was started with the token, `/livez` was answered, SIGTERM ended the child, the exit code was 143,
  and no process and no password file was left.
- *works, but ...*: all of that but what is named. The lines behind it are warnings, or say why.
- *refuses*: no child was started, the exit code is the one given, and the line is the only one that speaks of an error.
- *ends*: as *refuses*, but the child ran already; it was ended before.
- *is not called*: the program did not make the call in these runs.

Left out are calls that every program needs (`read`, `write`, `close`, `brk`, `mmap`), and those that only remove the
password file (`unlink`, `rmdir`).

| system call | needed for | ENOSYS | EPERM |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Outcome:
    text: str
    faults: tuple[str, ...]
    """Events that must never happen, such as a child that is left behind."""


def observe(call: str, error: str, emulator: GoogleEmulator) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="system-call-") as folder:
        faults = {call: f"error={error}"}
        if call in INSTEAD_OF:
            faults[INSTEAD_OF[call]] = "error=ENOSYS"
        trace = Trace(faults, Path(folder, "trace"))
        supervisor = Supervisor(
            *("--rotation", "in-place", "--start-deadline", START_DEADLINE),
            *("--stop-timeout", "5s", "--ready-url", "off"),
            emulator=emulator,
            command=["sleep", "600"],
            through=trace.command,
        )
        with supervisor:
            seen = _live(supervisor, emulator)
            # Behind the number of the process.
            if trace.count(f" {call}(") == 0:
                return Outcome("is not called", tuple(seen.faults))
            return Outcome(seen.text(), tuple(seen.faults))


@dataclass
class _Life:
    """The observations of one supervisor."""

    started: bool
    lacks: list[str]
    code: int | None
    """None: it did not end, or did not even start."""
    asked: bool
    lines: list[str]
    faults: list[str]

    def text(self) -> str:
        if self.code is None:
            return "neither works nor ends"
        said = f": {', '.join(f'`{line}`' for line in self.lines)}" if self.lines else ""
        if self.asked:
            lacks = [*self.lacks, *([] if self.code == STOPPED else [f"the exit code is {self.code}"])]
            return f"works{', but ' if lacks else ''}{' and '.join(lacks)}{said}"
        verb = "ends" if self.started else "refuses"
        return f"{verb}, exit code {self.code}{said}"


def _live(supervisor: Supervisor, emulator: GoogleEmulator) -> _Life:
    process = supervisor.process
    assert process

    def started_or_ended() -> bool:
        return process.poll() is not None or "child: started" in supervisor.messages()

    faults: list[str] = []
    lacks: list[str] = []
    asked = False
    file: Path | None = None
    try:
        wait_until(started_or_ended, "the start or the end", 2 * LIMIT)
        started = "child: started" in supervisor.messages()
        if started:
            file = _password_file(supervisor)
            lacks += _lacking(supervisor, file, emulator)
        if process.poll() is None:
            asked = True
            with contextlib.suppress(ProcessLookupError):
                supervisor.signal(SIGTERM)
        code = supervisor.wait()
    except TimeoutError as error:
        return _Life(True, lacks, None, asked, [], [f"it neither works nor ends: {error}"])
    started = "child: started" in supervisor.messages()
    wait_until_gone(supervisor, faults)
    if file and file.exists():
        faults.append("the password file is left behind")
        shutil.rmtree(file.parent, ignore_errors=True)
    if code < 0:
        faults.append(f"it ended itself by signal {-code}")
    lines = [line.message for line in supervisor.log if line.severity in ("ERROR", "WARNING")]
    errors = [line.message for line in supervisor.log if line.severity == "ERROR"] + supervisor.errors
    works = asked and code == STOPPED
    if not works and len(errors) != 1:
        faults.append(f"it says {len(errors)} lines and not one: {errors}")
    if not works and code == 0:
        faults.append("its exit code is 0")
    return _Life(started, lacks, code, asked, [_settled(line) for line in (errors or lines)], faults)


def wait_until_gone(supervisor: Supervisor, faults: list[str]) -> None:
    try:
        # A killed process needs a moment to disappear.
        wait_until(lambda: not supervisor.processes(), "the end of its processes", LIMIT)
    except TimeoutError:
        names = sorted(found.name for found in supervisor.processes())
        faults.append(f"left behind: {', '.join(names)}")


def _password_file(supervisor: Supervisor) -> Path | None:
    child = find_process(supervisor.child_pid)
    path = child.environment.get("PGPASSFILE") if child else None
    return Path(path) if path else None


def _lacking(supervisor: Supervisor, file: Path | None, emulator: GoogleEmulator) -> list[str]:
    lacks = []
    token = emulator.current_token()
    if not (file and token and token.text in file.read_text()):
        lacks.append("the child does not get the token")
    answered = False
    with contextlib.suppress(OSError, http.client.HTTPException):
        answered = supervisor.health("/livez", timeout=LIMIT).status == 200
    if not answered:
        lacks.append("`/livez` is not answered")
    return lacks


_CHANGING = (
    (re.compile(r"\b127\.0\.0\.1:\d+|\b127\.0\.0\.1 port \d+"), "ADDRESS"),
    (re.compile(r"prefect-supervisor-\w{6}\b"), "prefect-supervisor-XXXXXX"),
    (re.compile(r"(/[\w.-]+)*/(?=system-call-|pytest-)\S*"), "DIRECTORY"),
    (re.compile(r"after \d+ ms"), "after N ms"),
    (re.compile(rf"\b{START_DEADLINE}\b"), "START_DEADLINE"),
)


def _settled(line: str) -> str:
    """Without what differs from run to run."""
    for pattern, text in _CHANGING:
        line = pattern.sub(text, line)
    return line.replace("|", "\\|")


def row(call: str, emulator: GoogleEmulator) -> tuple[str, list[str]]:
    """The line of the table, and the forbidden events that happened."""
    with ThreadPoolExecutor(len(ERRORS)) as pool:
        outcomes = list(pool.map(lambda error: observe(call, error, emulator), ERRORS))
    cells = [f"`{call}`", PURPOSES[call], *(outcome.text for outcome in outcomes)]
    faults = [f"{call}: {error}: {fault}" for error, outcome in zip(ERRORS, outcomes) for fault in outcome.faults]
    return f"| {' | '.join(cells)} |", faults


def rows_of_document() -> dict[str, str]:
    lines = DOCUMENT.read_text().splitlines()
    return {line.split("`")[1]: line for line in lines if line.startswith("| `")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"rewrite {DOCUMENT.relative_to(REPOSITORY)}")
    arguments = parser.parse_args()
    if not BINARY.exists():
        parser.error(f"{BINARY} is missing: ./dev build makes it")
    if why := why_no_injection():
        parser.error(why)
    with GoogleEmulator(postgres=False, token_life="1h") as emulator, ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda call: row(call, emulator), PURPOSES))
    for _, faults in found:
        for fault in faults:
            print(f"system_calls: {fault}", file=sys.stderr)
    document = HEAD + "".join(f"{line}\n" for line, _ in found)
    if arguments.write:
        DOCUMENT.write_text(document)
    else:
        print(document, end="")
    return 1 if any(faults for _, faults in found) else 0


if __name__ == "__main__":
    sys.exit(main())
