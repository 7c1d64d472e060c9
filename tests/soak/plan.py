"""What happens in a soak, decided by its seed alone: which fault, after which pause, for how long, of which kind.

Each supervisor of a soak has lanes, and each lane does one thing after another; the lanes of one supervisor overlap.
A lane draws its faults from a shuffled deck, so that each of them comes once before one comes again.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from metadata_failures import FAILURES

MODES = ("in-place", "restart", "rolling")

# How the metadata server fails, beside the answers of FAILURES, which a step of its script gives.
METADATA = {
    **{name: step for name, (step, _) in FAILURES.items()},
    "refused": {"answer": "refused"},
    "429 with Retry-After": {"status": 429, "retry_after": 3},
    "503 with Retry-After": {"status": 503, "retry_after": 2},
}

SIGNALS = [
    signal.Signals[f"SIG{name}"].value for name in "HUP QUIT USR1 USR2 WINCH CONT ALRM TSTP TTIN TTOU".split()
] + [signal.SIGRTMIN, signal.SIGRTMIN + 5, signal.SIGRTMAX]

# The faults of each lane of a supervisor that lasts for the whole soak. None of them may end it.
INSIDE = ("child frozen", "child slow", "child deaf", "forks fail", "tree stopped", "tree frozen", "signals", "probes", "orphans")
ROLLING_INSIDE = ("next child late", "next child ends", "next child never listens")
OUTSIDE = (
    *("metadata",) * 4,
    "wall clock forward",
    "wall clock back",
    "clocks jump",
    "password directory full",
    "password directory removed",
    "output blocked",
    "name server silent",
    "database gone",
)
# The freezes that make a child old enough for its next rotation, so that there is one every few seconds.
AGEING = ("clocks jump",)

# How an episode begins, and how it ends: what its supervisor must do then is in episodes.py.
STARTS = (
    *("plain",) * 6,
    "metadata late",
    "database late",
    "database silent at first",
    "output closed",
    "output without a reader",
)
# No child comes to serve.
STARTS_IN_VAIN = ("metadata never", "database never", "first fork fails")
ENDS = (
    "stop",
    "stop",
    "stop by INT",
    "stop twice",
    "stop while deaf",
    "stop while slow",
    "stop while frozen",
    "stop in a rotation",
    "child killed",
    "child ends",
    "supervisor killed",
    "forks go on to fail",
)


@dataclass(frozen=True)
class Planned:
    """One step of a lane. `seconds` is how long it lasts, `pause` how long the lane rests before it."""

    number: int
    what: str
    pause: float
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        details = "".join(f", {name} {value}" for name, value in self.details.items())
        return f"{self.what} (step {self.number}, {self.seconds} s after a pause of {self.pause} s{details})"


@dataclass(frozen=True)
class Episode:
    """The life of a supervisor that is started for it and ended in it."""

    number: int
    start: str
    faults: tuple[Planned, ...]
    end: str
    details: dict[str, Any]

    def __str__(self) -> str:
        details = "".join(f", {name} {value}" for name, value in self.details.items())
        return f"episode {self.number}: start {self.start}, end {self.end}{details}, {len(self.faults)} faults"


def deck(random: Random, cards: Sequence[str]) -> Iterator[str]:
    while True:
        yield from random.sample(cards, len(cards))


class Draw:
    """The random choices of one lane."""

    def __init__(self, seed: int, *lane: str) -> None:
        # A text seeds by its bytes, and not by its hash, which differs from run to run (random.seed).
        self.random = Random(" ".join([str(seed), *lane]))
        self._metadata = deck(self.random, list(METADATA))

    def seconds(self, least: float, most: float) -> float:
        return round(self.random.uniform(least, most), 2)

    def fault(self, number: int, what: str, pause: float, longest: float) -> Planned:
        seconds = self.seconds(0.5, longest)
        details: dict[str, Any] = {}
        match what:
            case "metadata":
                details["kind"] = next(self._metadata)
            case "wall clock forward" | "wall clock back":
                details["by"] = self.random.choice([1, 5, 30, 120, 3600, 7200, 86_400])
            case "clocks jump":
                details["by"] = self.random.randint(30, 45)
            case "signals":
                details["signals"] = [self.random.choice(SIGNALS) for _ in range(self.random.randint(5, 60))]
            case "probes":
                details["at once"] = self.random.randint(5, 60)
            case "orphans":
                details["count"] = self.random.randint(1, 30)
            case "child slow":
                details["answers after"] = self.seconds(0.2, 0.8)
                details["drains for"] = self.seconds(0.1, 1.5)
            case "next child late":
                details["listens after"] = self.seconds(0.5, 3.0)
            case "next child ends":
                details["code"] = self.random.randint(0, 9)
        return Planned(number, what, pause, seconds, details)


def lasting_lane(seed: int, mode: str, lane: str) -> Iterator[Planned]:
    """The steps of one lane of the supervisor that lasts; without end."""
    decks = {
        "inside": INSIDE + (ROLLING_INSIDE if mode == "rolling" else ()),
        "outside": OUTSIDE,
        "ageing": AGEING,
    }
    draw = Draw(seed, "lasting", mode, lane)
    for number, what in enumerate(deck(draw.random, decks[lane]), 1):
        pause = draw.seconds(3.0, 9.0) if lane == "ageing" else draw.seconds(0.2, 3.0)
        # A clock that is behind must hold up nothing, which shows only after a while.
        yield draw.fault(number, what, pause, longest=20.0 if what.startswith("wall clock") else 8.0)


def episodes(seed: int, mode: str) -> Iterator[Episode]:
    draw = Draw(seed, "episodes", mode)
    starts, ends = deck(draw.random, STARTS + STARTS_IN_VAIN), deck(draw.random, ENDS)
    faults = deck(draw.random, INSIDE + OUTSIDE)
    for number, start in enumerate(starts, 1):
        few, end = [], "by itself"
        if start not in STARTS_IN_VAIN:
            end = next(ends)
            few = [
                draw.fault(step, next(faults), draw.seconds(0.1, 1.0), longest=3.0)
                for step in range(1, draw.random.randint(0, 3) + 1)
            ]
        details = {
            "after": draw.seconds(0.0, 2.0),
            "late by": draw.seconds(0.5, 3.0),
            "code": draw.random.randint(0, 60),
            "signal": draw.random.choice([signal.SIGKILL.value, signal.SIGSEGV.value, signal.SIGABRT.value]),
        }
        yield Episode(number, start, tuple(few), end, details)
