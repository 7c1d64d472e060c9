"""An instance that is frozen for longer than its token lives, as on Cloud Run between requests.

SIGSTOP and SIGCONT tell the supervisor that time was lost. The freezer of a control group tells it nothing (kernel
documentation, cgroup-v2.rst, "cgroup.freeze", and cgroup-v1/freezer-subsystem.rst): there, only the comparison of the
clocks can find it. A refused request with a long Retry-After makes the difference visible: a supervisor that does not
notice the freeze waits for five minutes more, which is far beyond the limit of any wait below.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGSTOP
from typing import Any

import pytest

from children import child
from delivered import both_modes, delivered_token
from processes import find_process
from supervisor import RUN_MARK, Supervisor, wait_until
from google_emulator.client import GoogleEmulator

TOKEN_LIFE = "10s"
# A rotation by restart waits until the child is 30 s old.
ROTATION_LIMIT = 90.0
STOPPED = 13.0
# The loop sleeps for 30 s at most, and takes 5 s more than that between two wake-ups for a freeze.
LONGEST_SLEEP = 30
DETECTED = 35.0
FROZEN = 38.0
PATIENCE = {"status": 503, "retry_after": 600}


def serving_child(folder: Path) -> list[str]:
    for name in ("open", "good"):
        (folder / name).touch()
    return child("serves_health", folder)


def refuse_the_next_request(emulator: GoogleEmulator, supervisor: Supervisor) -> None:
    """Waits until the supervisor waits for five minutes, the longest Retry-After that it honours."""
    emulator.script(PATIENCE)
    failure = supervisor.wait_for_log("token: can't get one")
    assert failure.fields["next_try_ms"] == 300_000


def wait_for_a_token_of_after(moment: float, emulator: GoogleEmulator, supervisor: Supervisor) -> None:
    def delivered() -> bool:
        text = delivered_token(supervisor)
        return any(token.text == text and token.minted_at >= moment for token in emulator.tokens())

    wait_until(delivered, "a token of after the freeze with the child", ROTATION_LIMIT)
    supervisor.wait_for_health("/readyz")


def check_the_child(mode: str, supervisor: Supervisor, pid: int) -> None:
    status = supervisor.status()
    if mode == "in-place":
        assert (status["child"]["pid"], status["restarts"]) == (pid, 0)
    else:
        assert status["child"]["pid"] != pid and status["restarts"] >= 1


@pytest.mark.long
@both_modes
@pytest.mark.parametrize("step", [None, {"answer": "hang"}, PATIENCE], ids=["idle", "in a request", "in a pause"])
def test_a_stopped_instance_gets_a_fresh_token_once_it_is_continued(
    mode: str, step: dict[str, Any] | None, tmp_path: Path
) -> None:
    with (
        GoogleEmulator(postgres=False, token_life=TOKEN_LIFE) as emulator,
        Supervisor("--rotation", mode, emulator=emulator, command=serving_child(tmp_path)) as supervisor,
    ):
        supervisor.wait_for_health("/readyz")
        pid = supervisor.child_pid
        if step is PATIENCE:
            refuse_the_next_request(emulator, supervisor)
        elif step is not None:
            emulator.script(step)
            wait_until(lambda: emulator.token_requests()[-1].answer != "token", "the request that is never answered")

        supervisor.signal_tree(SIGSTOP)
        time.sleep(STOPPED)
        continued = time.time()
        supervisor.signal_tree(SIGCONT)

        wait_for_a_token_of_after(continued, emulator, supervisor)
        check_the_child(mode, supervisor, pid)


class Freezer:
    """A control group of the test's own, of whichever version the machine has."""

    def __init__(self) -> None:
        name = f"prefect-supervisor-{RUN_MARK}-{os.getpid()}"
        for parent in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            if Path(parent, "cgroup.controllers").exists():
                self._folder, self._file, self._words = Path(parent, name), "cgroup.freeze", ("1", "0")
                break
        else:
            self._folder = Path("/sys/fs/cgroup/freezer", name)
            self._file, self._words = "freezer.state", ("FROZEN", "THAWED")
        self._folder.mkdir()

    @property
    def processes(self) -> Path:
        return self._folder / "cgroup.procs"

    def freeze(self) -> None:
        (self._folder / self._file).write_text(self._words[0])
        wait_until(self._is_frozen, "the control group to be frozen")

    def thaw(self) -> None:
        (self._folder / self._file).write_text(self._words[1])

    def remove(self) -> None:
        self.thaw()
        wait_until(lambda: not self.processes.read_text(), "the control group to be empty")
        self._folder.rmdir()

    def _is_frozen(self) -> bool:
        if self._file == "cgroup.freeze":
            return "frozen 1" in (self._folder / "cgroup.events").read_text().splitlines()
        return (self._folder / self._file).read_text().strip() == "FROZEN"


@pytest.fixture
def freezer() -> Iterator[Freezer]:
    try:
        group = Freezer()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield group
    finally:
        group.remove()


def in_group(freezer: Freezer) -> list[str]:
    return ["sh", "-c", f'echo $$ >{freezer.processes} && exec "$0" "$@"']


@contextlib.contextmanager
def frozen(freezer: Freezer) -> Iterator[None]:
    """The group is frozen in the block, and thawed also when the block fails: frozen processes can't end."""
    freezer.freeze()
    try:
        yield
    finally:
        freezer.thaw()


@pytest.mark.long
@both_modes
def test_a_freeze_without_a_signal_is_found_by_the_clocks(mode: str, freezer: Freezer, tmp_path: Path) -> None:
    with (
        GoogleEmulator(postgres=False, token_life=TOKEN_LIFE) as emulator,
        Supervisor(
            *("--rotation", mode), emulator=emulator, command=serving_child(tmp_path), through=in_group(freezer)
        ) as supervisor,
    ):
        supervisor.wait_for_health("/readyz")
        pid = supervisor.child_pid
        refuse_the_next_request(emulator, supervisor)
        with frozen(freezer):
            time.sleep(FROZEN)
            thawed = time.time()
        # No health request is sent until the line is logged, so only the timer wakes the loop.
        line = supervisor.wait_for_log("init: frozen for a while")
        assert line.severity == "INFO" and line.fields["ms"] >= FROZEN * 1000
        wait_for_a_token_of_after(thawed, emulator, supervisor)
        check_the_child(mode, supervisor, pid)
        assert not any("not forwarded" in message for message in supervisor.messages())


# Watching a running process, and swallowing its calls.


@contextlib.contextmanager
def traced(pid: int, output: Path, *options: str) -> Iterator[Callable[[], str]]:
    """strace watches the process in the block. Hands out what reads the trace so far."""
    command = ["strace", "-p", str(pid), "-o", str(output), *options]
    try:
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    try:
        assert tracer.stderr
        first = tracer.stderr.readline()
        if "attached" not in first:
            pytest.skip(f"strace can't watch a process here: {first.strip()}")
        yield output.read_text
    finally:
        # It lets the process go on by itself.
        tracer.send_signal(SIGINT)
        tracer.wait()
        tracer.stderr.close()


@contextlib.contextmanager
def idle_supervisor(*arguments: str, emulator: GoogleEmulator) -> Iterator[Supervisor]:
    """A supervisor whose loop only has to look at the clocks."""
    with Supervisor(
        *("--rotation", "in-place", "--ready-url", "off", *arguments), emulator=emulator, command=["sleep", "600"]
    ) as supervisor:
        supervisor.wait_for_log("child: started")
        yield supervisor


ARMED = re.compile(r"timerfd_settime\(\d+, \w+, \{.*?it_value=\{tv_sec=(\d+), tv_nsec=(\d+)\}\}")


def sleeps_in(trace: str) -> list[float]:
    """For every wait that has ended: the seconds that the timer had been set to. At a wake-up, Asio sets the timer to
    five minutes first, and to the supervisor's own choice before it waits again."""
    sleeps, armed = [], None
    for line in trace.splitlines():
        if call := ARMED.search(line):
            armed = int(call[1]) + int(call[2]) / 1e9
        elif line.startswith("epoll_wait(") and " = " in line and armed is not None:
            sleeps.append(armed)
    return sleeps


@pytest.mark.long
def test_an_idle_loop_wakes_at_least_every_thirty_seconds(emulator: GoogleEmulator, tmp_path: Path) -> None:
    with (
        idle_supervisor(emulator=emulator) as supervisor,
        traced(supervisor.pid, tmp_path / "trace", "-e", "trace=timerfd_settime,epoll_wait") as trace,
    ):
        # No request is sent, so each wait that ends was ended by the timer.
        sleeps = wait_until(lambda: len(found := sleeps_in(trace())) >= 2 and found, "two wake-ups", 180)
        assert all(0 < sleep <= LONGEST_SLEEP for sleep in sleeps)
        assert len(emulator.token_requests()) == 1


@pytest.mark.long
def test_a_health_request_makes_the_loop_compare_the_clocks(tmp_path: Path) -> None:
    """The timers of a frozen instance may be late. Here, the timer does not come at all: strace swallows the arming."""
    with (
        GoogleEmulator(postgres=False, token_life=TOKEN_LIFE) as emulator,
        idle_supervisor(emulator=emulator) as supervisor,
    ):
        refuse_the_next_request(emulator, supervisor)
        wait_until(lambda: (found := find_process(supervisor.pid)) and found.state == "S", "the loop to sleep")
        # The first call of a wake-up sets the timer to Asio's own five minutes. The second one would set it to 30 s.
        swallow = ("-e", "trace=timerfd_settime", "-e", "inject=timerfd_settime:retval=0:when=2+")
        with traced(supervisor.pid, tmp_path / "trace", *swallow) as trace:
            # The loop wakes for the last time, by the timer that was set before.
            wait_until(lambda: "INJECTED" in trace(), "the first arming without effect", 60)
            time.sleep(FROZEN)
            assert trace().count("INJECTED") == 1
        assert "init: frozen for a while" not in supervisor.messages()
        asked = datetime.now(UTC)
        assert supervisor.health("/livez").status == 200
        line = supervisor.wait_for_log("init: frozen for a while")
        assert line.fields["ms"] > DETECTED * 1000
        # The log cuts the time to milliseconds.
        assert line.time.timestamp() >= asked.timestamp() - 0.001
        # The pause of five minutes is over. The request itself waits for the timer whose setting was swallowed.
        assert supervisor.status()["next_refresh_in_seconds"] == 0
