"""How each fault of a soak is made, and which invariants it rightly suspends (watch.py names them)."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import hostile_clients
from injection import Trace
from plan import METADATA, Planned
from processes import marked_pids
from stepped_clock import SteppedClock
from subject import Subject
from watch import ALL, FLOOR, Watcher

_numbers = itertools.count(1)


@dataclass
class Target:
    """A supervisor, and what a fault needs to act on it."""

    subject: Subject
    watcher: Watcher
    clock: SteppedClock
    over: threading.Event
    no_jumps: threading.Lock = field(default_factory=threading.Lock)
    """Held while a jump of the clocks would end a patience of the program that is its end: 15 s without a fork."""

    def wait(self, seconds: float) -> None:
        self.over.wait(seconds)


Injection = Callable[[Target, Planned], AbstractContextManager[None]]


@contextlib.contextmanager
def _child_frozen(target: Target, _: Planned) -> Iterator[None]:
    subject = target.subject
    with subject.stopped([one.pid for one in target.watcher.children() if subject.is_still(one)]):
        yield


def _child_slow(target: Target, planned: Planned) -> AbstractContextManager[None]:
    answer, drain = (planned.details[name] for name in ("answers after", "drains for"))
    return target.subject.world.manner(f"slow={answer} drain={drain}")


def _manner(words: str, detail: str = "") -> Injection:
    """The child behaves in this way, with this detail of the plan."""
    return lambda target, planned: target.subject.world.manner(words + str(planned.details[detail] if detail else ""))


@contextlib.contextmanager
def _forks_fail(target: Target, _: Planned) -> Iterator[None]:
    # A thread of the resolver is made by clone3(2), which the C library tries before clone(2).
    file = target.subject.world.folder / f"trace-{next(_numbers)}"
    trace = Trace({"clone": "error=EAGAIN", "clone3": "error=EAGAIN", "vfork": "error=EAGAIN"}, file)
    with target.no_jumps, trace.attached(target.subject.pid):
        yield
    target.watcher.refresh_was_disturbed()
    file.unlink(missing_ok=True)


@contextlib.contextmanager
def _tree_stopped(target: Target, _: Planned) -> Iterator[None]:
    subject = target.subject
    # The supervisor first, so that it starts nothing meanwhile.
    with target.watcher.frozen(), subject.stopped([subject.pid]), subject.stopped(marked_pids(subject.mark)):
        yield


@contextlib.contextmanager
def _tree_frozen(target: Target, _: Planned) -> Iterator[None]:
    subject = target.subject
    freezer = subject.world.freezer
    for pid in {subject.pid, *marked_pids(subject.mark)}:
        with contextlib.suppress(OSError):
            freezer.take(pid)
    with target.watcher.frozen(), contextlib.ExitStack() as stack:
        stack.callback(freezer.thaw)
        freezer.freeze()
        yield


def _is_settled(target: Target) -> bool:
    """Whether the child has been there for a moment, and will not be replaced in the next one."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        status = target.subject.status()
        age = status["child"]["uptime_seconds"] if status["child"] and status["rotation"] is None else 0.0
        return age > 1 and (target.subject.world.mode != "restart" or age < FLOOR - 5)
    return False


@contextlib.contextmanager
def _signals(target: Target, planned: Planned) -> Iterator[None]:
    """A child that has just been started would die of some of them, and that would be the right end of the supervisor."""
    until = time.monotonic() + planned.seconds
    with target.no_jumps:
        while time.monotonic() < until:
            if _is_settled(target):
                for number in planned.details["signals"]:
                    target.subject.signal_process(target.subject.pid, number)
                break
            target.wait(0.1)
    yield


@contextlib.contextmanager
def _probes(target: Target, planned: Planned) -> Iterator[None]:
    """Clients of every bad manner."""
    command = [sys.executable, hostile_clients.__file__, *map(str, (target.subject.health_port, 1_000_000))]
    with subprocess.Popen([*command, str(planned.details["at once"])], stdin=subprocess.PIPE) as crowd:
        try:
            yield
        finally:
            crowd.kill()


@contextlib.contextmanager
def _orphans(target: Target, planned: Planned) -> Iterator[None]:
    target.subject.ask_child(f"/orphans/{planned.details['count']}")
    yield


@contextlib.contextmanager
def _metadata(target: Target, planned: Planned) -> Iterator[None]:
    emulator = target.subject.world.emulator
    emulator.script({**METADATA[planned.details["kind"]], "seconds": 600})
    try:
        yield
    finally:
        emulator.clear()


def _wall_clock(direction: int) -> Injection:
    @contextlib.contextmanager
    def step(target: Target, planned: Planned) -> Iterator[None]:
        by = direction * planned.details["by"]
        target.clock.step(wall=by)
        try:
            yield
        finally:
            target.clock.step(wall=-by)

    return step


@contextlib.contextmanager
def _clocks_jump(target: Target, planned: Planned) -> Iterator[None]:
    if target.no_jumps.acquire(timeout=0.01):
        try:
            with target.watcher.frozen():
                target.clock.step(wall=planned.details["by"], boot=planned.details["by"])
        finally:
            target.no_jumps.release()
    yield


@contextlib.contextmanager
def _directory_full(target: Target, _: Planned) -> Iterator[None]:
    filler = target.subject.world.shared_memory / "filler"
    try:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as disk:
            while True:
                disk.write(bytes(4096))
        yield
    finally:
        filler.unlink(missing_ok=True)


@contextlib.contextmanager
def _directory_removed(target: Target, _: Planned) -> Iterator[None]:
    for directory in target.subject.world.password_directories():
        shutil.rmtree(directory, ignore_errors=True)
    yield


@contextlib.contextmanager
def _output_blocked(target: Target, _: Planned) -> Iterator[None]:
    target.watcher.lines_may_be_lost()
    with target.subject.unread():
        yield


@contextlib.contextmanager
def _names_silent(target: Target, _: Planned) -> Iterator[None]:
    names = target.subject.world.names
    names.answers = False
    try:
        yield
    finally:
        names.answers = True


@dataclass(frozen=True)
class Fault:
    inject: Injection
    suspends: frozenset[str] = frozenset()
    aftermath: float = 0.0
    """How much longer these are suspended."""
    lasts: bool = True
    """Whether it has a duration; otherwise it is over at once."""


def _suspends(*names: str) -> frozenset[str]:
    return frozenset(names)


FAULTS = {
    # A child that can't run can't say which token it has. The stop signal of a drain continues it.
    "child frozen": Fault(_child_frozen, _suspends("delivery"), 2.0),
    "child slow": Fault(_child_slow, _suspends(), 2.0),
    "child deaf": Fault(_manner("deaf")),
    # No child can be started; the next attempt comes after 2 s at the latest. Names can't be resolved either.
    "forks fail": Fault(_forks_fail, _suspends("delivery", "refresh"), 4.0),
    "tree stopped": Fault(_tree_stopped, ALL, 2.0),
    "tree frozen": Fault(_tree_frozen, ALL, 2.0),
    "signals": Fault(_signals, lasts=False),
    # A crowd of hostile clients costs no honest one its answer (tests/system/test_hostile_clients.py).
    "probes": Fault(_probes),
    "orphans": Fault(_orphans, lasts=False),
    "next child late": Fault(_manner("late=", "listens after"), _suspends("delivery")),
    "next child ends": Fault(_manner("ends=", "code"), _suspends("delivery")),
    "next child never listens": Fault(_manner("never"), _suspends("delivery")),
    "metadata": Fault(_metadata, _suspends("refresh")),
    "wall clock forward": Fault(_wall_clock(+1)),
    "wall clock back": Fault(_wall_clock(-1)),
    "clocks jump": Fault(_clocks_jump, lasts=False),
    # The pause between two attempts to write doubles, so that it is no longer than the fault was; a fresh token ends it.
    "password directory full": Fault(_directory_full, _suspends("delivery"), 8.0),
    # The next token comes after a second, and the directory is made again for it.
    "password directory removed": Fault(_directory_removed, lasts=False),
    "output blocked": Fault(_output_blocked),
    # A question that was not answered is given up after 2 s for each family of addresses.
    "name server silent": Fault(_names_silent, _suspends("refresh"), 5.0),
    # It is looked at before the first child alone.
    "database gone": Fault(lambda target, _: target.subject.world.database.gone()),
}


def apply(target: Target, planned: Planned) -> None:
    fault = FAULTS[planned.what]
    with target.watcher.suspended(fault.suspends, fault.aftermath), fault.inject(target, planned):
        if fault.lasts:
            target.wait(planned.seconds)
