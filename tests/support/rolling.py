"""Supervisors with `--rotation rolling`, and clients that notice every request that is lost.

A rotation comes 30 s after the child's start at the earliest. So the supervisors of a test run side by side, each as
one Part; what a part must do before a timeout of the supervisor, it has minutes for.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google_emulator.client import GoogleEmulator
from prefect_load import Question, Request, ask
from socket_child import socket_child
from supervisor import Supervisor

ROLLING = ("--rotation", "rolling")
# The token is fetched anew before the floor of 30 s is over, so that the first rotation comes at the floor.
ROTATES = (*ROLLING, "--refresh-interval", "25s")
# These timeouts must not run out while a test works.
PATIENT: Mapping[str, str] = {"--drain-timeout": "10m", "--stop-timeout": "10m"}
READY_URL = "http://127.0.0.1:{port}/"
UNTIL_ROTATION = 150.0
CLIENTS = 3
DRAINED = "rotation: child drained"


def answer_from(port: int, limit: float = 60.0) -> str:
    """The body of one answer."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=limit)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


@contextlib.contextmanager
def fresh_connections(
    port: int, *paths: str, clients: int = CLIENTS, pause: float = 0.02
) -> Iterator[list[Request]]:
    """Sends requests for these paths for as long as the block lasts, each over a connection of its own, and none is
    repeated. The list has those that are over, and is complete after the block."""
    ended = threading.Event()
    requests: list[Request] = []

    def send() -> None:
        questions = itertools.cycle([Question("GET", path) for path in paths or ("/",)])
        while not ended.wait(pause):
            requests.append(ask(port, next(questions)))

    with ThreadPoolExecutor(clients) as pool:
        senders = [pool.submit(send) for _ in range(clients)]
        try:
            yield requests
        finally:
            ended.set()
        for sender in senders:
            # What went wrong in a client itself must not look like a load without failures.
            sender.result()


def flags(values: Mapping[str, str]) -> list[str]:
    return list(itertools.chain(*values.items()))


def lost(requests: Sequence[Request]) -> list[str]:
    return [str(one) for one in requests if not one.answered]


@dataclass(frozen=True)
class Part:
    check: Callable[[Supervisor, Path], Any]
    """Gets the supervisor, and the folder of its children (socket_child.py). Returns what it measured, if anything."""
    manners: tuple[str, ...]
    timeouts: Mapping[str, str] = field(default_factory=dict)
    """By flag, instead of PATIENT's."""
    through: Sequence[str] = ()


def run_side_by_side(parts: Sequence[Part], emulator: GoogleEmulator, directory: Path, subtests: Any) -> dict[str, Any]:
    """Returns what the parts measured."""
    measured = {}
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(max(1, len(parts))))
        running: list[tuple[str, Supervisor, Future[Any]]] = []
        for part in parts:
            name = f"{part.check.__name__} ({' '.join(part.manners)})"
            folder = directory / str(len(running))
            folder.mkdir()
            supervisor = Supervisor(
                *ROTATES,
                *flags({**PATIENT, **part.timeouts}),
                command=socket_child(folder, *part.manners),
                emulator=emulator,
                ready_url=READY_URL,
                through=part.through,
            )
            stack.enter_context(supervisor)
            running.append((name, supervisor, pool.submit(part.check, supervisor, folder)))
        for name, supervisor, checked in running:
            with subtests.test(msg=name):
                try:
                    result = checked.result(UNTIL_ROTATION + 300)
                except Exception:
                    print(supervisor.transcript())
                    raise
                if result is not None:
                    measured[name] = result
    return measured
