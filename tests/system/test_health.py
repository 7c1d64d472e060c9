"""The health port: each path has the right answer in each state, and no client can delay another one."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from children import child
from log_lines import LOG_PRECISION
from supervisor import LIMIT, ReservedPort, Supervisor, listening, run, wait_until

pytestmark = pytest.mark.shipped

PATHS = ("/livez", "/startupz", "/readyz", "/status")


def answers(supervisor: Supervisor) -> dict[str, int]:
    return {path: supervisor.health(path).status for path in PATHS}


def verdicts(live: bool, started: bool, ready: bool) -> dict[str, int]:
    said = {"/livez": live, "/startupz": started, "/readyz": ready, "/status": True}
    return {path: 200 if good else 503 for path, good in said.items()}


def questions(folder: Path) -> list[tuple[float, int]]:
    """The times, in seconds since the epoch, at which the child `serves_health` was asked, and the status of each answer."""
    file = folder / "questions"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(float(time), int(status)) for time, status in (line.split() for line in lines)]


@pytest.fixture
def idle() -> Iterator[Supervisor]:
    with Supervisor("--no-token", command=["sleep", "600"]) as supervisor:
        supervisor.wait_for_log("child: started")
        yield supervisor


class Client:
    """A connection to the health port that sends and reads raw bytes."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.socket = socket.create_connection(("127.0.0.1", supervisor.health_port), timeout=LIMIT)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_to_end(self) -> bytes:
        """Reads until the other side closes or resets the connection."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while more := self.socket.recv(65536):
                data += more
        return data

    @property
    def still_open(self) -> bool:
        """Whether the other side has neither sent anything nor closed."""
        readable, _, _ = select.select([self.socket], [], [], 0)
        return not readable


def status_of(answer: bytes) -> int:
    version, _, rest = answer.partition(b" ")
    assert version == b"HTTP/1.1", answer
    return int(rest[:3])


# States


def test_from_the_first_token_over_readiness_to_the_stop(emulator, tmp_path: Path) -> None:
    emulator.script({"status": 503, "times": 1000})
    command = child("serves_health", tmp_path, "waits")
    with Supervisor("--stop-timeout", "10m", command=command, emulator=emulator) as supervisor:
        supervisor.wait_for_health("/livez", 503)
        assert answers(supervisor) == verdicts(live=False, started=False, ready=False)
        assert "token" in supervisor.health("/livez").body
        status = supervisor.status()
        assert (status["child"], status["token"], status["restarts"]) == (None, None, 0)

        emulator.clear()
        supervisor.wait_for_output("up")
        assert answers(supervisor) == verdicts(live=True, started=False, ready=False)
        assert supervisor.health("/readyz").body.strip() and supervisor.health("/startupz").body.strip()

        (tmp_path / "open").touch()
        # The second question is asked only after the answer to the first has arrived.
        wait_until(lambda: len(questions(tmp_path)) >= 2, "two answers that it is not ready")
        assert answers(supervisor) == verdicts(live=True, started=False, ready=False)

        good_at = time.time()
        (tmp_path / "good").touch()
        supervisor.wait_for_health("/readyz")
        assert answers(supervisor) == verdicts(live=True, started=True, ready=True)
        started_at = supervisor.wait_for_log("child: started").time.timestamp()
        ready = supervisor.wait_for_log("child: ready")
        assert ready.fields["after_ms"] / 1000 >= good_at - started_at - 2 * LOG_PRECISION
        assert {status for _, status in questions(tmp_path)} == {200, 503}

        status = supervisor.status()
        (token,) = emulator.tokens()
        assert status["state"] == "ready"
        assert status["child"]["pid"] == supervisor.child_pid
        uptime = status["child"]["uptime_seconds"]
        assert good_at - started_at - 2 * LOG_PRECISION <= uptime <= time.time() - started_at + LOG_PRECISION
        assert status["token"]["hash"] == token.hash
        assert 0 < status["token"]["expires_in_seconds"] <= 3600
        assert 0 < status["next_refresh_in_seconds"] < 3600
        assert status["restarts"] == 0 and status["last_error"] is None and status["version"]
        assert token.text not in supervisor.health("/status").body

        supervisor.signal(signal.SIGTERM)
        supervisor.wait_for_output("draining")
        assert answers(supervisor) == verdicts(live=True, started=True, ready=False)
        assert "stop" in supervisor.health("/readyz").body and supervisor.status()["state"] == "stopping"
        (tmp_path / "drained").touch()
        assert supervisor.wait() == 0


@pytest.mark.long
def test_a_child_that_answers_no_more_is_not_ready_and_ready_again_later(emulator, tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    (tmp_path / "good").touch()
    with Supervisor(command=child("serves_health", tmp_path), emulator=emulator) as supervisor:
        supervisor.wait_for_health("/readyz")
        os.kill(supervisor.child_pid, signal.SIGSTOP)
        supervisor.wait_for_health("/readyz", 503)
        assert answers(supervisor) == verdicts(live=True, started=True, ready=False)
        assert "answer" in supervisor.health("/readyz").body
        supervisor.wait_for_log("child: not ready any more")
        os.kill(supervisor.child_pid, signal.SIGCONT)
        supervisor.wait_for_health("/readyz")
        supervisor.wait_for_log("child: ready again")
        assert supervisor.messages().count("child: started") == 1


@pytest.mark.long
def test_an_expired_token_makes_it_unready_but_not_dead(emulator, tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    (tmp_path / "good").touch()
    emulator.settings(life="10s")
    emulator.script({"answer": "token"}, {"status": 503, "body": "out of order", "times": 1000})
    with Supervisor(
        "--rotation", "in-place", command=child("serves_health", tmp_path), emulator=emulator
    ) as supervisor:
        # This line appears even if the token has expired in the meantime.
        supervisor.wait_for_log("child: ready")
        unready = wait_until(
            lambda: (answer := supervisor.health("/readyz")).status == 503 and answer, "503 from /readyz"
        )
        assert "expired" in unready.body and "503" in unready.body
        assert answers(supervisor) == verdicts(live=True, started=True, ready=False)
        status = supervisor.status()
        assert status["state"] == "expired" and "503" in status["last_error"]
        assert status["token"]["expires_in_seconds"] <= 0
        supervisor.wait_for_log(lambda line: line.severity == "ERROR" and "expired" in line.message)
        emulator.settings(life="1h")
        emulator.clear()
        supervisor.wait_for_health("/readyz")
        assert supervisor.status()["last_error"] is None
        assert supervisor.messages().count("child: started") == 1


def test_without_a_token_a_running_child_is_ready(idle: Supervisor) -> None:
    assert answers(idle) == verdicts(live=True, started=True, ready=True)
    assert idle.status()["token"] is None and idle.status()["next_refresh_in_seconds"] is None


def test_the_readiness_question_can_be_turned_off(emulator) -> None:
    with Supervisor(command=["sleep", "600"], emulator=emulator, ready_url="off") as supervisor:
        supervisor.wait_for_log("child: started")
        assert answers(supervisor) == verdicts(live=True, started=True, ready=True)


def test_another_readiness_question_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "good").touch()
    with Supervisor(
        "--no-token",
        command=child("serves_health", tmp_path),
        ready_url="http://127.0.0.1:{port}/base/health",
    ) as supervisor:
        supervisor.wait_for_output("up")
        assert answers(supervisor) == verdicts(live=True, started=False, ready=False)
        (tmp_path / "open").touch()
        supervisor.wait_for_health("/readyz")


def test_prefects_base_path_is_part_of_the_readiness_question(emulator, tmp_path: Path) -> None:
    for name in ("open", "good"):
        (tmp_path / name).touch()
    with Supervisor(
        command=child("serves_health", tmp_path),
        emulator=emulator,
        environment={"PREFECT_SERVER_API_BASE_PATH": "/base"},
    ) as supervisor:
        supervisor.wait_for_health("/readyz")


def test_the_child_is_asked_twice_a_second_until_it_answers(emulator, tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    with Supervisor(command=child("serves_health", tmp_path), emulator=emulator) as supervisor:
        wait_until(lambda: len(questions(tmp_path)) > 10, "more than ten questions")
        (tmp_path / "good").touch()
        supervisor.wait_for_health("/readyz")
        pauses = [after - before for (before, _), (after, _) in pairwise(questions(tmp_path))]
        # A busy machine makes some of the pauses longer, but not all of them. The next longer pause that the program knows
        # is 2 s, for a child that answered before.
        assert min(pauses) < 1


# Its own address


def test_off_opens_no_port() -> None:
    with Supervisor("--no-token", command=["sleep", "600"], health=False) as supervisor:
        supervisor.wait_for_log("child: started")
        with pytest.raises(ConnectionRefusedError):
            supervisor.health("/livez")
        # No other port is open either: none of its sockets listens.
        own = {os.readlink(entry) for entry in Path("/proc", str(supervisor.pid), "fd").iterdir()}
        listening_sockets = {
            f"socket:[{line.split()[9]}]"
            for table in ("tcp", "tcp6")
            for line in Path("/proc/net", table).read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        }
        assert not own & listening_sockets


@pytest.mark.parametrize("token", [True, False], ids=["token", "no token"])
def test_a_port_that_is_taken_is_one_line_and_1(emulator, token: bool) -> None:
    with listening() as taken:
        port = taken.getsockname()[1]
        arguments = [] if token else ["--no-token"]
        ended = run(
            *arguments, "--health-address", f"127.0.0.1:{port}", command=["true"], emulator=emulator, health=None
        )
        assert ended.process.returncode == 1
        (line,) = (line for line in ended.log if line.severity == "ERROR")
        assert f"127.0.0.1:{port}" in line.message and "in use" in line.message
        assert "--health-address" in line.message
        assert "child: started" not in ended.messages()
        assert emulator.log() == []


def test_an_address_that_is_not_ours_is_one_line_and_1() -> None:
    # No machine has an address in TEST-NET-1 (RFC 5737).
    ended = run("--no-token", "--health-address", "192.0.2.1:8081", command=["true"], health=None)
    assert ended.process.returncode == 1
    (line,) = (line for line in ended.log if line.severity == "ERROR")
    assert "192.0.2.1:8081" in line.message


def test_an_ipv6_address_is_taken() -> None:
    try:
        reserved = ReservedPort("::1")
    except OSError as error:
        pytest.skip(f"this machine has no address ::1: {error}")
    with Supervisor(
        "--no-token", "--health-address", f"[::1]:{reserved.number}", command=["sleep", "600"]
    ) as supervisor:
        supervisor.wait_for_log("child: started")
        with contextlib.closing(http.client.HTTPConnection("::1", reserved.number, timeout=LIMIT)) as connection:
            connection.request("GET", "/livez")
            assert connection.getresponse().status == 200
    reserved.release()


# Requests


def test_head_says_the_same_without_a_body(idle: Supervisor) -> None:
    for path in (*PATHS, "/nothing"):
        get, head = idle.health(path), idle.health(path, "HEAD")
        assert (head.status, head.body) == (get.status, "")
        assert head.headers["content-type"] == get.headers["content-type"]
        assert int(head.headers["content-length"]) > 0


def test_the_answers_are_never_cached_and_have_a_type(idle: Supervisor) -> None:
    for path in PATHS:
        headers = idle.health(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["content-type"].startswith("application/json" if path == "/status" else "text/plain")


@pytest.mark.parametrize(
    "path", ["/", "/livez/", "/nothing", "/livezz", "/%6civez", "//livez", "/../livez", "/status.json"]
)
def test_an_unknown_path_is_404(idle: Supervisor, path: str) -> None:
    assert idle.health(path).status == 404


def test_a_query_does_not_matter(idle: Supervisor) -> None:
    assert idle.health("/livez?verbose=1&x=/").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_405_and_say_which_are_allowed(idle: Supervisor, method: str) -> None:
    answer = idle.health("/livez", method)
    assert answer.status == 405
    assert {word.strip() for word in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40, 400),
        (b"GET /livez\r\n\r\n", 400),
        (b"GET livez HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nno colon here\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 413),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"X-Long: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"X-Short: y\r\n" * 2_000 + b"\r\n", 431),
    ],
    ids=[
        "words",
        "TLS",
        "HTTP/0.9",
        "no slash",
        "no colon",
        "bad length",
        "body",
        "huge body",
        "chunks",
        "long path",
        "long header",
        "many headers",
    ],
)
def test_a_bad_request_is_answered_and_closed(idle: Supervisor, request_bytes: bytes, status: int) -> None:
    with Client(idle) as client:
        client.send(request_bytes)
        assert status_of(client.read_to_end()) == status
    assert idle.health("/livez").status == 200


def test_a_connection_is_kept_for_the_next_request(idle: Supervisor) -> None:
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", idle.health_port, timeout=10)
    ) as connection:
        connection.connect()
        own = connection.sock
        for path in PATHS * 3:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200 and connection.sock is own


def test_http_1_0_and_close_are_closed_after_the_answer(idle: Supervisor) -> None:
    for request in (
        b"GET /livez HTTP/1.0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ):
        with Client(idle) as client:
            client.send(request)
            assert status_of(client.read_to_end()) == 200


def test_requests_sent_at_once_are_answered_in_turn(idle: Supervisor) -> None:
    with Client(idle) as client:
        client.send(
            b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 4
            + b"GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n"
        )
        answer = client.read_to_end()
        assert answer.count(b"HTTP/1.1 200 OK") == 4 and answer.count(b"HTTP/1.1 404") == 1


# Clients that cost something


@pytest.mark.long
def test_a_slow_client_gets_408_and_delays_nobody(idle: Supervisor) -> None:
    started = time.monotonic()
    with Client(idle) as slow:
        for part in (b"GET /livez HT", b"T", b"P"):
            slow.send(part)
            assert idle.health("/livez").status == 200
        # The other requests were answered while the slow one was still waited for.
        assert slow.still_open
        assert status_of(slow.read_to_end()) == 408
    assert time.monotonic() - started >= 5


@pytest.mark.long
def test_a_silent_client_is_closed_after_5_s(idle: Supervisor) -> None:
    started = time.monotonic()
    with Client(idle) as silent:
        assert idle.health("/livez").status == 200
        assert silent.read_to_end() == b""
    assert time.monotonic() - started >= 5


@pytest.mark.long
def test_a_client_that_never_reads_is_closed(idle: Supervisor) -> None:
    """After some hundred answers the buffers are full, and a write to it would wait for ever. It sends one request after
    the other, because the connection of a client that sends many ahead is closed before."""
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    with Client(idle) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

        def is_read_no_more() -> bool:
            try:
                client.send(request)
            except ConnectionError:
                # The supervisor has closed it already, while this program did not run.
                return True
            assert idle.health("/livez").status == 200
            # The request before was there before the last two questions that the supervisor has answered.
            return unread_bytes(client, idle.health_port) >= 2 * len(request)

        wait_until(is_read_no_more, "the supervisor to stop reading, as it can't write", pause=0)
        assert idle.health("/livez").status == 200
        wait_until(lambda: sockets(idle) <= 1, "the connection to be closed")


def unread_bytes(client: Client, port: int) -> int:
    """What the client has sent and the other side has not read: Recv-Q of ss(8), which is told of this connection alone. /proc/net/tcp
    has a line for every connection of the machine, which took minutes where there had been many."""
    ours = client.socket.getsockname()[1]
    command = ["ss", "-Htn", f"sport = :{port} and dport = :{ours}"]
    fields = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(fields[1]) if fields else 0


def sockets(supervisor: Supervisor) -> int:
    """The number of the supervisor's sockets: its connections and the socket that listens."""
    count = 0
    for entry in Path("/proc", str(supervisor.pid), "fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(entry).startswith("socket:")
    return count


def test_a_crowd_of_silent_clients_keeps_nobody_out_and_leaves_half_of_the_descriptors() -> None:
    with (
        Supervisor("--no-token", command=["sleep", "600"], through=["sh", "-c", 'ulimit -Sn 100; exec "$@"', "sh"]) as it,
        contextlib.ExitStack() as stack,
    ):
        it.wait_for_log("child: started")
        clients = [stack.enter_context(Client(it)) for _ in range(100)]
        assert it.health("/livez").status == 200
        # The request did not have to wait until silent clients were closed, which happens after 5 s.
        assert clients[-1].still_open
        assert sockets(it) <= 1 + 50
        for client in clients[:50]:
            assert client.read_to_end() == b""


def test_many_clients_one_after_the_other_leave_nothing(idle: Supervisor) -> None:
    assert idle.health("/livez").status == 200
    wait_until(lambda: sockets(idle) <= 1, "the first connection to be closed")
    for number in range(300):
        if number % 3:
            assert idle.health(PATHS[number % 4]).status == 200
        else:
            with Client(idle) as client:
                client.send(b"GET /li")
    wait_until(lambda: sockets(idle) <= 1, "the connections to be closed")


def test_probes_are_answered_while_the_metadata_server_hangs(emulator) -> None:
    emulator.script({"answer": "hang", "times": 100})
    with Supervisor("--start-deadline", "10m", command=["true"], emulator=emulator) as supervisor:
        supervisor.wait_for_health("/livez", 503)

        def answered_while_it_hangs() -> bool:
            before = emulator.token_requests()
            assert supervisor.health("/readyz").status == 503
            after = emulator.token_requests()
            return bool(before) and len(before) == len(after) and after[-1].finished is None

        wait_until(answered_while_it_hangs, "an answer while one and the same token request hangs")
        for _ in range(200):
            assert supervisor.health("/readyz").status == 503
        # Each try takes 5 s, however often the probes are asked.
        times = [request.time for request in emulator.token_requests()]
        assert all(after - before >= 5 for before, after in pairwise(times))


def test_probes_do_not_hurry_the_metadata_server(emulator) -> None:
    with Supervisor(command=["sleep", "600"], emulator=emulator) as supervisor:
        supervisor.wait_for_log("child: started")
        for _ in range(200):
            assert supervisor.health("/livez").status == 200
        assert len(emulator.token_requests()) == 1
