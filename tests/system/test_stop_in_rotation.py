"""Rotations by restart with children of every kind, and stops that come during a rotation.

A rotation comes 30 s after the child's start at the earliest. So all of these supervisors run side by side,
and each of them is one part of the one test. What a part must do before a timeout of the supervisor, it has
minutes for; a timeout that a part waits for is short, and only its lower bound is checked, on the supervisor's
own log. How soon after the timeout something happens depends on the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from signal import SIGTERM

import pytest

from children import child
from log_lines import LOG_PRECISION
from processes import Process, find_process
from supervisor import Supervisor, pid_namespace_command, skip_without_namespaces
from google_emulator.client import GoogleEmulator

FLOOR = 30
UNTIL_ROTATION = 150.0
# These timeouts must not run out while a part of the test works.
PATIENT = ("--drain-timeout", "10m", "--stop-timeout", "10m")
URL = "PREFECT_API_DATABASE_CONNECTION_URL"


def wait_for_drain(supervisor: Supervisor) -> None:
    supervisor.wait_for_log("rotation: draining the child", timeout=UNTIL_ROTATION)


def seconds_from(supervisor: Supervisor, text: str) -> float:
    """The seconds from the line with this text to the last line."""
    return (supervisor.log[-1].time - supervisor.wait_for_log(text).time).total_seconds()


def ended_for_good(supervisor: Supervisor) -> None:
    assert supervisor.messages().count("child: started") == 1
    assert not supervisor.processes()


def direct_children(supervisor: Supervisor) -> list[Process]:
    return [found for found in supervisor.processes() if found.parent == supervisor.pid]


def a_stop_while_it_drains_is_its_end(supervisor: Supervisor) -> None:
    supervisor.wait_for_output("TERM 1", timeout=UNTIL_ROTATION)
    assert supervisor.health("/livez").status == 200 and supervisor.health("/readyz").status == 503
    assert supervisor.status()["state"] == "draining"
    assert supervisor.stop() == 7
    assert supervisor.output == ["up", "TERM 1", "TERM 2", "drained"]
    ended_for_good(supervisor)


def two_stops_while_it_drains_are_both_forwarded(supervisor: Supervisor) -> None:
    supervisor.wait_for_output("TERM 1", timeout=UNTIL_ROTATION)
    supervisor.signal(SIGTERM)
    supervisor.wait_for_output("TERM 2")
    assert supervisor.stop() == 9
    assert supervisor.output == ["up", "TERM 1", "TERM 2", "TERM 3", "drained"]
    ended_for_good(supervisor)


def a_stop_while_a_deaf_child_drains_counts_its_own_timeout(supervisor: Supervisor) -> None:
    """The drain timeout is ten minutes here."""
    wait_for_drain(supervisor)
    assert supervisor.stop() == 137
    supervisor.wait_for_log("stop: the child did not end within the stop timeout, killing it")
    assert seconds_from(supervisor, "stop: asked to end") >= 1 - LOG_PRECISION
    ended_for_good(supervisor)


def a_stop_between_two_children_starts_none(supervisor: Supervisor) -> None:
    """A process that the child leaves behind asks the probes and sends the stop, as `keeps_a_zombie` explains."""
    supervisor.wait_for_log("rotation: child drained", timeout=UNTIL_ROTATION)
    assert supervisor.wait() == 5
    up, live, ready, status = supervisor.output
    assert up == "up" and live.startswith("/livez: 200 ") and ready == "/readyz: 503 replacing"
    told = json.loads(status.removeprefix("/status: 200 "))
    assert told["state"] == "replacing" and told["child"] is None
    ended_for_good(supervisor)


def a_deaf_child_is_killed_after_the_drain_timeout_and_replaced(supervisor: Supervisor) -> None:
    drained = supervisor.wait_for_log("rotation: child drained", timeout=UNTIL_ROTATION)
    assert drained.fields["took_ms"] >= 1000
    assert "killed" in drained.fields["how"] and drained.fields["code"] == 137
    supervisor.wait_for_output("up", count=2)
    assert supervisor.status()["restarts"] == 1
    assert supervisor.stop() == 137
    assert not supervisor.processes()


def a_stopped_child_is_continued_to_drain(supervisor: Supervisor) -> None:
    supervisor.wait_for_output("up")
    (only,) = direct_children(supervisor)
    os.kill(only.pid, signal.SIGSTOP)
    drained = supervisor.wait_for_log("rotation: child drained", timeout=UNTIL_ROTATION)
    assert drained.fields["how"] == "ended by itself" and drained.fields["code"] == 0
    supervisor.wait_for_output("up", count=2)
    assert supervisor.stop() == 0
    assert not supervisor.processes()


def the_next_child_gets_the_new_token_and_nothing_of_the_old_group_is_left(supervisor: Supervisor) -> None:
    supervisor.wait_for_output("stays in the group")
    supervisor.wait_for_output("left the group")
    supervisor.wait_for_output("up")
    (first,) = (found for found in direct_children(supervisor))
    first_url = first.environment[URL]
    (away,) = (found for found in supervisor.processes() if found.session == found.pid != supervisor.pid)
    second_start = supervisor.wait_for_log("child: started", count=2, timeout=UNTIL_ROTATION)
    assert not [found for found in supervisor.processes() if found.group == first.group]
    supervisor.wait_for_output("up", count=2)
    second = next(found for found in direct_children(supervisor) if found.group == found.pid != away.group)
    assert second.environment[URL] != first_url
    # A daemon that left the group is not the supervisor's to end in a rotation.
    assert find_process(away.pid)
    first_start, fresh = (
        supervisor.wait_for_log("child: started"),
        supervisor.wait_for_log("token: fresh", count=2),
    )
    drain = supervisor.wait_for_log("rotation: draining the child")
    lines = supervisor.log
    assert lines.index(fresh) < lines.index(drain) < lines.index(second_start)
    assert (second_start.time - first_start.time).total_seconds() >= FLOOR - 0.1
    assert supervisor.status()["restarts"] == 1
    assert supervisor.stop() == 143
    assert not supervisor.processes()


def a_child_that_ends_by_itself_while_a_rotation_is_held_back_is_the_end(supervisor: Supervisor) -> None:
    supervisor.wait_for_log("rotation: held back", timeout=UNTIL_ROTATION)
    supervisor.wait_for_output("up")
    os.kill(direct_children(supervisor)[0].pid, SIGTERM)
    assert supervisor.wait() == 4
    ended_for_good(supervisor)


@dataclass(frozen=True)
class Part:
    check: Callable[[Supervisor], None]
    command: list[str]
    arguments: tuple[str, ...] = ()


PARTS = [
    Part(a_stop_while_it_drains_is_its_end, child("drains", 600, 7, 2), PATIENT),
    Part(two_stops_while_it_drains_are_both_forwarded, child("drains", 600, 9, 3), PATIENT),
    Part(
        a_stop_while_a_deaf_child_drains_counts_its_own_timeout,
        child("deaf"),
        ("--drain-timeout", "10m", "--stop-timeout", "1s"),
    ),
    Part(a_stop_between_two_children_starts_none, child("keeps_a_zombie", 5), PATIENT),
    Part(
        a_deaf_child_is_killed_after_the_drain_timeout_and_replaced,
        child("deaf"),
        ("--drain-timeout", "1s", "--stop-timeout", "500ms"),
    ),
    Part(a_stopped_child_is_continued_to_drain, child("drains", 0.2, 0), PATIENT),
    Part(
        the_next_child_gets_the_new_token_and_nothing_of_the_old_group_is_left,
        child("leaves_others_behind"),
        # One of the processes ignores TERM, so the end takes as long as the stop timeout.
        ("--refresh-interval", "1s", "--drain-timeout", "10m", "--stop-timeout", "5s"),
    ),
    Part(
        a_child_that_ends_by_itself_while_a_rotation_is_held_back_is_the_end,
        child("drains", 0, 4),
        ("--refresh-interval", "1s", *PATIENT),
    ),
]


@pytest.mark.long
def test_rotations_and_the_stops_in_them(subtests) -> None:
    ways = {"child process": False}
    if pid_namespace_command() is not None:
        ways["PID 1"] = True
    else:
        with subtests.test(msg="PID 1"):
            skip_without_namespaces()
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(GoogleEmulator(postgres=False, token_life="1h", cache_model="none"))
        pool = stack.enter_context(ThreadPoolExecutor(len(PARTS) * len(ways)))
        running: list[tuple[str, Supervisor, Future[None]]] = []
        for way, pid1 in ways.items():
            for part in PARTS:
                interval = () if "--refresh-interval" in part.arguments else ("--refresh-interval", "25s")
                supervisor = Supervisor(
                    *interval, *part.arguments, command=part.command, emulator=emulator, pid1=pid1
                )
                stack.enter_context(supervisor)
                name = f"{part.check.__name__} ({way})"
                running.append((name, supervisor, pool.submit(part.check, supervisor)))
        for name, supervisor, checked in running:
            with subtests.test(msg=name):
                try:
                    checked.result(UNTIL_ROTATION + 300)
                except Exception:
                    print(supervisor.transcript())
                    raise
