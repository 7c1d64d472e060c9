"""The invariants of a soak, and what watches that they hold. Each bound is derived from the program's documents.

invariant   what must be true
delivery    a usable token that the metadata server gave out, or a newer one, is what the child logs in with, within the
            time that the mode may take: at once in place; else after the floor between two starts, a drain and a start
refresh     the next request for a token comes in time: after the refresh interval, or after the longest pause
health      every path is answered at once, and /livez by 200 from the first child to the end
processes   no child of the supervisor stays a zombie for longer than 1 s; it has one child at most, and two in a rolling
            rotation, for a bounded time
growth      of descriptors and of memory: growth.py
secrets     no token in any line, in any answer, or in the arguments or the environment of the supervisor; in place not
            in the child's either
end         the supervisor does not end by itself, and its exit codes are right (episodes.py)

Time is counted as it was there to be used (machine.Stopwatch), and a fault holds up the clocks of those invariants that
it rightly suspends (faults.py).
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import math
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from google_emulator.client import EmulatorError
from google_emulator.records import MetadataRequest
from processes import Process, find_process

from findings import Findings
from growth import Growth
from machine import Canary, Scanner, Stopwatch
from subject import DRAIN_TIMEOUT, SECRET, START_DEADLINE, Subject

PAUSE = 0.25

# The child is asked this often, and the metadata server's log is read as often.
LOOKS = 1.5
FLOOR = 30.0
# A start, the time for what is left of the old group, and the connections in the old child's queue.
START, REPLACING, QUEUE = 3.0, 2.0, 5.0
DRAIN = DRAIN_TIMEOUT + 5.0  # and the time after its SIGKILL
DELIVERY = {
    "in-place": 1.0 + LOOKS,
    "restart": FLOOR + DRAIN + REPLACING + START + LOOKS,
    "rolling": FLOOR + START_DEADLINE + QUEUE + DRAIN + START + LOOKS,
}
TWO_CHILDREN = START_DEADLINE + QUEUE + DRAIN
# The pauses after failed rotations that the log states, by the number of failures in a row.
ROLLING_PAUSES = (30_000, 60_000, 120_000, 300_000)
# The longest pause after a failed request, with its spread, and the request's own timeout.
LONGEST_PAUSE, REQUEST = 36.0, 5.0
ANSWER = 1.0
ZOMBIE = 1.0
# After a freeze: a request that was sent before it has reached the metadata server by then.
CLOUDED = 0.5

ALL = frozenset({"delivery", "refresh", "health", "processes"})
PATHS = ("/livez", "/status", "/livez", "/readyz", "/livez", "/metrics", "/livez", "/startupz")
GOOD = ("token", "padded-token")
# Lines about a failure of the program, or of the kernel, that none of the faults explains.
NEVER = ("did not die of SIGKILL", "is left and can't be killed", "; ending the child")
FAILED_ROTATION = re.compile(r"rotation: the next child failed, .* next_try_ms=(\d+)$")


class Given(NamedTuple):
    """A token that the metadata server gave out."""

    number: int
    at: float
    """By the clock of the delivery."""


class Watcher:
    def __init__(self, name: str, subject: Subject, scanner: Scanner, canary: Canary, findings: Findings) -> None:
        self.name, self.subject = name, subject
        self._scanner, self._canary, self._findings = scanner, canary, findings
        self._mode = subject.world.mode
        self._growth = Growth(name, findings, self.violation)
        self._over = threading.Event()
        looks = (self._look, self._ask_child, self._ask_health)
        self._threads = [threading.Thread(target=self._run, args=(look,), daemon=True) for look in looks]
        self._stopwatch = Stopwatch(canary)
        self._lost = self._lost_before = canary.lost
        # Of what the lanes of faults say at the same time.
        self._lock = threading.Lock()
        self._holding: Counter[str] = Counter()
        self._held_until: dict[str, float] = {}
        self._clocks = dict.fromkeys([*ALL, "age"], 0.0)
        # Whoever ends the supervisor says so before.
        self.is_ending = False
        self.has_served = False
        self._answers = False
        self.held_token = ""
        # Delivery: the tokens given out that are not yet the child's, and when they were seen.
        self._since = 0
        self._waiting: deque[tuple[str, float]] = deque()
        self._known: dict[str, Given] = {}
        self._promised = 0.0
        # Refresh
        self._asked_at = 0.0
        self._may_take = LONGEST_PAUSE + REQUEST + LOOKS
        self._freezes, self._clouded_until = 0, 0.0
        # Processes
        self._zombies: dict[int, float] = {}
        self._two_since: float | None = None
        self.rotations = self.restarts = 0
        self._paths = itertools.cycle(PATHS)

    def __enter__(self) -> Watcher:
        self._since = max((one.number for one in self.subject.world.emulator.token_requests()), default=0)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    # What faults say

    @contextlib.contextmanager
    def suspended(self, invariants: frozenset[str], aftermath: float = 0.0) -> Iterator[None]:
        """The clocks of these invariants stand still in the block, and for `aftermath` seconds after it."""
        with self._lock:
            self._holding.update(invariants)
        try:
            yield
        finally:
            with self._lock:
                for one in invariants:
                    self._held_until[one] = max(time.monotonic() + aftermath, self._held_until.get(one, 0.0))
                self._holding.subtract(invariants)
            if "refresh" in invariants:
                self.refresh_was_disturbed()

    def refresh_was_disturbed(self) -> None:
        """The request in flight may have failed, so that the next one comes after any of the pauses."""
        self._may_take = LONGEST_PAUSE + REQUEST + LOOKS

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """An answer that is on its way may be too late after the block, whatever the metadata server thinks of it."""
        with self._lock:
            self._freezes += 1
            self._clouded_until = math.inf
        try:
            yield
        finally:
            with self._lock:
                self._freezes -= 1
                if self._freezes == 0:
                    self._clouded_until = time.time() + CLOUDED
            self._waiting.clear()
            self.refresh_was_disturbed()

    def lines_may_be_lost(self) -> None:
        """The log may not tell of a rotation that failed."""
        if self._mode == "rolling":
            self._promised = max(self._promised, ROLLING_PAUSES[-1] / 1000)

    # What it watches

    def violation(self, text: str) -> None:
        if not self.is_ending or SECRET in text:
            self._findings.violation(self.name, text, self.subject.transcript())

    def on_line(self, line: str) -> None:
        if SECRET in line:
            self._findings.violation(self.name, "secrets: a line has a token", "")
        if line.startswith("~"):
            return
        if failed := FAILED_ROTATION.search(line):
            pause = int(failed[1])
            self._promised = pause / 1000 + START_DEADLINE + DRAIN
            if pause not in ROLLING_PAUSES:
                self.violation(f"delivery: a failed rotation has a pause that nobody described: {line}")
        # After SIGKILL a stop waits for 400 ms only, which a busy machine may need, and a jump of the clocks is over that.
        surprises = self._canary.lost - self._lost > 0.05 or time.time() < self._clouded_until + ANSWER
        if any(text in line for text in NEVER) and not surprises:
            self._findings.violation(self.name, f"end: a line that must not come: {line}", self.subject.transcript())
        if " ERROR " in line:
            self._findings.count("lines of severity error")

    def _run(self, look: Callable[[], None]) -> None:
        while not self._over.wait(PAUSE):
            try:
                look()
            except (ProcessLookupError, FileNotFoundError, KeyError):
                # The process ended in the middle of the look (a zombie has no RssAnon); the next one says so.
                continue
            except EmulatorError as error:
                self.violation(f"the soak's own emulator failed: {error}")

    # Time

    def clock(self, invariant: str) -> float:
        return self._clocks[invariant]

    def _is_held(self, invariant: str) -> bool:
        return self._holding[invariant] > 0 or time.monotonic() < self._held_until.get(invariant, 0.0)

    def _advance(self, passed: float) -> None:
        for invariant in self._clocks:
            if not self._is_held(invariant):
                self._clocks[invariant] += passed

    # Processes, and what the metadata server gave out

    def _look(self) -> None:
        self._lost, self._lost_before = self._lost_before, self._canary.lost
        self._advance(self._stopwatch.lap())
        if not self.subject.alive:
            self.violation(f"end: it ended by itself with {self.subject.process and self.subject.process.returncode}")
            return
        self._look_at_processes()
        if self.has_served and (process := find_process(self.subject.pid)):
            self._growth.look(process, self.clock("age"), self.rotations)
        self._look_at_secrets()
        self._read_the_servers_log()
        self._judge_delivery()
        if (idle := self.clock("refresh") - self._asked_at) > self._may_take:
            self.violation(f"refresh: no request for a token for {idle:.1f} s, where {self._may_take:.1f} s are the most")

    def children(self) -> list[Process]:
        return [one for one in self._scanner.children_of(self.subject.pid) if self.subject.is_child(one)]

    def _look_at_processes(self) -> None:
        processes = self._scanner.children_of(self.subject.pid)
        now = self.clock("processes")
        self._zombies = {one.pid: self._zombies.get(one.pid, now) for one in processes if one.state == "Z"}
        for pid, since in self._zombies.items():
            self._findings.measured("seconds: the oldest zombie", now - since)
            if now - since > ZOMBIE:
                self.violation(f"zombies: process {pid} has been one for {now - since:.1f} s")
        # The list was not made in one moment: the older ones may have ended before the newer ones began.
        children = self.children()
        if len(children) > 1:
            children = [one for one in children if self.subject.is_still(one)]
            children = [one for one in children if self.subject.is_still(one)] if len(children) > 1 else children
        if len(children) > (2 if self._mode == "rolling" else 1):
            self.violation(f"children: {[one.pid for one in children]} are there at once")
        if len(children) < 2:
            self._two_since = None
            return
        self._two_since = now if self._two_since is None else self._two_since
        self._findings.measured("seconds: two children in a rolling rotation", now - self._two_since)
        if now - self._two_since > TWO_CHILDREN:
            self.violation(f"children: there are two for {now - self._two_since:.1f} s")

    def _look_at_secrets(self) -> None:
        children = self._scanner.children_of(self.subject.pid) if self._mode == "in-place" else []
        for pid in [self.subject.pid, *(one.pid for one in children)]:
            for kind in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    if SECRET.encode() in Path(f"/proc/{pid}/{kind}").read_bytes():
                        self.violation(f"secrets: /proc/{pid}/{kind} has a token ({SECRET})")

    def _read_the_servers_log(self) -> None:
        for entry in self.subject.world.emulator.token_requests(self._since):
            self._asked_at = self.clock("refresh")
            if entry.finished is None and time.time() - entry.time < 2 * REQUEST:
                # It is read again until it is over.
                self.refresh_was_disturbed()
                break
            self._since = entry.number
            if not self._is_good(entry):
                self.refresh_was_disturbed()
                continue
            is_new = entry.token is not None and entry.token not in self._known
            if entry.token and is_new:
                self._known[entry.token] = Given(len(self._known), self.clock("delivery"))
            if entry.time < self._clouded_until:
                continue
            if not self._is_held("refresh"):
                self._may_take = self.subject.world.pace.refresh_interval + LOOKS
            if entry.token and is_new:
                self._waiting.append((entry.token, self.clock("delivery")))

    def _is_good(self, entry: MetadataRequest) -> bool:
        in_time = entry.finished is not None and entry.finished - entry.time < REQUEST - 1
        return entry.answer in GOOD and entry.status == 200 and not entry.client_left_early and in_time

    def _judge_delivery(self) -> None:
        if not self.has_served:
            # The first child gets the newest token when it is started, whatever it waits for until then.
            self._waiting = deque((token, self.clock("delivery")) for token, _ in self._waiting)
            return
        held = self._known[self.held_token].number if self.held_token in self._known else -1
        while self._waiting:
            token, since = self._waiting[0]
            late, most = self.clock("delivery") - since, DELIVERY[self._mode] + self._promised
            if late > most:
                self.violation(
                    f"delivery: the child has {self.held_token}, and not {token} of {late:.1f} s ago, "
                    f"where {most:.1f} s are the most"
                )
            if self._known[token].number > held:
                return
            self._findings.measured(f"seconds: until a token was the child's, {self._mode}", late)
            self._waiting.popleft()
        self._promised = 0.0

    def has_token_of_after(self, moment: float) -> bool:
        """Whether a token that was given out after this moment of the clock has become the child's."""
        given = self._known.get(self.held_token)
        return given is not None and given.at > moment

    # The child

    @property
    def has_answered(self) -> bool:
        """Whether it answered when it was asked last."""
        return self._answers

    def _ask_child(self) -> None:
        words = (self.subject.ask_child("/token") or "").split()
        self._answers = len(words) == 3
        if len(words) == 3 and words[1] != "none":
            self.held_token = words[1]
            self.has_served = True
            self._findings.count("answers of children")

    # Health

    def _ask_health(self) -> None:
        path = next(self._paths)
        stopwatch = Stopwatch(self._canary)
        fair = not self._is_held("health")
        try:
            answer = self.subject.health(path, timeout=2 * REQUEST)
        except (OSError, http.client.HTTPException) as error:
            if fair and not self._is_held("health") and self.has_served and self.subject.alive:
                self.violation(f"health: {path} was not answered: {error!r}")
            return
        took = stopwatch.lap()
        self._findings.count("health requests")
        if SECRET in answer.body:
            self.violation(f"secrets: {path} has a token ({SECRET})")
        if path == "/status":
            self._read_status(json.loads(answer.body))
        if not fair or self._is_held("health"):
            return
        self._findings.measured("seconds: an answer to a probe", took)
        if took > ANSWER:
            self.violation(f"health: {path} was answered after {took:.2f} s")
        expected = (200,) if path in ("/status", "/metrics") or (path == "/livez" and self.has_served) else (200, 503)
        if answer.status not in expected:
            self.violation(f"health: {path} was answered by {answer.status}: {answer.body.strip()}")

    def _read_status(self, status: dict) -> None:
        self._findings.count(f"rotations {self._mode}", status["rotations"] - self.rotations)
        self._findings.count(f"restarts {self._mode}", status["restarts"] - self.restarts)
        self.rotations, self.restarts = status["rotations"], status["restarts"]
