"""`--rotation rolling`: the next child starts beside the old one, and no new connection is lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import pytest

from delivered import delivered_token
from google_emulator.client import GoogleEmulator
from log_lines import LOG_PRECISION
from processes import Process, children_of
from rolling import (
    DRAINED,
    PATIENT,
    READY_URL,
    ROLLING,
    ROTATES,
    UNTIL_ROTATION,
    Part,
    answer_from,
    flags,
    fresh_connections,
    lost,
    run_side_by_side,
)
from socket_child import CODE, FIRST_DESCRIPTOR, socket_child
from supervisor import Supervisor, listening, run

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
LISTENS, TIME_WAIT = "0A", "06"
STARTING = "rotation: starting the next child beside this one"
HANDED_OVER = "rotation: new connections go to the next child"
QUEUE_LEFT = "leaves connections in its queue"
FAILED = "rotation: the next child failed, the old one is kept"


def start(folder: Path, tokens: GoogleEmulator, *manners: str, **options) -> Supervisor:
    options.setdefault("ready_url", READY_URL)
    return Supervisor(*ROLLING, command=socket_child(folder, *manners), emulator=tokens, **options)


def descriptors(process: Process) -> dict[int, str]:
    folder = process.directory / "fd"
    return {int(name): os.readlink(folder / name) for name in os.listdir(folder)}


def sockets_of(port: int, state: str) -> set[str]:
    """The sockets of a local port in this state, as /proc/PID/fd names them (kernel, include/net/tcp_states.h)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{line[9]}]" for line in lines if line[1].endswith(f":{port:04X}") and line[3] == state}




# The socket


@pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])
def test_the_child_gets_the_ports_socket_and_nothing_else_of_ours(
    pid1: bool, tokens: GoogleEmulator, tmp_path: Path
) -> None:
    """Our own parent used the convention too, and left descriptors open in us."""
    leaves_open = ["sh", "-c", 'exec 3</dev/null 9</dev/null; exec "$@"', "sh"]
    variables = {"LISTEN_FDS": "5", "LISTEN_PID": "1", "LISTEN_FDNAMES": "ours"}
    with start(tmp_path, tokens, "waits", pid1=pid1, through=leaves_open, environment=variables) as supervisor:
        supervisor.wait_for_output("1 up")
        (child,) = children_of(supervisor.pid)
        own_pid = {"LISTEN_FDS": "1", "LISTEN_PID": str(supervisor.child_pid)}
        assert {name: value for name, value in child.environment.items() if name.startswith("LISTEN_")} == own_pid
        found = descriptors(child)
        assert set(found) == {0, 1, 2, FIRST_DESCRIPTOR}

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", supervisor.port))
        assert supervisor.health("/livez").status == 200 and supervisor.health("/readyz").status == 503
        (tmp_path / "listen").touch()
        supervisor.wait_for_health("/readyz")
        assert answer_from(supervisor.port) == "1"
        assert sockets_of(supervisor.port, LISTENS) == {found[FIRST_DESCRIPTOR]}
        assert supervisor.stop() == CODE + 1
        assert not supervisor.processes()


def test_without_a_token_nothing_rotates_and_the_child_gets_no_socket(tmp_path: Path) -> None:
    with Supervisor("--no-token", *ROLLING, command=socket_child(tmp_path, "serves")) as supervisor:
        supervisor.wait_for_output("1 has no socket")
        (child,) = children_of(supervisor.pid)
        assert not [name for name in child.environment if name.startswith("LISTEN_")]
        assert set(descriptors(child)) == {0, 1, 2}
        assert supervisor.stop() == 128 + SIGTERM


# The port


@pytest.mark.parametrize("shares", [False, True], ids=["alone", "ready to share it"])
def test_a_port_that_another_program_listens_on_is_one_line_and_1(
    shares: bool, tokens: GoogleEmulator, tmp_path: Path
) -> None:
    """With a program that shares the port, the kernel would give it half of the connections."""
    with socket.create_server(("0.0.0.0", 0), reuse_port=shares) as taken:
        port = taken.getsockname()[1]
        command = socket_child(tmp_path, "serves")
        ended = run(*ROLLING, command=command, emulator=tokens, environment={"PORT": str(port)}, ready_url="off")
    assert ended.process.returncode == 1
    (line,) = [line.message for line in ended.log if line.severity in ("WARNING", "ERROR")]
    assert f"port {port} is in use" in line
    assert "child: started" not in ended.messages() and ended.output == ended.errors == []


def test_health_requests_on_the_childs_port_are_refused(tokens: GoogleEmulator, tmp_path: Path) -> None:
    """Also with a command and a readiness URL of the user, for the supervisor itself binds the port."""
    command = socket_child(tmp_path, "serves")
    ended = run(
        *(*ROLLING, "--port", "4200", "--health-address", "127.0.0.1:4200"),
        command=command,
        emulator=tokens,
        ready_url="http://127.0.0.1:4201/",
    )
    assert ended.process.returncode == 2
    (line,) = ended.errors
    assert "--health-address" in line and "4200" in line


def test_connections_in_time_wait_do_not_keep_the_port(tokens: GoogleEmulator, tmp_path: Path) -> None:
    """A server that closes a connection first leaves it in TIME_WAIT for a minute (RFC 9293, 3.6.1). A container that
    is started again in the same network must not wait for that end, with this rotation or another one."""
    with listening() as earlier:
        port = earlier.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, earlier.accept()[0] as accepted:
            accepted.close()
            assert client.recv(1) == b""
    assert sockets_of(port, TIME_WAIT)
    options = {"environment": {"PORT": str(port)}, "ready_url": f"http://127.0.0.1:{port}/"}
    for number in ("1", "2"):
        with start(tmp_path, tokens, "serves", **options) as supervisor:
            supervisor.wait_for_output(f"{number} listens")
            assert answer_from(port) == number
            assert supervisor.stop() == CODE + int(number)
        assert sockets_of(port, TIME_WAIT)
    with listening(port):
        pass


# --check


def test_check_shows_what_a_rolling_rotation_would_run(tokens: GoogleEmulator) -> None:
    ended = run("--check", *ROLLING, "--drain-timeout", "12s", emulator=tokens)
    assert ended.process.returncode == 0
    (command,) = [line.fields["command"] for line in ended.log if line.message == "check: would run"]
    assert command.startswith("uvicorn ") and "--factory prefect.server.api.server:create_app --fd 3" in command
    # uvicorn's end takes a moment of its own.
    assert "--timeout-graceful-shutdown 11" in command
    shown = {line.fields["variable"]: line.fields["value"] for line in ended.log if "would set" in line.message}
    (token,) = tokens.tokens()
    assert f"TOKEN-{token.hash}" in shown["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert shown["PREFECT__SERVER_FINAL"] == 1
    assert token.text not in "\n".join(ended.lines)


# Rotations


def hash_of(token: str | None) -> str:
    assert token
    return hashlib.sha256(token.encode()).hexdigest()[:8]


def in_use(supervisor: Supervisor) -> tuple[int, int, str]:
    """The pid of the child that serves, the number of restarts, and the hash of the token in use."""
    status = supervisor.status()
    return status["child"]["pid"], status["restarts"], status["token"]["hash"]


@pytest.mark.long
def test_two_rotations_under_load_lose_no_request(
    tokens: GoogleEmulator, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with Supervisor(
        *(*ROTATES, *flags(PATIENT)),
        command=socket_child(tmp_path, "serves", "waits", "serves"),
        emulator=tokens,
        ready_url=READY_URL,
    ) as supervisor:
        supervisor.wait_for_health("/readyz")
        used = [in_use(supervisor)]
        assert used == [(supervisor.child_pid, 0, hash_of(delivered_token(supervisor)))]
        with (
            fresh_connections(supervisor.health_port, "/readyz", "/livez", clients=1, pause=0.05) as probes,
            fresh_connections(supervisor.port) as requests,
        ):
            supervisor.wait_for_output("2 up", timeout=UNTIL_ROTATION)
            supervisor.wait_for_log("child: started", count=2)
            next_one = (supervisor.child_pid, 1, hash_of(delivered_token(supervisor)))
            # Until the next child listens, the old one serves, and the token in use is the old one's.
            assert in_use(supervisor) == used[0] and answer_from(supervisor.port) == "1"
            (tmp_path / "listen").touch()
            supervisor.wait_for_log(DRAINED)
            used.append(next_one)
            assert in_use(supervisor) == next_one and answer_from(supervisor.port) == "2"

            supervisor.wait_for_log(DRAINED, count=2, timeout=UNTIL_ROTATION)
            used.append((supervisor.child_pid, 2, hash_of(delivered_token(supervisor))))
            assert in_use(supervisor) == used[2] and answer_from(supervisor.port) == "3"
        log = supervisor.log
        assert supervisor.stop() == CODE + 3
        assert not supervisor.processes()
    record_property("rolling", {"requests": len(requests), "lost": len(lost(requests)), "probes": len(probes)})

    assert lost(requests) == [] and len(requests) > 100
    # Neither probe ever had another answer than 200.
    assert lost(probes) == [] and len(probes) > 100
    assert len({pid for pid, _, _ in used}) == len({token for _, _, token in used}) == 3
    assert [line for line in log if line.severity in ("WARNING", "ERROR")] == []
    rotation = [STARTING, "child: started", HANDED_OVER, DRAINED]
    steps = [line for line in log if line.message in ("child: ready", *rotation)]
    assert [line.message for line in steps] == ["child: started", "child: ready", *rotation, *rotation]
    for number in (1, 2):
        starting, started, _, drained = steps[4 * number - 2 : 4 * number + 2]
        _, restarts, token = used[number]
        fresh = next(line for line in log if "token: fresh" in line.message and line.fields["hash"] == token)
        assert log.index(fresh) < log.index(starting)
        assert started.fields["restarts"] == restarts
        assert drained.fields["how"] == "ended by itself" and drained.fields["code"] == CODE + number


# What interrupts a rotation


def wait_for_next(supervisor: Supervisor) -> None:
    supervisor.wait_for_output("2 up", timeout=UNTIL_ROTATION)


def ended_for_good(supervisor: Supervisor, restarts: int = 1) -> None:
    assert supervisor.messages().count("child: started") == 1 + restarts
    assert not supervisor.processes()


def code_of(supervisor: Supervisor, number: int) -> int:
    """The program's end is that of the child that serves, or SIGKILL for one that is deaf to the stop."""
    return 128 + SIGKILL if supervisor.command and supervisor.command[-1].endswith("-deaf") else CODE + number


def a_stop_while_the_next_child_starts_ends_both(supervisor: Supervisor, folder: Path) -> None:
    wait_for_next(supervisor)
    assert supervisor.stop() == code_of(supervisor, 1)
    assert HANDED_OVER not in supervisor.messages()
    ended_for_good(supervisor)


def a_stop_during_the_hand_over_ends_both(supervisor: Supervisor, folder: Path) -> None:
    """The hand-over lasts as long as a connection is in the queue of the old child, which does not run."""
    wait_for_next(supervisor)
    old_pid, _, _ = in_use(supervisor)
    os.kill(old_pid, SIGSTOP)
    with socket.create_connection(("127.0.0.1", supervisor.port)) as client:
        client.sendall(REQUEST)
        (folder / "listen").touch()
        supervisor.wait_for_log(HANDED_OVER)
        assert supervisor.stop() == code_of(supervisor, 2)
    assert DRAINED not in supervisor.messages()
    assert not [line for line in supervisor.messages() if QUEUE_LEFT in line]
    ended_for_good(supervisor)


def connections_in_the_old_childs_queue_are_answered_before_its_end(supervisor: Supervisor, folder: Path) -> None:
    wait_for_next(supervisor)
    old_pid, _, _ = in_use(supervisor)
    os.kill(old_pid, SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", supervisor.port))) for _ in range(5)]
        (folder / "listen").touch()
        supervisor.wait_for_log(HANDED_OVER)
        os.kill(old_pid, SIGCONT)
        for client in clients:
            client.sendall(REQUEST)
            assert client.makefile("rb").read().endswith(b"\r\n\r\n1")
    supervisor.wait_for_log(DRAINED)
    assert not [line for line in supervisor.messages() if QUEUE_LEFT in line]
    assert answer_from(supervisor.port) == "2"
    assert supervisor.stop() == CODE + 2
    ended_for_good(supervisor)


def an_old_child_that_never_empties_its_queue_is_ended_all_the_same(supervisor: Supervisor, folder: Path) -> None:
    wait_for_next(supervisor)
    os.kill(in_use(supervisor)[0], SIGSTOP)
    with socket.create_connection(("127.0.0.1", supervisor.port)):
        (folder / "listen").touch()
        supervisor.wait_for_log(QUEUE_LEFT)
    assert supervisor.wait_for_log(DRAINED).fields["how"] == "ended by itself"
    assert answer_from(supervisor.port) == "2"
    assert supervisor.stop() == CODE + 2
    ended_for_good(supervisor)


def a_stop_during_the_drain_ends_both(supervisor: Supervisor, folder: Path) -> None:
    wait_for_next(supervisor)
    supervisor.wait_for_output("1 drains")
    assert answer_from(supervisor.port) == "2"
    assert supervisor.stop() == code_of(supervisor, 2)
    assert DRAINED not in supervisor.messages()
    ended_for_good(supervisor)


def a_next_child_that_never_listens_is_ended_and_the_old_one_serves_on(supervisor: Supervisor, folder: Path) -> None:
    supervisor.wait_for_health("/readyz")
    before = in_use(supervisor)
    failed = supervisor.wait_for_log(FAILED, timeout=UNTIL_ROTATION)
    assert "start deadline" in failed.message and failed.fields["next_try_ms"] == 30_000
    started = supervisor.wait_for_log("child: started", count=2)
    assert (failed.time - started.time).total_seconds() >= 5 - LOG_PRECISION
    ended = supervisor.wait_for_log("rotation: the next child that failed has ended")
    assert ended.fields["how"] == "killed after the drain timeout"
    assert in_use(supervisor) == before and answer_from(supervisor.port) == "1"
    assert supervisor.health("/readyz").status == 200
    assert supervisor.stop() == CODE + 1
    ended_for_good(supervisor)


def a_next_child_that_ends_before_it_listens_is_followed_by_another_later(
    supervisor: Supervisor, folder: Path
) -> None:
    failed = supervisor.wait_for_log(FAILED, timeout=UNTIL_ROTATION)
    assert f"code {CODE + 2} before it listened" in failed.message and failed.fields["next_try_ms"] == 30_000
    assert answer_from(supervisor.port) == "1" and supervisor.status()["restarts"] == 0
    supervisor.wait_for_log(DRAINED, timeout=UNTIL_ROTATION)
    third = supervisor.wait_for_log("child: started", count=3)
    assert (third.time - failed.time).total_seconds() >= 30 - LOG_PRECISION
    assert answer_from(supervisor.port) == "3" and supervisor.status()["restarts"] == 1
    assert supervisor.stop() == CODE + 3
    ended_for_good(supervisor, restarts=2)


def a_killed_child_is_the_end_while_the_next_one_starts(supervisor: Supervisor, folder: Path) -> None:
    """The next child, which is deaf here, might never come to serve."""
    wait_for_next(supervisor)
    os.kill(in_use(supervisor)[0], SIGKILL)
    assert supervisor.wait() == 128 + SIGKILL
    assert HANDED_OVER not in supervisor.messages()
    ended_for_good(supervisor)


def a_killed_child_is_the_end_while_the_old_one_drains(supervisor: Supervisor, folder: Path) -> None:
    supervisor.wait_for_output("1 drains", timeout=UNTIL_ROTATION)
    os.kill(in_use(supervisor)[0], SIGKILL)
    assert supervisor.wait() == 128 + SIGKILL
    assert DRAINED not in supervisor.messages()
    ended_for_good(supervisor)


def an_old_child_that_stops_itself_is_killed_after_the_drain_timeout(supervisor: Supervisor, folder: Path) -> None:
    drained = supervisor.wait_for_log(DRAINED, timeout=UNTIL_ROTATION)
    assert drained.fields["took_ms"] >= 1000
    assert drained.fields["how"] == "killed after the drain timeout" and drained.fields["code"] == 128 + SIGKILL
    assert "1 drains" in supervisor.output
    assert answer_from(supervisor.port) == "2"
    assert supervisor.stop() == CODE + 2
    ended_for_good(supervisor)


SHORT_STOP = {"--stop-timeout": "1s"}
PARTS = [
    Part(a_stop_while_the_next_child_starts_ends_both, ("serves", "waits")),
    Part(a_stop_while_the_next_child_starts_ends_both, ("serves-deaf", "waits-deaf"), SHORT_STOP),
    Part(a_stop_during_the_hand_over_ends_both, ("serves", "waits")),
    Part(a_stop_during_the_hand_over_ends_both, ("serves-deaf", "waits-deaf"), SHORT_STOP),
    Part(connections_in_the_old_childs_queue_are_answered_before_its_end, ("serves", "waits")),
    Part(an_old_child_that_never_empties_its_queue_is_ended_all_the_same, ("serves", "waits")),
    Part(a_stop_during_the_drain_ends_both, ("serves-holds", "serves")),
    Part(a_stop_during_the_drain_ends_both, ("serves-deaf",), SHORT_STOP),
    Part(
        a_next_child_that_never_listens_is_ended_and_the_old_one_serves_on,
        ("serves", "waits-deaf"),
        {"--start-deadline": "5s", "--drain-timeout": "1s"},
    ),
    Part(
        a_next_child_that_ends_before_it_listens_is_followed_by_another_later,
        ("serves", "ends", "serves"),
    ),
    Part(a_killed_child_is_the_end_while_the_next_one_starts, ("serves", "waits-deaf"), SHORT_STOP),
    Part(a_killed_child_is_the_end_while_the_old_one_drains, ("serves-holds", "serves")),
    Part(
        an_old_child_that_stops_itself_is_killed_after_the_drain_timeout,
        ("serves-stops", "serves"),
        {"--drain-timeout": "1s"},
    ),
]


@pytest.mark.long
def test_what_interrupts_a_rotation(tokens: GoogleEmulator, tmp_path: Path, subtests) -> None:
    run_side_by_side(PARTS, tokens, tmp_path, subtests)
