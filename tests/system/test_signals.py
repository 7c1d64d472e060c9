"""Signals to the supervisor other than TERM and INT: which processes get them, and which do not."""

from __future__ import annotations

import os
import signal

import pytest

from children import child
from processes import find_process
from supervisor import Supervisor, wait_until

pytestmark = pytest.mark.shipped

FORWARDED = [
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCONT,
    signal.SIGALRM,
]
REAL_TIME = [signal.SIGRTMIN, signal.SIGRTMIN + 1, signal.SIGRTMIN + 14, signal.SIGRTMAX - 1, signal.SIGRTMAX]
TERMINAL_STOPS = [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU]

both = pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])
with_and_without_token = pytest.mark.parametrize("token", [True, False], ids=["token", "no token"])


def name(number: int) -> str:
    return signal.strsignal(number) or str(number)


def all_are_taken(supervisor: Supervisor) -> bool:
    """Whether the supervisor has read every signal that was sent to it (proc(5), /proc/PID/status)."""
    process = find_process(supervisor.pid)
    return process is not None and int(process.status["ShdPnd"], 16) == int(process.status["SigPnd"], 16) == 0


def other_processes(supervisor: Supervisor) -> list[str]:
    return [found.state for found in supervisor.processes() if found.pid != supervisor.pid]


@both
@with_and_without_token
def test_signals_reach_the_child_and_its_group(emulator, token: bool, pid1: bool) -> None:
    arguments = [] if token else ["--no-token"]
    command = child("reports_signals", *map(int, FORWARDED + REAL_TIME))
    with Supervisor(*arguments, command=command, emulator=emulator, pid1=pid1) as supervisor:
        for role in ("child", "grandchild"):
            supervisor.wait_for_output(f"{role} is ")
        for number in FORWARDED + REAL_TIME:
            supervisor.signal(number)
            for role in ("child", "grandchild"):
                supervisor.wait_for_output(f"{role} got {int(number)}", whole=True)
        got = [line for line in supervisor.output if line.startswith("child got ")]
        assert got == [f"child got {int(number)}" for number in FORWARDED + REAL_TIME]
        assert supervisor.alive


def test_a_signal_of_each_kind_is_forwarded_even_when_all_come_at_once() -> None:
    numbers = FORWARDED + REAL_TIME
    with Supervisor("--no-token", command=child("reports_signals", *map(int, numbers))) as supervisor:
        supervisor.wait_for_output("child is ")
        for number in numbers:
            supervisor.signal(number)
        for number in numbers:
            supervisor.wait_for_output(f"child got {int(number)}", whole=True)


@with_and_without_token
def test_single_child_forwards_to_the_child_alone(emulator, token: bool) -> None:
    numbers = [*FORWARDED, *REAL_TIME]
    arguments = [] if token else ["--no-token"]
    with Supervisor(
        *arguments, "--single-child", command=child("reports_signals", *map(int, numbers)), emulator=emulator
    ) as supervisor:
        supervisor.wait_for_output("child is ")
        grandchild = int(supervisor.wait_for_output("grandchild is ").split()[-1])
        for number in numbers:
            supervisor.signal(number)
            supervisor.wait_for_output(f"child got {int(number)}", whole=True)
        # Real-time signals queue behind whatever came before, so nothing else can still be on its way.
        os.kill(grandchild, signal.SIGRTMAX)
        supervisor.wait_for_output("grandchild got ")
        got = [line for line in supervisor.output if line.startswith("grandchild got ")]
        assert got == [f"grandchild got {int(signal.SIGRTMAX)}"]


def test_single_child_stops_the_child_alone_first() -> None:
    """The rest of the group gets its TERM only when the child has ended."""
    script = "(trap 'echo the other; exit' TERM; while :; do sleep 0.05; done) & echo ready; " + 'exec "$@"'
    with Supervisor(
        "--no-token", "--single-child", command=["sh", "-c", script, "sh", *child("drains", 0.5, 3)]
    ) as supervisor:
        supervisor.wait_for_output("up")
        supervisor.wait_for_output("ready")
        assert supervisor.stop() == 3
        assert supervisor.output[-2:] == ["drained", "the other"]
        assert not supervisor.processes()


@both
def test_terminal_stops_are_not_forwarded_with_a_token(emulator, pid1: bool) -> None:
    with Supervisor(command=["sleep", "600"], emulator=emulator, pid1=pid1) as supervisor:
        supervisor.wait_for_log("child: started")
        for number in TERMINAL_STOPS:
            supervisor.signal(number)
            supervisor.wait_for_log(f"not forwarded signal={number.name[3:]}")
        assert "T" not in other_processes(supervisor)
        assert supervisor.health("/livez").status == 200
        assert supervisor.stop() == 143


@both
@pytest.mark.parametrize("number", TERMINAL_STOPS, ids=lambda number: number.name[3:])
def test_terminal_stops_are_forwarded_without_a_token(number: int, pid1: bool) -> None:
    with Supervisor("--no-token", command=["sleep", "600"], pid1=pid1) as supervisor:
        supervisor.wait_for_log("child: started")
        supervisor.signal(number)
        wait_until(lambda: other_processes(supervisor) == ["T"], f"{name(number)} to stop the child")
        assert supervisor.health("/livez").status == 200
        supervisor.signal(signal.SIGCONT)
        wait_until(lambda: other_processes(supervisor) == ["S"], "CONT to let it go on")


def test_other_signals_before_there_is_a_child_are_dropped(emulator) -> None:
    emulator.script({"status": 503, "times": 1000})
    fence = signal.SIGUSR1
    with Supervisor(command=child("reports_signals", *map(int, FORWARDED + REAL_TIME)), emulator=emulator) as supervisor:
        supervisor.wait_for_health("/livez", 503)
        for number in [
            *FORWARDED,
            *REAL_TIME,
            *TERMINAL_STOPS,
            signal.SIGPIPE,
            signal.SIGVTALRM,
            signal.SIGXCPU,
        ]:
            supervisor.signal(number)
        wait_until(lambda: all_are_taken(supervisor), "the supervisor to take the signals")
        assert "child: started" not in supervisor.messages()
        emulator.clear()
        # The grandchild's lines have the child's words in them.
        wait_until(lambda: any(line.startswith("child is ") for line in supervisor.output), "the child to be ready")
        # A signal that had been kept would have been delivered before this one.
        supervisor.signal(fence)
        supervisor.wait_for_output(f"child got {int(fence)}", whole=True)
        got = [line for line in supervisor.output if line.startswith("child got ")]
        assert got == [f"child got {int(fence)}"]
        assert supervisor.health("/livez").status == 200
        assert supervisor.stop() == 143


@both
def test_signals_that_are_nobodys_do_not_end_the_supervisor(pid1: bool) -> None:
    numbers = [
        signal.SIGPIPE,
        signal.SIGSTKFLT,
        signal.SIGXCPU,
        signal.SIGXFSZ,
        signal.SIGVTALRM,
        signal.SIGPROF,
        signal.SIGIO,
        signal.SIGPWR,
        signal.SIGURG,
    ]
    with Supervisor("--no-token", command=["sleep", "600"], pid1=pid1) as supervisor:
        supervisor.wait_for_log("child: started")
        for number in numbers:
            supervisor.signal(number)
        # A signal that the supervisor ignores is discarded and never pending.
        wait_until(lambda: all_are_taken(supervisor), "the supervisor to take the signals")
        assert supervisor.health("/livez").status == 200
        assert len(other_processes(supervisor)) == 1
        assert supervisor.stop() == 143


def test_a_storm_of_signals_does_not_delay_health_or_the_stop() -> None:
    with Supervisor("--no-token", "--log-level", "debug", command=child("drains", 0, 6)) as supervisor:
        supervisor.wait_for_output("up")
        for _ in range(3000):
            supervisor.signal(signal.SIGWINCH)
            supervisor.signal(signal.SIGCONT)
        assert supervisor.health("/livez").status == 200
        assert supervisor.stop() == 6


@both
def test_the_child_has_a_terminals_foreground_and_gets_its_ctrl_c(pid1: bool) -> None:
    with Supervisor("--no-token", command=child("drains", 0, 8), terminal=True, pid1=pid1) as supervisor:
        supervisor.wait_for_output("up")
        (only,) = (
            found
            for found in supervisor.processes()
            if found.arguments[-3:-2] == ["drains"]
            and found.pid != supervisor.pid
            and found.name != "prefect-supervi"
        )
        assert only.group == only.pid
        assert supervisor.terminal_foreground_group == only.group
        assert only.terminal_group == only.group
        supervisor.type_keys(b"\x03")
        assert supervisor.wait() == 8
        assert supervisor.output == ["up", "INT 1", "drained"]
        assert not any("stop: asked" in message for message in supervisor.messages())


def test_the_child_can_read_the_terminal() -> None:
    with Supervisor(
        "--no-token", command=["sh", "-c", "read line; echo got $line"], terminal=True
    ) as supervisor:
        supervisor.wait_for_log("child: started")
        supervisor.type_keys(b"hello\n")
        supervisor.wait_for_output("got hello")
        assert supervisor.wait() == 0
