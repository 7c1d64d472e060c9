"""Orphans come to the supervisor and are reaped while it runs."""

from __future__ import annotations

import os
import signal

import pytest

from children import child
from processes import children_of
from supervisor import Supervisor, wait_until

pytestmark = pytest.mark.shipped

both = pytest.mark.parametrize("pid1", [False, True], ids=["subreaper", "PID 1"])


def zombies(supervisor: Supervisor) -> list[int]:
    return [found.pid for found in children_of(supervisor.pid) if found.state == "Z"]


@both
def test_a_thousand_orphans_are_reaped(emulator, pid1: bool) -> None:
    with Supervisor(command=child("makes_orphans", 1000), emulator=emulator, pid1=pid1) as supervisor:
        supervisor.wait_for_output("made", timeout=60)
        # Only the child is left.
        wait_until(lambda: len(children_of(supervisor.pid)) == 1, "the orphans to be reaped")
        assert not zombies(supervisor)
        assert supervisor.health("/livez").status == 200
        assert supervisor.stop() == 143
        assert not supervisor.processes()


@both
def test_orphans_are_ours(pid1: bool) -> None:
    with Supervisor("--no-token", command=child("makes_orphans", 3, "says"), pid1=pid1) as supervisor:
        parent = 1 if pid1 else supervisor.pid
        supervisor.wait_for_output(f"orphan of {parent}", count=3)


@both
def test_an_orphans_exit_code_is_not_ours(pid1: bool) -> None:
    """256 orphans end with every possible exit code, and then the child ends with its own."""
    command = ["sh", "-c", '"$@" & sleep 600 & wait $!; exit 5', "sh", *child("makes_orphans", 256)]
    with Supervisor("--no-token", command=command, pid1=pid1) as supervisor:
        supervisor.wait_for_output("made")
        wait_until(lambda: len(children_of(supervisor.pid)) == 1, "the orphans to be reaped")
        (sleeper,) = (found for found in supervisor.processes() if found.arguments == ["sleep", "600"])
        os.kill(sleeper.pid, signal.SIGKILL)
        assert supervisor.wait() == 5
        assert not supervisor.processes()


@both
def test_a_zombie_of_the_childs_own_is_left_to_the_child(pid1: bool) -> None:
    with Supervisor("--no-token", command=child("reaps_its_own", 4), pid1=pid1) as supervisor:
        supervisor.wait_for_output("its code is 4")


def test_orphans_that_die_by_signals_are_reaped_as_well() -> None:
    orphan = "sh -c 'sleep 0.1; kill -9 $$'"
    script = f"i=0; while [ $i -lt 50 ]; do ({orphan} &); i=$((i+1)); done; echo made; sleep 600"
    with Supervisor("--no-token", command=["sh", "-c", script]) as supervisor:
        supervisor.wait_for_output("made")
        wait_until(lambda: len(children_of(supervisor.pid)) == 1, "the orphans to be reaped")
        assert supervisor.stop() == 143
