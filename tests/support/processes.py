"""Finds the processes of a test, wherever they were reparented, by a mark in their environment."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "SUPERVISOR_TEST_MARK"


@dataclass(frozen=True)
class Process:
    pid: int
    name: str
    state: str
    """As in /proc/PID/stat: R, S, D, T, Z..."""
    parent: int
    group: int
    session: int
    terminal_group: int

    @property
    def directory(self) -> Path:
        return Path("/proc", str(self.pid))

    @property
    def environment(self) -> dict[str, str]:
        """The arguments it was started with; empty for a zombie, and for a process that must not be inspected."""
        entries = _read(self.directory / "environ").decode(errors="surrogateescape").split("\0")
        return dict(entry.partition("=")[::2] for entry in entries if "=" in entry)

    @property
    def arguments(self) -> list[str]:
        return _read(self.directory / "cmdline").decode(errors="surrogateescape").split("\0")[:-1]

    @property
    def status(self) -> dict[str, str]:
        """The lines of /proc/PID/status."""
        lines = _read(self.directory / "status").decode(errors="replace").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def find_process(pid: int) -> Process | None:
    stat = _read(Path("/proc", str(pid), "stat")).decode(errors="replace")
    name, _, rest = stat.rpartition(") ")
    if not rest:
        return None
    state, parent, group, session, _, terminal_group, *_ = rest.split()
    return Process(
        pid, name.partition("(")[2], state, int(parent), int(group), int(session), int(terminal_group)
    )


def all_processes() -> list[Process]:
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [process for pid in pids if (process := find_process(pid))]


def children_of(pid: int) -> list[Process]:
    """Zombies are included."""
    return [process for process in all_processes() if process.parent == pid]


def marked_pids(mark: str) -> list[int]:
    """All living processes whose mark starts with `mark`; zombies no longer have an environment."""
    wanted = f"{MARK}={mark}".encode()
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [
        pid
        for pid in pids
        if any(entry.startswith(wanted) for entry in _read(Path("/proc", str(pid), "environ")).split(b"\0"))
    ]


def marked_processes(mark: str) -> list[Process]:
    return [process for pid in marked_pids(mark) if (process := find_process(pid))]


def kill_marked(mark: str, limit: float = 10.0) -> list[int]:
    """Kills until none is left, since a dying process may be starting another one. Returns the killed processes."""
    killed: set[int] = set()
    deadline = time.monotonic() + limit
    while pids := marked_pids(mark):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.add(pid)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {pids} do not die of SIGKILL")
        time.sleep(0.01)
    return sorted(killed)
