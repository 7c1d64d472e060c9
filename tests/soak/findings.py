"""What a soak has counted and measured, and the first violation that it found."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque

HISTORY = 60


class Findings:
    def __init__(self, verbose: bool = False) -> None:
        self.over = threading.Event()
        """Set by the first violation, and when the time is over."""
        self.violations: list[str] = []
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.most: dict[str, float] = {}
        self._verbose = verbose
        self._start = time.monotonic()
        self._history: deque[str] = deque(maxlen=HISTORY)
        self._lock = threading.Lock()

    @property
    def age(self) -> float:
        return time.monotonic() - self._start

    def tell(self, who: str, text: str) -> None:
        """A line of the history, which a violation shows."""
        line = f"{self.age:9.2f} s  {who}: {text}"
        with self._lock:
            self._history.append(line)
        if self._verbose:
            print(line, flush=True)

    def fault(self, what: str) -> None:
        """One more of this kind has come."""
        with self._lock:
            self.faults[what] += 1

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def measured(self, what: str, value: float) -> None:
        """Only the greatest value is kept."""
        with self._lock:
            self.most[what] = max(value, self.most.get(what, value))

    def violation(self, who: str, text: str, transcript: str) -> None:
        with self._lock:
            self.violations.append(f"{self.age:9.2f} s  {who}: {text}")
            if len(self.violations) > 1:
                return
            history = "\n".join(self._history)
        print(f"VIOLATION  {self.violations[0]}\n\nthe last faults:\n{history}\n\nits log:\n{transcript}\n", flush=True)
        self.over.set()
