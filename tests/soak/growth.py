"""Whether a supervisor's memory and its descriptors grow, judged by the least values in one window after another: requests
in flight, and threads that wait for a name, come and go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from findings import Findings
from processes import Process

WINDOW = 30.0
GROWTH_KB, OVER_ROTATIONS = 200, 1000
# The heap takes its size in the first minutes, until each fault has come with its largest burst.
WARM_UP, WARM_UP_GROWTH_KB = 420.0, 1000
DESCRIPTORS = 2


class Growth:
    def __init__(self, name: str, findings: Findings, violation: Callable[[str], None]) -> None:
        self._name, self._findings, self._violation = name, findings, violation
        self._kind = name.partition(" episode")[0] + (" episodes" if "episode" in name else "")
        self._since = 0.0
        self._least: tuple[int, int] | None = None
        """In this window: kB of RssAnon, and descriptors."""
        self._first: tuple[int, int] | None = None
        self._windows: deque[tuple[int, int]] = deque()
        """After the first minutes: the rotations until then, and the kB."""

    def look(self, process: Process, age: float, rotations: int) -> None:
        """`age` is that of the supervisor, as the machine gave it time."""
        kilobytes = int(process.status["RssAnon"].split()[0])
        descriptors = len(list((process.directory / "fd").iterdir()))
        self._findings.measured(f"descriptors, {self._kind}", descriptors)
        least = self._least or (kilobytes, descriptors)
        self._least = min(least[0], kilobytes), min(least[1], descriptors)
        if age - self._since >= WINDOW:
            self._judge(*self._least, age, rotations)
            self._least, self._since = None, age

    def _judge(self, kilobytes: int, descriptors: int, age: float, rotations: int) -> None:
        window = f"{rotations} rotations, at least {kilobytes} kB of RssAnon and {descriptors} descriptors"
        self._findings.tell(self._name, f"the last {WINDOW:g} s: {window}")
        self._findings.measured(f"kB: RssAnon, {self._kind}", kilobytes)
        self._first = self._first or (kilobytes, descriptors)
        if descriptors > self._first[1] + DESCRIPTORS:
            self._violation(f"descriptors: at least {descriptors} for {WINDOW:g} s, and {self._first[1]} at first")
        if age < WARM_UP:
            if (growth := kilobytes - self._first[0]) > WARM_UP_GROWTH_KB:
                self._violation(f"memory: RssAnon grew by {growth} kB in {age:.0f} s")
            return
        self._windows.append((rotations, kilobytes))
        while len(self._windows) > 1 and self._windows[1][0] <= rotations - OVER_ROTATIONS:
            self._windows.popleft()
        before, least = self._windows[0]
        growth = kilobytes - least
        self._findings.measured(f"kB: growth of RssAnon over {OVER_ROTATIONS} rotations or less, {self._kind}", growth)
        if growth >= GROWTH_KB:
            self._violation(f"memory: RssAnon grew by {growth} kB over {rotations - before} rotations")
