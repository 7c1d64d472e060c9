"""Prefect Server as its users run it, under the supervisor or the tutorial's script, and the rotations in its log."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from google_emulator.client import GoogleEmulator
from prefect_load import HEALTH, ask
from prefect_server import START_LIMIT, prefect_environment
from process import MeasurementError
from process_tree import process_tree
from supervisor import ReservedPort, Supervisor, pid_namespace_command, wait_until

SCRIPT = "the tutorial's script"
# The script has this port of the database built in.
SCRIPT_DB_PORT = 5432
_SCRIPT_STARTS_PREFECT = "Starting Prefect Server on"
_LAST_WORDS = 10


@dataclass(frozen=True)
class Event:
    """A line of a log."""

    at: float
    """Seconds since the epoch."""
    what: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Steps:
    """What the log says in a rotation; each is a part of a line."""

    begins: str
    ends: str
    starts_next: str = "child: started"
    drained: str = "rotation: child drained"


STEPS = {
    "restart": Steps("rotation: draining the child", "child: ready"),
    "in-place": Steps("rotation: fresh token handed over in place", "rotation: fresh token handed over in place"),
    "rolling": Steps("rotation: starting the next child beside this one", "rotation: child drained"),
    SCRIPT: Steps("Sending SIGTERM to Prefect Server", "container: ready", _SCRIPT_STARTS_PREFECT, "container: ended"),
}


@dataclass(frozen=True)
class Rotation:
    """Moments are seconds since the epoch. A rotation in place starts no child and drains none."""

    begin: float
    end: float
    next_started: float | None = None
    next_serves: float | None = None
    """Where the log tells it exactly."""
    drain: float | None = None
    """Seconds."""


def read_rotations(events: Iterable[Event], steps: Steps, since: float) -> list[Rotation]:
    """The whole ones that began after the moment `since`."""
    found: list[Rotation] = []
    seen: dict[str, float] | None = None
    for event in events:
        if event.at < since:
            continue
        if steps.begins in event.what:
            seen = {"begin": event.at}
        if seen is None:
            continue
        if steps.starts_next in event.what:
            seen["next_started"] = event.at
        if "new connections go to the next child" in event.what:
            seen["next_serves"] = event.at
        if steps.drained in event.what:
            seen["drain"] = event.fields["took_ms"] / 1000 if "took_ms" in event.fields else event.at - seen["begin"]
        if steps.ends in event.what:
            found.append(Rotation(end=event.at, **seen))
            seen = None
    return found


class Subject(Protocol):
    """A running Prefect Server. check() raises when it no longer does what is measured."""

    steps: Steps
    port: int

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def wait_until_ready(self) -> None: ...
    def check(self) -> None: ...
    def events(self) -> list[Event]: ...
    def pids(self) -> list[int]: ...
    def ended_cpu(self) -> float: ...
    def exit_codes(self) -> list[int]: ...


class Supervised:
    """Under the supervisor. `interval` is the seconds after which it asks for the next token."""

    def __init__(self, rotation: str, emulator: GoogleEmulator, folder: Path, interval: int) -> None:
        self.steps = STEPS[rotation]
        self._rotation = rotation
        self._supervisor = Supervisor(
            *("--rotation", rotation, "--refresh-interval", f"{interval}s", "--stop-timeout", "1m"),
            emulator=emulator,
            environment=prefect_environment(folder),
        )

    def __enter__(self) -> Self:
        self._supervisor.start()
        self.port = self._supervisor.port
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._supervisor.end()
        if kind is not None and issubclass(kind, Exception):
            print(self._supervisor.transcript(), file=sys.stderr)

    def wait_until_ready(self) -> None:
        self._supervisor.wait_for_health("/readyz", timeout=START_LIMIT)

    def check(self) -> None:
        log = self._supervisor.log
        wrong = [line.raw for line in log if line.severity == "ERROR"]
        if self._rotation == "rolling":
            wrong += [line.raw for line in log if line.message == STEPS["restart"].begins]
        if not self._supervisor.alive:
            wrong.append("the supervisor has ended")
        if wrong:
            raise MeasurementError(f"{self._rotation}: this is not what is measured: {'; '.join(wrong)}")

    def events(self) -> list[Event]:
        return [Event(line.time.timestamp(), line.message, line.fields) for line in self._supervisor.log]

    def pids(self) -> list[int]:
        return process_tree(self._supervisor.pid)

    def ended_cpu(self) -> float:
        return 0.0

    def exit_codes(self) -> list[int]:
        return []


class TutorialContainer:
    """The script as PID 1 of a PID namespace, all of which ends with it, as a container does. It is started again at
    once, without the seconds that a platform takes to fetch an image and to set up a network."""

    def __init__(self, script: Path, emulator: GoogleEmulator, folder: Path, interval: int) -> None:
        namespace = pid_namespace_command()
        if namespace is None:
            raise MeasurementError("a container is modelled by a PID namespace, and unshare can't make one here")
        self.steps = STEPS[SCRIPT]
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._command = [*namespace, sys.executable, str(shortened(script, folder, interval))]
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PORT": str(self.port),
            **emulator.environment(),
            **prefect_environment(folder),
        }
        self._lock = threading.Lock()
        self._over = False
        self._process: subprocess.Popen[str] | None = None
        self._ended_cpu = 0.0
        self._events: list[Event] = []
        self._executor = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._platform = self._executor.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over = True
            if self._process is not None:
                # The namespace ends with it. SIGTERM would not end PID 1 in there, for the script has no handler.
                self._process.kill()
        self._executor.shutdown()
        self._reserved.release()

    def wait_until_ready(self) -> None:
        wait_until(self._ready, "the script's Prefect to answer", START_LIMIT, pause=0.1)

    def _ready(self) -> bool:
        self.check()
        events = self.events()
        return bool(events) and events[-1].what == "container: ready"

    def check(self) -> None:
        if self._platform.done():
            self._platform.result()
        events = self.events()
        started = max((at for at, event in enumerate(events) if event.what == "container: started"), default=None)
        if started is None or any("container: " in event.what for event in events[started + 1 :]):
            return
        if ask(self.port, HEALTH, limit=5.0).answered:
            self._note("container: ready")

    def events(self) -> list[Event]:
        with self._lock:
            return list(self._events)

    def pids(self) -> list[int]:
        with self._lock:
            process = self._process
        # The first of the tree is unshare.
        return process_tree(process.pid)[1:] if process else []

    def ended_cpu(self) -> float:
        with self._lock:
            return self._ended_cpu

    def exit_codes(self) -> list[int]:
        return [event.fields["code"] for event in self.events() if event.what == "container: ended"]

    def _note(self, what: str, **fields: Any) -> None:
        with self._lock:
            self._events.append(Event(time.time(), what, fields))

    def _run(self) -> None:
        while self._start():
            assert self._process and self._process.stdout
            earlier = _cpu_of_ended()
            words: deque[str] = deque(maxlen=_LAST_WORDS)
            rotates = False
            for line in self._process.stdout:
                words.append(line.rstrip())
                rotates |= self.steps.begins in line
                if self.steps.begins in line or self.steps.starts_next in line:
                    self._note(words[-1])
            code = self._process.wait()
            self._process.stdout.close()
            with self._lock:
                self._ended_cpu += _cpu_of_ended() - earlier
            self._note("container: ended", code=code)
            if not self._over and not rotates:
                last = "\n".join(words)
                raise MeasurementError(f"the script's container ended with {code}, and not by a rotation:\n{last}")

    def _start(self) -> bool:
        with self._lock:
            if self._over:
                return False
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        self._note("container: started")
        return True


def _cpu_of_ended() -> float:
    """Of this program's children that have ended, with all that they had waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shortened(script: Path, folder: Path, interval: int) -> Path:
    """A copy of the script, of which its refresh interval alone is changed."""
    line = f"TOKEN_REFRESH_INTERVAL_SECONDS = {interval}"
    text, changed = re.subn(r"^TOKEN_REFRESH_INTERVAL_SECONDS = .*$", line, script.read_text(), flags=re.M)
    if changed != 1:
        raise MeasurementError(f"{script} has no TOKEN_REFRESH_INTERVAL_SECONDS to shorten")
    copy = folder / "entrypoint.py"
    copy.write_text(text)
    return copy
