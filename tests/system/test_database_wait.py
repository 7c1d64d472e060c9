"""Before the first child the supervisor waits until the database's port takes a TCP connection.

Cloud Run's documentation, "Direct VPC with a VPC network", says of instance starts that connections may be delayed by a
minute or more; Prefect gives up its first connection after 5 s and ends.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM, SIGUSR1

import pytest

from black_hole import BlackHole
from children import child
from injection import NameServer, require, why_no_names
from prefect_load import HEALTH, ask
from prefect_server import START_LIMIT, prefect_environment
from supervisor import HealthAnswer, ReservedPort, Supervisor, listening, run, wait_until
from google_emulator.client import GoogleEmulator

WAITS = "can't be reached yet, so the child waits"
REACHED = "database: takes connections"
FAILED = "can't be reached within"
PROBES = ("/startupz", "/livez", "/readyz")
SLEEP = ["sleep", "600"]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def database(host: str, port: int, wait: str = "2m") -> dict[str, str]:
    return {"DB_IP": host, "DB_PORT": str(port), "SUPERVISOR_DB_WAIT": wait}


@pytest.fixture
def hole() -> Iterator[BlackHole]:
    with BlackHole() as it:
        yield it


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections and that nobody else gets."""
    with ReservedPort("127.0.0.1") as port:
        yield port.number


def check_it_waits(supervisor: Supervisor, reason: str) -> None:
    """No child runs, and every probe answers, with the reason."""
    supervisor.wait_for_log("token: fresh one in hand")
    for path in PROBES:
        answer: HealthAnswer = supervisor.health(path)
        assert answer.status == 503
        assert "waiting for the database: " in answer.body and reason in answer.body
    status = supervisor.status()
    assert (status["state"], status["child"], status["token"]) == ("waiting for the database", None, None)
    assert reason in status["last_error"]
    assert "child: started" not in supervisor.messages()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", pytest.param("::1", marks=needs_ipv6)])
def test_a_database_that_is_there_costs_no_line(emulator: GoogleEmulator, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        where = database(host, server.getsockname()[1])
        with Supervisor(command=SLEEP, emulator=emulator, environment=where) as supervisor:
            supervisor.wait_for_log("child: started")
            server.settimeout(10)
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                assert connection.recv(1) == b"", "nothing is sent"
            assert not [line for line in supervisor.messages() if line.startswith("database:")]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", pytest.param("::1", marks=needs_ipv6)])
def test_a_database_that_comes_up_late_starts_the_child_once(emulator: GoogleEmulator, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, 0))
        port = server.getsockname()[1]
        with Supervisor(command=SLEEP, emulator=emulator, environment=database(host, port)) as supervisor:
            line = supervisor.wait_for_log(WAITS)
            assert line.severity == "WARNING" and line.fields["at_most_ms"] == 120_000
            name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            assert name in line.message and "Connection refused" in line.message
            check_it_waits(supervisor, "Connection refused")
            server.listen()
            supervisor.wait_for_log("child: started")
            reached = supervisor.wait_for_log(REACHED)
            assert reached.fields["address"] == name and reached.fields["tries"] >= 2
            assert supervisor.health("/livez").status == 200
            assert supervisor.status()["last_error"] is None
            assert supervisor.stop() == 128 + SIGTERM
        assert len([line for line in supervisor.messages() if line.startswith("database:")]) == 2
        assert supervisor.messages().count("child: started") == 1


def test_while_packets_are_dropped_probes_are_answered_and_the_child_waits(
    emulator: GoogleEmulator, hole: BlackHole
) -> None:
    where = database("127.0.0.1", hole.port)
    with Supervisor("--log-level", "debug", command=SLEEP, emulator=emulator, environment=where) as supervisor:
        assert "timed out after" in supervisor.wait_for_log(WAITS).message
        # In the middle of a try as well as between two.
        supervisor.wait_for_log("database: still can't be reached", count=2)
        for _ in range(20):
            check_it_waits(supervisor, "timed out after")
        hole.open()
        supervisor.wait_for_log("child: started")
        assert supervisor.health("/livez").status == 200


def test_a_stop_while_packets_are_dropped_ends_at_once(emulator: GoogleEmulator, hole: BlackHole) -> None:
    where = database("127.0.0.1", hole.port)
    with Supervisor(command=SLEEP, emulator=emulator, environment=where) as supervisor:
        supervisor.wait_for_log(WAITS)
        # A signal that is not a stop is dropped before there is a child.
        supervisor.signal(SIGUSR1)
        assert supervisor.stop() == 128 + SIGTERM
        assert "child: started" not in supervisor.messages()
        assert not supervisor.processes()


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_a_port_that_stays_closed_is_exit_1_with_the_reason(emulator: GoogleEmulator, host: str) -> None:
    with ReservedPort(host) as port:
        ended = run(command=SLEEP, emulator=emulator, environment=database(host, port.number, "2s"))
    check_it_gave_up(ended, "2s", "Connection refused")


def check_it_gave_up(ended: Supervisor, wait: str, reason: str) -> None:
    assert ended.process and ended.process.returncode == 1, ended.transcript()
    (error,) = (line for line in ended.log if line.severity == "ERROR")
    assert f"{FAILED} {wait} (--db-wait): " in error.message and reason in error.message
    assert "child: started" not in ended.messages()


def test_packets_that_stay_dropped_are_exit_1_with_the_reason(emulator: GoogleEmulator, hole: BlackHole) -> None:
    ended = run(command=SLEEP, emulator=emulator, environment=database("127.0.0.1", hole.port, "2s"))
    check_it_gave_up(ended, "2s", "timed out after")


def test_a_host_that_nobody_knows_is_exit_1_with_its_name(emulator: GoogleEmulator) -> None:
    # RFC 6761 section 6.4: the name never exists.
    ended = run(command=SLEEP, emulator=emulator, environment=database("database.invalid", 5432, "2s"))
    check_it_gave_up(ended, "2s", "database.invalid")


@require(why_no_names)
def test_a_name_server_that_is_silent_delays_neither_probe_nor_stop(emulator: GoogleEmulator, tmp_path: Path) -> None:
    with NameServer(tmp_path) as silent:
        where = database("database.internal", 5432)
        with Supervisor(
            command=SLEEP, emulator=emulator, environment=where, through=silent.through
        ) as supervisor:
            assert "Resolving timed out" in supervisor.wait_for_log(WAITS).message
            wait_until(lambda: silent.tries("database.internal") >= 2, "the second try")
            check_it_waits(supervisor, "Resolving timed out")
            assert supervisor.stop() == 128 + SIGTERM
            assert not supervisor.processes()


@pytest.mark.parametrize("where", ["flag", "variable"])
def test_off_starts_the_child_without_asking(emulator: GoogleEmulator, hole: BlackHole, where: str) -> None:
    environment: dict[str, str | None] = dict(database("127.0.0.1", hole.port, "off"))
    arguments = []
    if where == "flag":
        environment["SUPERVISOR_DB_WAIT"] = "2m"
        arguments = ["--db-wait", "off"]
    with Supervisor(*arguments, command=SLEEP, emulator=emulator, environment=environment) as supervisor:
        supervisor.wait_for_log("child: started")
        assert not [line for line in supervisor.messages() if line.startswith("database:")]


def test_a_plain_init_asks_no_database(closed_port: int) -> None:
    where = database("127.0.0.1", closed_port)
    with Supervisor("--no-token", command=SLEEP, environment=where) as supervisor:
        supervisor.wait_for_log("child: started")


def test_a_restart_with_a_fresh_token_does_not_wait_for_the_database(tmp_path: Path) -> None:
    with GoogleEmulator(postgres=False, token_life="1m", cache_model="none") as emulator:
        with listening() as server:
            port = server.getsockname()[1]
            supervisor = Supervisor(
                *("--refresh-interval", "31s"),
                command=child("drains", 0, 0),
                emulator=emulator,
                environment=database("127.0.0.1", port),
            )
            supervisor.start()
            supervisor.wait_for_log("child: started")
        with supervisor:
            supervisor.wait_for_log("child: started", count=2, timeout=120)
            assert not [line for line in supervisor.messages() if line.startswith("database:")]


def test_the_check_asks_once(emulator: GoogleEmulator, closed_port: int) -> None:
    with listening() as server:
        port = server.getsockname()[1]
        ended = run("--check", command=SLEEP, emulator=emulator, environment=database("127.0.0.1", port))
    assert ended.process and ended.process.returncode == 0, ended.transcript()
    assert ended.wait_for_log(REACHED).fields["address"] == f"127.0.0.1:{port}"

    ended = run("--check", command=SLEEP, emulator=emulator, environment=database("127.0.0.1", closed_port))
    assert ended.process and ended.process.returncode == 1
    (error,) = (line for line in ended.log if line.severity == "ERROR")
    assert error.message.startswith(f"database: 127.0.0.1:{closed_port} can't be reached: ")
    assert "Connection refused" in error.message
    assert "check: would run" in ended.messages()


def test_the_check_of_a_black_hole_ends_by_itself(emulator: GoogleEmulator, hole: BlackHole) -> None:
    ended = run("--check", command=SLEEP, emulator=emulator, environment=database("127.0.0.1", hole.port))
    assert ended.process and ended.process.returncode == 1
    assert "timed out after" in ended.wait_for_log("can't be reached: ").message


@pytest.mark.long
@pytest.mark.prefect
def test_prefect_starts_once_after_a_minute_without_a_network(hole: BlackHole, tmp_path: Path) -> None:
    with GoogleEmulator(token_life="1h") as emulator:
        where = prefect_environment(tmp_path) | database("127.0.0.1", hole.port)
        with Supervisor("--rotation", "in-place", emulator=emulator, environment=where) as supervisor:
            begun = supervisor.wait_for_log(WAITS)
            end = time.monotonic() + 60
            while time.monotonic() < end:
                check_it_waits(supervisor, "timed out after")
                time.sleep(1)
            hole.open((emulator.db_host, emulator.db_port))
            supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
            reached = supervisor.wait_for_log(REACHED)
            assert (reached.time - begun.time).total_seconds() >= 59
            assert ask(supervisor.port, HEALTH).error is None
            assert supervisor.health("/startupz").status == 200
            assert supervisor.messages().count("child: started") == 1
            assert supervisor.status()["restarts"] == 0
            assert hole.connections >= 2, "the supervisor's own and Prefect's"


@pytest.mark.prefect
def test_prefect_alone_gives_up_on_a_network_that_is_late(hole: BlackHole, tmp_path: Path) -> None:
    """The reason for the wait."""
    with GoogleEmulator(token_life="1h") as emulator:
        where = prefect_environment(tmp_path) | database("127.0.0.1", hole.port, "off")
        ended = run(emulator=emulator, environment=where, timeout=START_LIMIT)
        assert ended.process and ended.process.returncode == 3
        assert any("TimeoutError" in line for line in ended.errors), ended.transcript()
