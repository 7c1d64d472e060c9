"""Starts the real binary for a test, reads its log as it is written, and leaves no process or file behind.

    with GoogleEmulator(postgres=False) as emulator, Supervisor(command=["sleep", "60"], emulator=emulator) as supervisor:
        supervisor.wait_for_log("child: started")
        assert supervisor.health("/livez").status == 200
        assert supervisor.stop() == 128 + signal.SIGTERM
        assert not supervisor.processes()

`command` is what comes after `--` (None: the default, Prefect). `environment` is laid over a small clean
one and the emulator's; None as a value takes a variable out. `ready_url` is passed on as the flag, with `{port}` in
it replaced by `port`. Health is answered on `health_port` unless `health=False`, which is `--health-address off`; None leaves the flag out.
`port` is a free one for the child, given as PORT. Both stay reserved for the test.

`pid1=True` makes it PID 1 of its own PID namespace; `pid` is then its number outside, where signals come
from. `terminal=True` gives it a controlling terminal of its own, which `type_keys()` writes to. `through`
is a command that starts it, such as `env --ignore-signal=PIPE`.

Lines of the child on the same standard output are in `output`, the supervisor's in `log`, all in `lines`; of each the
newest `keep`, or all.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import IO, Any, NoReturn, TypeVar

import pytest

from log_lines import LogLine, parse_log_line
from processes import MARK, Process, children_of, find_process, kill_marked, marked_pids, marked_processes
from google_emulator.client import GoogleEmulator

Found = TypeVar("Found")

REPOSITORY = Path(__file__).resolve().parents[2]
# PREFECT_SUPERVISOR_BINARY names another build, such as the one with AddressSanitizer.
BINARY = Path(os.environ.get("PREFECT_SUPERVISOR_BINARY", REPOSITORY / "build/release/prefect-supervisor"))

# How a report of AddressSanitizer, LeakSanitizer or UndefinedBehaviorSanitizer begins.
SANITIZER_REPORT = re.compile(r"==\d+==\s?ERROR: \w+Sanitizer|: runtime error: ")

# Of all supervisors that one run of pytest starts, in all of its workers.
RUN_MARK = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"run-{os.getpid()}")
_numbers = itertools.count(1)

# Generous, for the machine may be slow. Only a test that fails waits for so long.
LIMIT = 180.0

DATABASE = {"DB_USER": "prefect-sa@my-project.iam", "DB_IP": "127.0.0.1", "DB_NAME": "prefect"}


class ReservedPort:
    """A free port that no other test gets while it is held.

    The socket that holds it never listens, so that a program which sets SO_REUSEADDR can still bind the port.
    """

    def __init__(self, host: str = "0.0.0.0") -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, 0))
        self.number = int(self._socket.getsockname()[1])

    def __enter__(self) -> ReservedPort:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class HealthAnswer:
    status: int
    body: str
    headers: dict[str, str]
    """Their names in lower case."""


def wait_until(
    condition: Callable[[], Found | None], what: str, timeout: float = LIMIT, pause: float = 0.02
) -> Found:
    """Returns the condition's first true value; fails with `what` in the message if none comes in time."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(pause)
    return found


@functools.cache
def pid_namespace_command() -> tuple[str, ...] | None:
    """The command that starts a program as PID 1 of a namespace of its own; None if that is not allowed."""
    usual = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    for command in (usual, (*usual, "--user", "--map-root-user")):
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return None


def skip_without_namespaces() -> NoReturn:
    pytest.skip("unshare can't make a PID namespace here")


class Supervisor:
    """A running prefect-supervisor. Use it as a context manager, or call start() and end()."""

    def __init__(
        self,
        *arguments: str,
        command: Sequence[str] | None = None,
        emulator: GoogleEmulator | None = None,
        environment: Mapping[str, str | None] | None = None,
        health: bool | None = True,
        ready_url: str | None = None,
        pid1: bool = False,
        terminal: bool = False,
        through: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        directory: Path | None = None,
        keep: int | None = None,
    ) -> None:
        self.arguments = list(arguments)
        self.command = list(command) if command is not None else None
        self.mark = f"{RUN_MARK}-{os.getpid()}-{next(_numbers)}-"
        self._emulator = emulator
        self._environment = dict(environment or {})
        self._health = health
        self._ready_url = ready_url
        self._pid1 = pid1
        self._terminal = terminal
        self._through = list(through)
        self._pass_fds = pass_fds
        self._directory = directory
        self._ports: list[ReservedPort] = []
        self.port = self.health_port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._terminal_master: int | None = None
        self._readers: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._is_read = threading.Event()
        self._is_read.set()
        self._lines: deque[str] = deque(maxlen=keep)
        self._error_lines: deque[str] = deque(maxlen=keep)
        self._log: deque[LogLine] = deque(maxlen=keep)
        self._output: deque[str] = deque(maxlen=keep)

    # Life

    def __enter__(self) -> Supervisor:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end()
        if kind is not None:
            # pytest shows it with the failure.
            print(self.transcript())
        elif reports := [line for line in self.errors if SANITIZER_REPORT.search(line)]:
            # The test may have expected the exit code that the sanitizer chose.
            pytest.fail(f"{reports[0]}\n{self.transcript()}", pytrace=False)

    def start(self) -> Supervisor:
        if not BINARY.exists():
            pytest.fail(f"{BINARY} is missing: ./dev builds it", pytrace=False)
        prefix = list(self._through)
        if self._pid1:
            prefix = [*(pid_namespace_command() or skip_without_namespaces()), *prefix]
        if self._terminal:
            prefix = ["setsid", "--ctty", *prefix]
        try:
            self._spawn([*prefix, *self.command_line()])
        except BaseException:
            self.end()
            raise
        return self

    def command_line(self) -> list[str]:
        """The supervisor's own. Takes the ports at its first call."""
        if not self._ports:
            self._ports = [ReservedPort(), ReservedPort()]
            self.port, self.health_port = (port.number for port in self._ports)
        line = [str(BINARY), *self.arguments]
        given = any(argument.partition("=")[0] == "--health-address" for argument in self.arguments)
        if self._health is not None and not given:
            line += ["--health-address", f"127.0.0.1:{self.health_port}" if self._health else "off"]
        if self._ready_url is not None:
            line += ["--ready-url", self._ready_url.replace("{port}", str(self.port))]
        return line if self.command is None else [*line, "--", *self.command]

    def environment(self) -> dict[str, str]:
        values: dict[str, str | None] = {
            # The interpreter's folder first: `prefect` and `python` are the virtual environment's.
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": os.environ.get("HOME", "/"),
            # Not a login by gcloud that the user of this machine may have in HOME.
            "CLOUDSDK_CONFIG": "/no/such/folder",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PORT": str(self.port),
            MARK: self.mark,
        }
        if "TMPDIR" in os.environ:
            values["TMPDIR"] = os.environ["TMPDIR"]
        if "ASAN_OPTIONS" in os.environ:
            # The leak check traces the program at its end (ptrace(2)), and a process has one tracer at a time.
            traced = ":detect_leaks=0" if "strace" in self._through else ""
            values["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"] + traced
        if self._emulator is not None:
            # An emulator without PostgreSQL has no port that the wait for the database could reach.
            waits = {} if "DB_PORT" in self._emulator.environment() else {"SUPERVISOR_DB_WAIT": "off"}
            values |= DATABASE | waits | self._emulator.environment()
        values |= self._environment
        return {name: value for name, value in values.items() if value is not None}

    def end(self) -> None:
        """Asks it to end, kills the processes that do not end, and frees everything. May be called twice."""
        process = self.process
        self._is_read.set()
        try:
            if process is not None and process.poll() is None:
                # It removes its password file only when it shuts down itself, not when it is killed.
                with contextlib.suppress(Exception):
                    self.stop(timeout=10.0)
        finally:
            kill_marked(self.mark)
            if process is not None:
                process.kill()
                process.wait()
            for reader in self._readers:
                reader.join(LIMIT)
            for stream in (process.stdout, process.stderr) if process is not None else ():
                if stream is not None:
                    stream.close()
            if self._terminal_master is not None:
                os.close(self._terminal_master)
                self._terminal_master = None
            for port in self._ports:
                port.release()

    def _spawn(self, command: list[str]) -> None:
        stdin: int = subprocess.DEVNULL
        if self._terminal:
            self._terminal_master, stdin = pty.openpty()
        try:
            self.process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment(),
                cwd=self._directory,
                pass_fds=self._pass_fds,
                # Ctrl-C is for pytest, which ends us; setsid makes the terminal's session.
                start_new_session=not self._terminal,
                restore_signals=True,
            )
        finally:
            if self._terminal:
                os.close(stdin)
        assert self.process.stdout and self.process.stderr
        for stream, take in (
            (self.process.stdout, self._take_line),
            (self.process.stderr, self._take_error),
        ):
            reader = threading.Thread(target=self._read, args=(stream, take), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _read(self, stream: IO[bytes], take: Callable[[str], None]) -> None:
        for line in stream:
            self._is_read.wait()
            with self._changed:
                take(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _take_line(self, line: str) -> None:
        self._lines.append(line)
        parsed = parse_log_line(line)
        if parsed:
            self._log.append(parsed)
        else:
            self._output.append(line)

    def _take_error(self, line: str) -> None:
        self._error_lines.append(line)

    @contextlib.contextmanager
    def unread(self) -> Iterator[None]:
        """In the block nobody reads its standard output, and no byte more fits into that pipe. Nothing happens if it has
        another one than ours."""
        assert self.process and self.process.stdout
        standard_output = f"/proc/{self.pid}/fd/1"
        if os.readlink(standard_output) != os.readlink(f"/proc/self/fd/{self.process.stdout.fileno()}"):
            yield
            return
        self._is_read.clear()
        try:
            pipe = os.open(standard_output, os.O_WRONLY | os.O_NONBLOCK)
            try:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(pipe, b"~" * 4095 + b"\n")
            finally:
                os.close(pipe)
            yield
        finally:
            self._is_read.set()

    # The process

    @functools.cached_property
    def pid(self) -> int:
        """The supervisor's own pid, as seen from this process."""
        process = self.process
        assert process, "it was not started"
        if not self._pid1 and not self._through and not self._terminal:
            return process.pid

        def executed() -> int | None:
            if process.poll() is not None:
                raise ProcessLookupError(f"it ended with {process.returncode} at once:\n{self.transcript()}")
            # The command that starts the process either becomes the process or is its parent.
            candidates = [find_process(process.pid), *children_of(process.pid)]
            return next((found.pid for found in candidates if found and found.name == BINARY.name[:15]), None)

        return wait_until(executed, "the supervisor's exec")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def child_pid(self) -> int:
        """The pid of the newest child in the log; with PID 1 it is the pid inside of the namespace."""
        started = [line for line in self.log if line.message == "child: started"]
        assert started, f"no child was started:\n{self.transcript()}"
        return int(started[-1].fields["pid"])

    def wait(self, timeout: float = LIMIT) -> int:
        """The exit code, or -N if signal N ended the process itself. Its whole output has been read then."""
        assert self.process, "it was not started"
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it runs on after {timeout:g} s:\n{self.transcript()}") from None
        # A process that outlived it holds the pipes open. That is for the test to find, and not to be waited for here.
        deadline = time.monotonic() + LIMIT
        while any(reader.is_alive() for reader in self._readers) and time.monotonic() < deadline:
            if marked_pids(self.mark):
                break
            for reader in self._readers:
                reader.join(0.05)
        return code

    def stop(self, number: int = SIGTERM, timeout: float = LIMIT) -> int:
        """Sends the signal and waits for the exit code."""
        self.signal(number)
        return self.wait(timeout)

    def processes(self) -> list[Process]:
        """All living processes of its tree: itself and every descendant, wherever it was reparented."""
        found = {process.pid: process for process in marked_processes(self.mark)}
        if self.process and self.alive:
            # Only root may read the environment of a process that gives no core file, as the supervisor is.
            own = find_process(self.pid)
            found |= {own.pid: own} if own and own.state != "Z" else {}
            if self.process.pid != self.pid:
                found.pop(self.process.pid, None)
        return list(found.values())

    def signal_tree(self, number: int) -> None:
        """SIGSTOP to all of its processes has the effect of a frozen instance."""
        for pid in marked_pids(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def type_keys(self, keys: bytes) -> None:
        assert self._terminal_master is not None, "it has no terminal"
        os.write(self._terminal_master, keys)

    @property
    def terminal_foreground_group(self) -> int:
        assert self._terminal_master is not None, "it has no terminal"
        return os.tcgetpgrp(self._terminal_master)

    # What it writes

    @property
    def lines(self) -> list[str]:
        """Standard output."""
        with self._changed:
            return list(self._lines)

    @property
    def log(self) -> list[LogLine]:
        """The process's own lines of standard output."""
        with self._changed:
            return list(self._log)

    @property
    def output(self) -> list[str]:
        """The other lines of standard output: the child's."""
        with self._changed:
            return list(self._output)

    @property
    def errors(self) -> list[str]:
        """Standard error, which the child shares."""
        with self._changed:
            return list(self._error_lines)

    def messages(self) -> list[str]:
        return [line.message for line in self.log]

    def transcript(self) -> str:
        code = self.process.poll() if self.process else None
        return "\n".join(
            [f"--- {' '.join(self.command_line())}: {'runs' if code is None else f'ended with {code}'}"]
            + self.lines
            + [f"(stderr) {line}" for line in self.errors]
        )

    def wait_for_log(
        self, text: str | Callable[[LogLine], bool], count: int = 1, timeout: float = LIMIT
    ) -> LogLine:
        """The `count`th line of the log whose text has `text` in it, or for which `text` is true."""
        fits = text if callable(text) else lambda line: text in line.raw
        return self._wait_for(lambda: [line for line in self._log if fits(line)], count, str(text), timeout)

    def wait_for_output(
        self, text: str, count: int = 1, timeout: float = LIMIT, *, whole: bool = False
    ) -> str:
        """The `count`th line of the child on standard output that has `text` in it, or is `text`."""

        def find() -> list[str]:
            return [line for line in self._output if (line == text if whole else text in line)]

        return self._wait_for(find, count, text, timeout)

    def _wait_for(self, find: Callable[[], list[Found]], count: int, what: str, timeout: float) -> Found:
        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found := find()) < count:
                over = not any(reader.is_alive() for reader in self._readers)
                if over or time.monotonic() > deadline:
                    why = "it ended" if over else f"waited {timeout:g} s"
                    raise TimeoutError(f"no line {count} with {what!r}: {why}\n{self.transcript()}")
                self._changed.wait(min(0.2, max(0.0, deadline - time.monotonic())))
            return found[count - 1]

    # Health

    def health(self, path: str, method: str = "GET", timeout: float = 10.0) -> HealthAnswer:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=timeout)
        ) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return HealthAnswer(answer.status, answer.read().decode(), headers)

    def status(self) -> dict[str, Any]:
        answer = self.health("/status")
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def wait_for_health(self, path: str, status: int = 200, timeout: float = LIMIT) -> HealthAnswer:
        def answered() -> HealthAnswer | None:
            if not self.alive:
                raise ConnectionError(f"it ended\n{self.transcript()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = self.health(path)
                return answer if answer.status == status else None
            return None

        return wait_until(answered, f"{status} from {path}", timeout)


def run(*arguments: str, timeout: float = LIMIT, **options: Any) -> Supervisor:
    """Starts a supervisor that ends by itself, waits for it, and returns it with its whole output."""
    options.setdefault("health", False)
    with Supervisor(*arguments, **options) as supervisor:
        supervisor.wait(timeout)
    return supervisor


@contextlib.contextmanager
def listening(port: int = 0, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A socket of another program on a port."""
    with socket.create_server((host, port)) as server:
        yield server
