"""TERM and INT to the supervisor: the child drains, every process ends in time, and none is left."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM

import pytest

from children import child
from log_lines import LOG_PRECISION
from supervisor import Supervisor, wait_until

both = pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])
both_signals = pytest.mark.parametrize("number", [SIGTERM, SIGINT], ids=["TERM", "INT"])
with_and_without_token = pytest.mark.parametrize("token", [True, False], ids=["token", "no token"])



def seconds_to_stop(supervisor: Supervisor) -> float:
    """The seconds from the line with which the supervisor notes the signal to its last line."""
    asked = supervisor.wait_for_log("stop: asked to end")
    stopped = supervisor.log[-1]
    assert stopped.message == "stopped", supervisor.transcript()
    return (stopped.time - asked.time).total_seconds()


@contextmanager
def asked_again_and_again(supervisor: Supervisor) -> Iterator[None]:
    """Sends TERM every 50 ms. If each gave the child more time, the supervisor would run for ever."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.05) and supervisor.alive:
            supervisor.signal(SIGTERM)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    try:
        yield
    finally:
        over.set()
        asker.join()


@both
@both_signals
@with_and_without_token
def test_an_idle_child_drains_and_its_exit_code_is_ours(emulator, pid1: bool, number: int, token: bool) -> None:
    arguments = [] if token else ["--no-token"]
    with Supervisor(*arguments, command=child("drains", 0.4, 7), emulator=emulator, pid1=pid1) as supervisor:
        supervisor.wait_for_output("up")
        assert supervisor.stop(number) == 7
        assert supervisor.output == ["up", f"{signal.Signals(number).name[3:]} 1", "drained"]
        assert seconds_to_stop(supervisor) >= 0.4 - LOG_PRECISION
        assert not supervisor.processes()


@both
@both_signals
def test_a_child_that_dies_of_the_signal_makes_it_the_signals_code(emulator, pid1: bool, number: int) -> None:
    with Supervisor(command=["sleep", "600"], emulator=emulator, pid1=pid1) as supervisor:
        supervisor.wait_for_log("child: started")
        assert supervisor.stop(number) == 128 + number
        assert not supervisor.processes()


@both
@both_signals
@pytest.mark.parametrize(
    "step", [{"answer": "hang"}, {"answer": "status", "status": 503, "times": 1000}], ids=["hanging", "refused"]
)
def test_a_stop_while_it_waits_for_the_first_token(emulator, pid1: bool, number: int, step: dict) -> None:
    emulator.script(step)
    with Supervisor("--stop-timeout", "1s", command=["sleep", "600"], emulator=emulator, pid1=pid1) as supervisor:
        supervisor.wait_for_health("/livez", 503)
        wait_until(emulator.token_requests, "the first token request")
        assert supervisor.stop(number) == 128 + number
        assert "child: started" not in supervisor.messages()
        if step["answer"] == "hang":
            # If the program had waited for the end of its request, it would have reported a failure.
            assert not any(message.startswith("token: can't get one") for message in supervisor.messages())
        assert not supervisor.processes()


@both
def test_a_second_stop_is_forwarded_too(pid1: bool) -> None:
    with Supervisor("--no-token", command=child("drains", 600, 9, 2), pid1=pid1) as supervisor:
        supervisor.wait_for_output("up")
        supervisor.signal(SIGTERM)
        supervisor.wait_for_output("TERM 1")
        assert supervisor.stop(SIGINT) == 9
        assert supervisor.output[-2:] == ["INT 2", "drained"]


@both
def test_a_second_stop_gives_no_more_time(pid1: bool) -> None:
    with Supervisor("--no-token", "--stop-timeout", "1s", command=child("deaf"), pid1=pid1) as supervisor:
        supervisor.wait_for_output("up")
        with asked_again_and_again(supervisor):
            assert supervisor.wait() == 137
        assert seconds_to_stop(supervisor) >= 1 - LOG_PRECISION
        assert not supervisor.processes()


@both
@with_and_without_token
def test_a_child_that_ignores_the_stop_is_killed_after_the_stop_timeout(
    emulator, pid1: bool, token: bool
) -> None:
    arguments = [] if token else ["--no-token"]
    with Supervisor(
        *arguments, "--stop-timeout", "600ms", command=child("deaf"), emulator=emulator, pid1=pid1
    ) as supervisor:
        supervisor.wait_for_output("up")
        assert supervisor.stop() == 137
        assert seconds_to_stop(supervisor) >= 0.6 - LOG_PRECISION
        assert not supervisor.processes()


@both
def test_a_child_that_is_stopped_is_continued_to_drain(pid1: bool) -> None:
    with Supervisor(
        "--no-token", "--stop-timeout", "10m", command=child("drains", 0, 4), pid1=pid1
    ) as supervisor:
        supervisor.wait_for_output("up")
        (only_child,) = (found for found in supervisor.processes() if found.pid != supervisor.pid)
        os.kill(only_child.pid, signal.SIGSTOP)
        wait_until(
            lambda: any(found.state == "T" for found in supervisor.processes()), "the child to be stopped"
        )
        assert supervisor.stop() == 4
        assert supervisor.output[-1] == "drained"


def test_a_child_that_keeps_stopping_itself_is_killed() -> None:
    with Supervisor("--no-token", "--stop-timeout", "500ms", command=child("stops_itself")) as supervisor:
        supervisor.wait_for_output("up")
        assert supervisor.stop() == 137
        assert seconds_to_stop(supervisor) >= 0.5 - LOG_PRECISION
        assert not supervisor.processes()


@both
@pytest.mark.parametrize("manners", ["polite", "deaf"])
def test_a_stop_leaves_nothing_of_the_childs_descendants(pid1: bool, manners: str) -> None:
    # The full stop timeout passes only if a process ignores TERM.
    timeout = "800ms" if manners == "deaf" else "10m"
    with Supervisor(
        "--no-token", "--stop-timeout", timeout, command=child("family", manners, "stays"), pid1=pid1
    ) as supervisor:
        for name in ("group", "session", "session in session"):
            supervisor.wait_for_output(name, whole=True)
        assert len(supervisor.processes()) == 5
        assert supervisor.stop() == (137 if manners == "deaf" else 143)
        assert not supervisor.processes()


@both
@pytest.mark.parametrize("manners", ["polite", "deaf"])
def test_a_child_that_ends_by_itself_leaves_nothing_of_its_descendants(pid1: bool, manners: str) -> None:
    timeout = "800ms" if manners == "deaf" else "10m"
    with Supervisor(
        "--no-token", "--stop-timeout", timeout, command=child("family", manners, 3), pid1=pid1
    ) as supervisor:
        assert supervisor.wait() == 3
        assert {"group", "session", "session in session"} <= set(supervisor.output)
        assert "child: ended by itself" in supervisor.messages()
        assert not supervisor.processes()


def test_stops_while_leftovers_of_an_ended_child_are_cleared_give_no_more_time() -> None:
    with Supervisor(
        "--no-token", "--stop-timeout", "1500ms", command=child("family", "deaf", 3)
    ) as supervisor:
        ended = supervisor.wait_for_log("child: ended by itself")
        with asked_again_and_again(supervisor):
            assert supervisor.wait() == 3
        assert (supervisor.log[-1].time - ended.time).total_seconds() >= 1.5 - LOG_PRECISION
        assert not supervisor.processes()


def test_a_stop_in_the_moment_of_the_start_is_kept() -> None:
    """The signal is sent as soon as the first line is logged, which is before, during or after the child's start."""
    for _ in range(20):
        with Supervisor("--no-token", command=["sleep", "600"]) as supervisor:
            supervisor.wait_for_log("starting")
            # After the stop timeout it would be 137.
            assert supervisor.stop() == 143
            assert not supervisor.processes()
