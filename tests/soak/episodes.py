"""The supervisors of a soak that end: each is started for an episode, meets a few faults, and ends with the right code."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from signal import SIGINT, SIGKILL, SIGTERM

from black_hole import BlackHole
from injection import Trace
from plan import Episode
from processes import marked_pids
from soak_child import CODE
from subject import DRAIN_TIMEOUT, START_DEADLINE, STOP_TIMEOUT, Subject, World
from watch import Watcher

from faults import Target, apply
from findings import Findings
from machine import Canary, Scanner, Stopwatch

KILLED = 128 + SIGKILL
# The platform's patience: the stop timeout, twice the time after a SIGKILL, and some.
UNTIL_THE_END = STOP_TIMEOUT + 0.8 + 2.0
UNTIL_THE_START = START_DEADLINE + 10.0
RELAUNCH_LIMIT = 15.0


class Unexpected(Exception):
    """The supervisor did what it must not do."""


@dataclass
class Run:
    """One episode under way."""

    episode: Episode
    world: World
    subject: Subject
    watcher: Watcher
    canary: Canary
    findings: Findings
    target: Target | None = None
    also: set[int] = field(default_factory=set)
    """Exit codes that are right as well, as things went."""

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float) -> None:
        """Counts the seconds as the machine gave them."""
        stopwatch, passed = Stopwatch(self.canary), 0.0
        while not condition():
            passed += stopwatch.lap()
            if passed > seconds:
                raise Unexpected(f"there was not {what} within {seconds:g} s")
            time.sleep(0.02)

    def ended(self) -> bool:
        return not self.subject.alive

    def check_end(self, *codes: int, within: float = UNTIL_THE_END) -> None:
        self.wait_for(self.ended, "the end", within)
        code = self.subject.wait()
        self.findings.count(f"exit code {code}")
        if code not in {*codes, *self.also}:
            raise Unexpected(f"it ended with {code}, and {sorted({*codes, *self.also})} would be right")

    def serving_child(self) -> int:
        """Its pid; waits for the end of a rotation, since the end of the old child is no end of the supervisor."""
        found: list[int] = []

        def is_there() -> bool:
            with contextlib.suppress(OSError):
                status = self.subject.status()
                if status["child"] and status["rotation"] is None and status["state"] in ("starting", "ready", "expired"):
                    found.append(status["child"]["pid"])
            return bool(found) or self.ended()

        self.wait_for(is_there, "a serving child", UNTIL_THE_START)
        return found[0] if found else 0


# How an episode begins


def _serves(run: Run) -> bool:
    run.wait_for(lambda: run.watcher.has_served or run.ended(), "a child that serves", UNTIL_THE_START)
    if run.ended():
        raise Unexpected(f"it ended at its start with {run.subject.wait()}")
    return True


def _ends_without_a_child(run: Run) -> bool:
    run.check_end(1, within=UNTIL_THE_START)
    if run.watcher.has_served:
        raise Unexpected("a child served")
    return False


@dataclass
class Beginning:
    settings: dict[str, str] = field(default_factory=dict)
    through: list[str] = field(default_factory=list)
    database_port: int | None = None
    relieve: Callable[[], object] | None = None
    """Takes away what the start waits for."""
    check: Callable[[Run], bool] = _serves
    """Whether there is a child then; if there can't be, the supervisor has ended as it must."""


def beginning(episode: Episode, world: World, stack: contextlib.ExitStack) -> Beginning:
    match episode.start:
        case "metadata late":
            world.emulator.script({"status": 503, "seconds": 600})
            return Beginning({"--start-deadline": "60s"}, relieve=world.emulator.clear)
        case "metadata never":
            world.emulator.script({"status": 404, "seconds": 600})
            stack.callback(world.emulator.clear)
            return Beginning(check=_ends_without_a_child)
        case "database late":
            world.database.go()
            return Beginning(relieve=world.database.come_back)
        case "database silent at first":
            hole = stack.enter_context(BlackHole())
            there = ("127.0.0.1", world.database.port)
            return Beginning(database_port=hole.port, relieve=lambda: hole.open(there))
        case "database never":
            stack.enter_context(world.database.gone())
            return Beginning({"--db-wait": "2s"}, check=_ends_without_a_child)
        case "first fork fails":
            file = world.folder / f"trace-of-episode-{episode.number}"
            trace = Trace({"clone": "error=EAGAIN", "vfork": "error=EAGAIN"}, file)
            stack.callback(file.unlink, missing_ok=True)
            return Beginning(through=trace.command, check=_ends_without_a_child)
        case "output closed":
            return Beginning(through=["sh", "-c", 'exec "$0" "$@" >&-'])
        case "output without a reader":
            return Beginning(through=["bash", "-c", 'exec "$0" "$@" > >(:)'])
    return Beginning()


# How it ends


def _stop(run: Run, number: int = SIGTERM) -> None:
    run.watcher.is_ending = True
    run.subject.signal(number)


def _end_by_stop(run: Run) -> None:
    _stop(run)
    run.check_end(CODE)


def _end_by_int(run: Run) -> None:
    _stop(run, SIGINT)
    run.check_end(CODE)


def _end_by_two_stops(run: Run) -> None:
    _stop(run)
    with contextlib.suppress(ProcessLookupError):
        run.subject.signal(SIGTERM)
    run.check_end(CODE)


def _end_while_deaf(run: Run) -> None:
    with run.world.manner("deaf"):
        _stop(run)
        run.check_end(KILLED)


def _end_while_slow(run: Run) -> None:
    with run.world.manner(f"drain={STOP_TIMEOUT / 4}"):
        _stop(run)
        run.check_end(CODE)


def _end_while_frozen(run: Run) -> None:
    """CONT follows TERM."""
    with run.subject.stopped([run.serving_child()]):
        _stop(run)
        run.check_end(CODE)


def _end_in_a_rotation(run: Run) -> None:
    """The jump makes the child old enough. What is in progress at the stop is left to chance."""
    assert run.target
    run.target.clock.step(wall=40, boot=40)
    run.subject.health("/livez")
    time.sleep(run.episode.details["after"] / 4)
    _stop(run)
    # A child that has just been started has not set its signals up yet.
    run.also.add(128 + SIGTERM)
    run.check_end(CODE)


def _end_by_the_childs_death(run: Run) -> None:
    number = run.episode.details["signal"]
    run.watcher.is_ending = True
    run.subject.signal_process(run.serving_child(), number)
    run.check_end(128 + number)


def _end_by_the_childs_end(run: Run) -> None:
    run.serving_child()
    run.watcher.is_ending = True
    run.subject.ask_child(f"/end/{run.episode.details['code']}")
    run.check_end(run.episode.details["code"])


def _end_by_kill(run: Run) -> None:
    """The kernel ends the child, and the next supervisor removes the password file."""
    run.watcher.is_ending = True
    run.subject.signal(SIGKILL)
    run.check_end(-SIGKILL)
    run.wait_for(lambda: not marked_pids(run.subject.mark), "an end of the child", 2.0)


def _end_without_forks(run: Run) -> None:
    """In place there is nothing to fork for, and a rolling rotation keeps the old child."""
    assert run.target
    run.watcher.is_ending = True
    trace = Trace({"clone": "error=EAGAIN", "vfork": "error=EAGAIN"}, run.world.folder / "trace-of-forks")
    with trace.attached(run.subject.pid):
        run.target.clock.step(wall=40, boot=40)
        if run.world.mode == "restart":
            run.check_end(1, within=RELAUNCH_LIMIT + DRAIN_TIMEOUT + START_DEADLINE + 10)
            return
        time.sleep(2)
    _end_by_stop(run)


ENDS: dict[str, Callable[[Run], None]] = {
    "stop": _end_by_stop,
    "stop by INT": _end_by_int,
    "stop twice": _end_by_two_stops,
    "stop while deaf": _end_while_deaf,
    "stop while slow": _end_while_slow,
    "stop while frozen": _end_while_frozen,
    "stop in a rotation": _end_in_a_rotation,
    "child killed": _end_by_the_childs_death,
    "child ends": _end_by_the_childs_end,
    "supervisor killed": _end_by_kill,
    "forks go on to fail": _end_without_forks,
}


def check_what_is_left(run: Run) -> None:
    """After an end of the supervisor's own making there is nothing."""
    if processes := marked_pids(run.subject.mark):
        raise Unexpected(f"it left the processes {processes}")
    if directories := run.world.password_directories():
        raise Unexpected(f"it left {directories}")


def live(run: Run, stack: contextlib.ExitStack, begin: Beginning) -> None:
    """The episode, from the start of the supervisor to its end."""
    episode, over = run.episode, run.findings.over
    if begin.check is not _serves:
        run.watcher.is_ending = True
    stack.enter_context(run.subject)
    stack.enter_context(run.watcher)
    if begin.relieve:
        over.wait(episode.details["late by"])
        begin.relieve()
    if begin.check(run):
        run.target = Target(run.subject, run.watcher, run.subject.clock(), over)
        for planned in episode.faults:
            over.wait(planned.pause)
            run.findings.tell(run.watcher.name, str(planned))
            apply(run.target, planned)
            run.findings.fault(planned.what)
        over.wait(episode.details["after"])
        # What a fault has left behind may last longer than the fault.
        run.wait_for(lambda: run.watcher.has_answered or run.ended() or over.is_set(), "an answer of the child", UNTIL_THE_START)
        if not over.is_set():
            ENDS[episode.end](run)
    if not over.is_set() and episode.end != "supervisor killed":
        check_what_is_left(run)


def run_episode(episode: Episode, name: str, world: World, scanner: Scanner, canary: Canary, findings: Findings) -> None:
    findings.tell(name, str(episode))
    findings.fault(f"start: {episode.start}")
    findings.fault(f"end: {episode.end}")
    with contextlib.ExitStack() as stack:
        begin = beginning(episode, world, stack)
        watcher: list[Watcher] = []
        subject = world.subject(lambda line: watcher[0].on_line(line), begin.settings, begin.through, begin.database_port)
        watcher.append(Watcher(name, subject, scanner, canary, findings))
        run = Run(episode, world, subject, watcher[0], canary, findings)
        try:
            live(run, stack, begin)
        except Unexpected as error:
            findings.violation(name, f"end: {error} ({episode})", subject.transcript())
