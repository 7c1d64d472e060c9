"""`./dev bench rotations` counts what its clients saw, and what the processes used."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGKILL
from threading import Thread

import pytest

# Behind all others: one of the benchmarks' modules has a name that a module of tests/support has as well.
sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

from prefect_load import LoadError  # noqa: E402
from process_tree import Sample, TreeSampler, Usage, process_tree  # noqa: E402
from processes import children_of  # noqa: E402
from rotation_figures import MARGIN, Run, figures  # noqa: E402
from rotation_load import KEPT, OWN, POOLED, RotationLoad, Sent  # noqa: E402
from rotation_subjects import STEPS, Event, Rotation, read_rotations  # noqa: E402
from supervisor import ReservedPort, wait_until  # noqa: E402

# A right answer to every question of the load.
ANSWER = b'["id", 0, true]'
TURNED_AWAY = 30


class AnyAnswer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ANSWER)}\r\n\r\n"
        self.server.answering.append(self.path)
        self.wfile.write(head.encode() + ANSWER)

    do_POST = do_GET


class ShortServer(ThreadingHTTPServer):
    """Its end closes all of its connections, as the end of a process does."""

    def __init__(self, port: int) -> None:
        self.answering: list[str] = []
        self._connections: list[socket.socket] = []
        super().__init__(("127.0.0.1", port), AnyAnswer)

    def process_request(self, request: socket.socket, client_address: object) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, *_: object) -> None: ...

    def server_close(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


@contextmanager
def serving(port: int) -> Iterator[ShortServer]:
    with ShortServer(port) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_request_that_was_turned_away_is_counted_as_failed_and_not_sent_again() -> None:
    with ReservedPort() as port, RotationLoad(port.number) as load:
        with serving(port.number) as first:
            wait_until(lambda: len(first.answering) > 100, "answers")
        with socket.create_server(("127.0.0.1", port.number)) as refusing:
            for _ in range(TURNED_AWAY):
                refusing.accept()[0].close()
        with serving(port.number) as second:
            wait_until(lambda: len(second.answering) > 100, "answers of the next server")
            sent = load.end()
    failed = [one for one in sent if not one.answered]
    # The end of the first server may have cut a request of each client.
    cut = 9
    assert TURNED_AWAY <= len(failed)
    assert len(sent) - len(failed) <= len(first.answering) + len(second.answering) <= len(sent) - len(failed) + cut
    assert {one.client for one in sent} == {OWN, KEPT, POOLED}
    assert {one.failure for one in failed if one.client == KEPT} & {"RemoteDisconnected", "ConnectionResetError"}


def test_a_load_that_ended_or_that_nobody_answered_is_an_error() -> None:
    with ReservedPort() as nobody, RotationLoad(nobody.number) as load, pytest.raises(LoadError, match="no answer"):
        load.end()
    with ReservedPort() as port, RotationLoad(port.number) as load:
        program = next(one for one in children_of(os.getpid()) if str(port.number) in one.arguments)
        os.kill(program.pid, SIGKILL)
        with pytest.raises(LoadError, match="-9"):
            wait_until(load.check, "the end of the load")


def test_the_use_of_a_process_that_has_ended_is_counted() -> None:
    uses = "import time; held = bytearray(64 << 20)\nwhile time.process_time() < 0.5: pass"
    process = subprocess.Popen(
        ["sh", "-c", f'{sys.executable} -c "{uses}"; echo; read line'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        with TreeSampler(lambda: process_tree(process.pid)) as sampler:
            assert process.stdout
            process.stdout.readline()
            ended = time.time()
            wait_until(lambda: sampler.samples[-1].at > ended, "a sample after the end")
    finally:
        process.communicate(b"\n")
    assert Usage(sampler.samples).peak([(0.0, ended)]) > 64 << 20
    assert sampler.samples[-1].memory < 64 << 20
    # The kernel states the times in user mode and in system mode apart, each cut to whole ticks.
    assert sampler.samples[-1].cpu >= 0.5 - 2 / os.sysconf("SC_CLK_TCK")


def test_each_rotation_has_its_own_figures() -> None:
    def events(*steps: tuple[float, str]) -> list[Event]:
        return [Event(at, what, {"took_ms": 200}) for at, what in steps]

    rotations = read_rotations(
        events(
            *((1.0, "child: started"), (2.0, "child: ready"), (10.0, "rotation: draining the child")),
            *((10.2, "rotation: child drained"), (10.3, "child: started"), (13.0, "child: ready")),
            *((40.0, "rotation: draining the child"), (40.2, "rotation: child drained")),
        ),
        STEPS["restart"],
        since=5.0,
    )
    assert rotations == [Rotation(begin=10.0, end=13.0, next_started=10.3, drain=0.2)]

    def sent(client: str, finished: float, error: str | None = None) -> Sent:
        return Sent("GET /", finished - 0.01, finished, None if error else 200, error, client)

    moments = [9.0, 9.5, 10.1, 12.6, 13.0, 15.0, 16.5, 18.25]
    requests = [sent(OWN, moment) for moment in moments]
    requests += [sent(KEPT, 10.5, "ConnectionRefusedError: no"), sent(KEPT, 18.0, "RemoteDisconnected: closed")]
    samples = [Sample(9.0, 100, 1.0), Sample(10.0, 110, 2.0), Sample(13.0, 300, 10.0), Sample(16.0, 120, 12.0)]
    samples += [Sample(18.0, 90, 14.0)]
    found = figures(Run(rotations, sorted(requests, key=lambda one: one.finished), Usage(samples), 0.0, 0, 0, []))
    assert (found["failed"], found["failed_without_rotation"]) == (2, 1)
    assert found["clients"][KEPT] == {
        "requests": 2,
        "failed": 2,
        "errors": {"ConnectionRefusedError": 1, "RemoteDisconnected": 1},
    }
    assert found["silence"] == [pytest.approx(2.5)]
    assert found["silence_without_rotation"] == pytest.approx(1.75)
    assert found["start_to_serving"] == [pytest.approx(2.3)]
    assert found["drain"] == [0.2]
    assert MARGIN == 3.0, "the samples above are made for it"
    assert (found["memory_peak"], found["memory_peak_without_rotation"]) == (300, 100)
    # Six seconds of processor time more than the one a second that is used without a rotation.
    assert found["cpu_per_second_without_rotation"] == pytest.approx(1.0)
    assert found["cpu_more"] == [pytest.approx(4.0)]
