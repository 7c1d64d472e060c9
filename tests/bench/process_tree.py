"""The memory and the processor time of a process and of all processes that it started, sampled all the time."""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from background import Background
from process import MeasurementError

_EVERY = 0.1
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    at: float
    """Seconds since the epoch."""
    memory: int
    """Bytes: the sum of the proportional set sizes."""
    cpu: float
    """Seconds since the first process began; the processes that have ended are in it."""


def process_tree(root: int) -> list[int]:
    """The process and its descendants, each after its parent."""
    found = [root]
    for pid in found:
        # A process may end at any moment.
        with suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


class TreeSampler(Background):
    """Samples for as long as the block lasts. `pids` names the processes, parents first; `ended_cpu` is the processor
    time of earlier trees, which is in no living process's numbers."""

    def __init__(self, pids: Callable[[], list[int]], ended_cpu: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__()
        self._pids = pids
        self._ended_cpu = ended_cpu
        self.samples: list[Sample] = []

    def __enter__(self) -> TreeSampler:
        if not Path("/proc/thread-self/children").exists():
            raise MeasurementError("this kernel has no /proc/PID/task/TID/children, which tells a process's children")
        return super().__enter__()

    def _work(self) -> None:
        cpu = 0.0
        while True:
            earlier = self._ended_cpu()
            pids = self._pids()
            # The parents come first, so a child that is reaped meanwhile is missing once and never counted twice.
            cpu = max(cpu, earlier + sum(map(_cpu_of, pids)))
            self.samples.append(Sample(time.time(), sum(map(_memory_of, pids)), cpu))
            if self._over.wait(_EVERY):
                return


@dataclass(frozen=True)
class Usage:
    """What the samples say of a time, or of several."""

    samples: list[Sample]

    def peak(self, spans: list[tuple[float, float]]) -> int:
        return max((one.memory for one in self.samples if _is_in(one.at, spans)), default=0)

    def peak_without(self, spans: list[tuple[float, float]]) -> int:
        return max((one.memory for one in self.samples if not _is_in(one.at, spans)), default=0)

    def cpu_between(self, begin: float, end: float) -> float:
        return self._cpu_at(end) - self._cpu_at(begin)

    def cpu_rate_without(self, spans: list[tuple[float, float]]) -> float:
        """Seconds of processor time per second, outside of the spans."""
        first, last = self.samples[0].at, self.samples[-1].at
        cpu, seconds = self.cpu_between(first, last), last - first
        for begin, end in spans:
            cpu -= self.cpu_between(begin, end)
            seconds -= end - begin
        return cpu / seconds

    def _cpu_at(self, moment: float) -> float:
        """Between two samples it is taken to have grown evenly."""
        after = bisect_left(self.samples, moment, key=lambda one: one.at)
        if after == 0 or after == len(self.samples):
            return self.samples[min(after, len(self.samples) - 1)].cpu
        earlier, later = self.samples[after - 1], self.samples[after]
        return earlier.cpu + (later.cpu - earlier.cpu) * (moment - earlier.at) / (later.at - earlier.at)


def _is_in(moment: float, spans: list[tuple[float, float]]) -> bool:
    return any(begin <= moment <= end for begin, end in spans)


def _cpu_of(pid: int) -> float:
    """Its own time and that of the children that it has reaped."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS_PER_SECOND
    return 0.0


def _memory_of(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        try:
            found = re.search(r"^Pss: +(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
            return int(found[1]) * 1024 if found else 0
        except PermissionError:
            # Only root may look at a process that gives no core file, such as the supervisor, which shares nothing.
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
