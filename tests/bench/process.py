"""Started processes, what their children report, and what /proc tells of them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class MeasurementError(Exception):
    """A figure could not be had; the text says why."""


@dataclass(frozen=True)
class Memory:
    """Kilobytes, as /proc/PID/status has them."""

    resident: int
    anonymous: int
    peak: int


@dataclass(frozen=True)
class Work:
    """What a process did until a moment."""

    cpu_seconds: float
    wake_ups: int


class Process:
    """A started command. Its own log goes to a file, its child's reports come by standard error.

    A process is started from the main thread only: the kernel ends it with the thread that started it.
    """

    _count = 0

    def __init__(self, command: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        Process._count += 1
        self._log_path = folder / f"{Process._count}.log"
        self._other_lines: list[str] = []
        self._unread = b""
        self._reports: list[tuple[str, int]] = []
        self._ended = False
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        assert self._process.stderr
        self._pipe = self._process.stderr.fileno()
        os.set_blocking(self._pipe, False)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def stop(self) -> None:
        """Ends it, by force after 5 s. May be called twice."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        assert self._process.stderr
        if not self._process.stderr.closed:
            self._read_reports()
            self._process.stderr.close()

    def wait(self, timeout: float = 30.0) -> None:
        """Until it ended with 0."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"{self.said()} did not end within {timeout:g} s") from None
        if code != 0:
            raise MeasurementError(f"{self.said()} ended with {code}")

    def reports(self, name: str) -> list[int]:
        """Every value of that name until now."""
        assert self._process.stderr
        if not self._process.stderr.closed:
            self._read_reports()
        return [value for reported, value in self._reports if reported == name]

    def await_reports(self, name: str, count: int, timeout: float = 30.0) -> list[int]:
        deadline = time.monotonic() + timeout
        while len(found := self.reports(name)) < count:
            left = deadline - time.monotonic()
            if left <= 0 or self._ended:
                when = "when it ended" if self._ended else f"after {timeout:g} s"
                raise MeasurementError(f"{self.said()}: {len(found)} of {count} reports of '{name}' {when}")
            select.select([self._pipe], [], [], left)
        return found

    def await_log(self, text: str, count: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while (found := self.log.count(text)) < count:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise MeasurementError(f"{self.said()}: {found} of {count} log lines '{text}'")
            time.sleep(0.2)

    def memory(self) -> Memory:
        fields = _status(self.pid)
        return Memory(*(int(fields[name].removesuffix(" kB")) for name in ("VmRSS", "RssAnon", "VmHWM")))

    def work(self) -> Work:
        # Another process's CPU-time clock (clock_getcpuclockid(3)): nanoseconds, where /proc has 10 ms ticks.
        cpu = time.clock_gettime((~self.pid << 3) | 2)
        threads = [int(thread) for thread in os.listdir(f"/proc/{self.pid}/task")]
        switches = sum(int(_status(self.pid, thread)["voluntary_ctxt_switches"]) for thread in threads)
        return Work(cpu, switches)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def said(self) -> str:
        """The command with its last words, for an error."""
        assert isinstance(self._process.args, list)
        words = " | ".join((self.log.splitlines() + self._other_lines)[-3:])
        return " ".join(map(str, self._process.args[2:])) + (f" (last words: {words})" if words else "")

    def _read_reports(self) -> None:
        while True:
            try:
                data = os.read(self._pipe, 65536)
            except BlockingIOError:
                break
            if not data:
                self._ended = True
                break
            self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            words = line.split()
            if len(words) == 3 and words[0] == b"bench" and words[2].isdigit():
                self._reports.append((words[1].decode(), int(words[2])))
            elif line:
                self._other_lines.append(line.decode(errors="replace"))


def _status(pid: int, thread: int | None = None) -> dict[str, str]:
    path = f"/proc/{pid}/status" if thread is None else f"/proc/{pid}/task/{thread}/status"
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise MeasurementError(f"can't read {path}: {error.strerror}") from None
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
