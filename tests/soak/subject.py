"""A supervisor in a soak, and the world that it lives in."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google_emulator.client import GoogleEmulator
from injection import Freezer, NameServer, shared_memory
from processes import Process, find_process
from soak_child import soak_child
from stepped_clock import SteppedClock
from supervisor import ReservedPort, Supervisor

METADATA = "metadata.google.internal"
# Every token of the emulator begins with it, as Google's do.
SECRET = "ya29.c."


@dataclass(frozen=True)
class Pace:
    """How fast tokens come. A restart is due 30 s after the child's start at the earliest, so that its tokens must live
    longer than that."""

    token_life: str
    refresh_interval: float


PACES = {"in-place": Pace("20s", 1.0), "restart": Pace("90s", 5.0), "rolling": Pace("90s", 5.0)}
DRAIN_TIMEOUT = STOP_TIMEOUT = 2.0
START_DEADLINE = 6.0


class Database:
    """A port that takes connections, unless the database is gone: neither the supervisor nor the child needs more of it."""

    def __init__(self) -> None:
        self._reserved = ReservedPort("127.0.0.1")
        self.port = self._reserved.number
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Database:
        self.come_back()
        return self

    def __exit__(self, *_: object) -> None:
        self.go()
        self._reserved.release()

    def come_back(self) -> None:
        listener = self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
        self._thread.start()

    def go(self) -> None:
        if self._listener and self._thread:
            # It ends the accept() of the thread.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._listener.close()
            self._listener = None

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        self.go()
        try:
            yield
        finally:
            self.come_back()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.close()


class World:
    """A metadata server, a name server, a database, a /dev/shm and a control group for one supervisor after another."""

    def __init__(self, mode: str, folder: Path) -> None:
        self.mode, self.folder, self.pace = mode, folder, PACES[mode]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> World:
        with contextlib.ExitStack() as stack:
            self.folder.mkdir(parents=True)
            self.manner_is("")
            # A question that the name server leaves unanswered is given up after 2 s, and its thread ends.
            self.names = stack.enter_context(NameServer(self.folder, answers=True, patience="timeout:1 attempts:2"))
            self.database = stack.enter_context(Database())
            self.emulator = stack.enter_context(
                GoogleEmulator(postgres=False, token_life=self.pace.token_life, cache_model="none")
            )
            self._through, self.shared_memory = stack.enter_context(
                shared_memory("size=256k", self.names.configuration)
            )
            self.freezer = stack.enter_context(Freezer())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def manner_is(self, words: str) -> None:
        """How the child behaves from now on: soak_child.py."""
        unfinished = self.folder / "manner.next"
        unfinished.write_text(words)
        unfinished.rename(self.folder / "manner")

    @contextlib.contextmanager
    def manner(self, words: str) -> Iterator[None]:
        self.manner_is(words)
        try:
            yield
        finally:
            self.manner_is("")

    def password_directories(self) -> list[Path]:
        return list(self.shared_memory.glob("prefect-supervisor-*"))

    def subject(
        self,
        on_line: Callable[[str], None],
        settings: Mapping[str, str] | None = None,
        through: Sequence[str] = (),
        database_port: int | None = None,
    ) -> Subject:
        """`settings` are by flag, and beat the usual ones."""
        return Subject(self, on_line, [*self._through, *through], settings or {}, database_port or self.database.port)


class Subject(Supervisor):
    def __init__(
        self,
        world: World,
        on_line: Callable[[str], None],
        through: Sequence[str],
        settings: Mapping[str, str],
        database_port: int,
    ) -> None:
        settings = {
            "--rotation": world.mode,
            "--refresh-interval": f"{world.pace.refresh_interval:g}s",
            "--drain-timeout": f"{DRAIN_TIMEOUT:g}s",
            "--stop-timeout": f"{STOP_TIMEOUT:g}s",
            "--start-deadline": f"{START_DEADLINE:g}s",
            "--db-wait": "30s",
            **settings,
        }
        port = world.emulator.metadata.rpartition(":")[2]
        super().__init__(
            *(word for setting in settings.items() for word in setting),
            command=soak_child(world.folder),
            emulator=world.emulator,
            environment={
                "GCE_METADATA_HOST": f"{METADATA}:{port}",
                "GCE_METADATA_IP": None,
                "DB_PORT": str(database_port),
                "SUPERVISOR_DB_WAIT": None,
            },
            through=through,
            keep=300,
        )
        self.world = world
        self._on_line = on_line

    def _take_line(self, line: str) -> None:
        super()._take_line(line)
        self._on_line(line)

    def _take_error(self, line: str) -> None:
        super()._take_error(line)
        self._on_line(line)

    def clock(self) -> SteppedClock:
        return SteppedClock(self.pid)

    def ask_child(self, path: str, timeout: float = 3.0) -> str | None:
        """What the serving child answers; None if it does not."""
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection,
        ):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read().decode()
        return None

    def is_child(self, process: Process) -> bool:
        """A child that was launched, and no orphan that was adopted: the leader of its group, after its exec."""
        return process.group == process.pid and process.name.startswith("python") and process.state not in "ZX"

    def is_still(self, process: Process) -> bool:
        now = find_process(process.pid)
        return now is not None and now.parent == self.pid and self.is_child(now)

    def signal_process(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    @contextlib.contextmanager
    def stopped(self, pids: Sequence[int]) -> Iterator[None]:
        for pid in pids:
            self.signal_process(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                self.signal_process(pid, signal.SIGCONT)
