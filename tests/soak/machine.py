"""What a soak knows of the machine that it runs on: how much of the time was lost to others, and which processes there are."""

from __future__ import annotations

import threading
import time

from processes import Process, all_processes

_PAUSE = 0.02
# A process of the soak may be kept waiting longer than the canary was in the same time.
_CAUTION = 3.0


class Canary:
    """A thread that does nothing but sleep, and so measures for how long the machine keeps a process waiting."""

    def __init__(self) -> None:
        self.lost = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sleep, daemon=True)

    def __enter__(self) -> Canary:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sleep(self) -> None:
        last = time.monotonic()
        while not self._over.wait(_PAUSE):
            now = time.monotonic()
            # A few milliseconds more are usual.
            self.lost += max(0.0, now - last - 1.5 * _PAUSE)
            last = now


class Stopwatch:
    """Measures time that was there to be used: the time since the last lap, less what the machine took."""

    def __init__(self, canary: Canary) -> None:
        self._canary = canary
        self._time, self._lost = time.monotonic(), canary.lost

    def lap(self) -> float:
        now, lost = time.monotonic(), self._canary.lost
        passed = now - self._time - _CAUTION * (lost - self._lost)
        self._time, self._lost = now, lost
        return max(0.0, passed)


class Scanner:
    """Lists the processes of the machine again and again, once for all who want to know."""

    def __init__(self, pause: float = 0.2) -> None:
        self._pause = pause
        self._by_parent: dict[int, list[Process]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._scan, daemon=True)

    def __enter__(self) -> Scanner:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def children_of(self, pid: int) -> list[Process]:
        """As they were a moment ago; zombies are included."""
        return self._by_parent.get(pid, [])

    def _scan(self) -> None:
        while not self._over.wait(self._pause):
            by_parent: dict[int, list[Process]] = {}
            for process in all_processes():
                by_parent.setdefault(process.parent, []).append(process)
            self._by_parent = by_parent
