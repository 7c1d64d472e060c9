"""The measurements. Each takes the candidates in turn, so that a busy moment hits all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from candidates import Bench, free_port
from process import MeasurementError, Memory, Process, Work
from readiness import HealthPage, Probes

# The supervisor never restarts its child within 30 s, so the rotations that are measured are this far apart.
_RESTART_INTERVAL = 31.0

_SUPERVISOR, _TINI, _TUTORIAL, _ALONE = "supervisor", "tini", "tutorial", "alone"


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    starts: int
    starts_of_tutorial: int
    idle_seconds: float
    handovers: int
    restarting: int
    restarts_of_each: int
    signals: int
    orphans: int
    orphan_rounds: int


FULL = Plan(
    starts=300,
    starts_of_tutorial=20,
    idle_seconds=60.0,
    handovers=60,
    restarting=20,
    restarts_of_each=2,
    signals=1000,
    orphans=2000,
    orphan_rounds=7,
)
QUICK = Plan(
    starts=60,
    starts_of_tutorial=5,
    idle_seconds=20.0,
    handovers=30,
    restarting=12,
    restarts_of_each=1,
    signals=1000,
    orphans=2000,
    orphan_rounds=3,
)

Samples = dict[str, list[float]]


# Size


@dataclass(frozen=True)
class Size:
    stripped: int
    as_built: int


def size_of(program: Path, folder: Path) -> Size:
    copy = folder / "stripped"
    result = subprocess.run(["strip", "-o", copy, program], capture_output=True, text=True)
    if result.returncode != 0:
        raise MeasurementError(f"can't strip {program}: {result.stderr.strip()}")
    return Size(copy.stat().st_size, program.stat().st_size)


# Start


@dataclass
class Starts:
    """Milliseconds from a candidate's exec to its child's first instruction, and those of a fetch alone."""

    without_token: Samples = field(default_factory=dict)
    with_token: Samples = field(default_factory=dict)
    fetch: list[float] = field(default_factory=list)


def starts(bench: Bench, plan: Plan, metadata: str) -> Starts:
    host, _, port = metadata.rpartition(":")
    found = Starts()
    token_options = ("--health-address", "off", "--ready-url", "off")
    for turn in range(plan.starts):
        _sample(found.without_token, _ALONE, lambda: bench.alone("start"))
        _sample(found.without_token, _SUPERVISOR, lambda: bench.plain_init("start"))
        if bench.tini:
            _sample(found.without_token, _TINI, lambda: bench.tini_init("start"))
        found.fetch.append(_one_report(bench.fetch(host, port), "fetch") / 1e6)
        _sample(found.with_token, _SUPERVISOR, lambda: bench.with_token("start", *token_options))
        if bench.script and turn % (plan.starts // plan.starts_of_tutorial) == 0:
            _sample(found.with_token, _TUTORIAL, lambda: bench.tutorial("start"))
    return found


def _sample(samples: Samples, candidate: str, start: Callable[[], Process]) -> None:
    samples.setdefault(candidate, []).append(_one_report(start(), "start") / 1e6)


def _one_report(process: Process, name: str) -> int:
    with process:
        process.wait()
        reports = process.reports(name)
        if len(reports) != 1:
            raise MeasurementError(f"{process.said()} made {len(reports)} reports of '{name}', not 1")
        return reports[0]


# Long runs: memory, idle work, restarts. They mostly sleep, so they run beside each other.


@dataclass(frozen=True)
class Idle:
    """Per minute."""

    cpu_seconds: float
    wake_ups: float
    memory: Memory


@dataclass
class LongRuns:
    idle: dict[str, Idle] = field(default_factory=dict)
    idle_probed: Idle | None = None
    after_handovers: Memory | None = None
    probes_answered: int = 0
    after_restarts: list[Memory] = field(default_factory=list)
    # Milliseconds from the old child's last act before its exit to the new one's first instruction.
    restarts: list[float] = field(default_factory=list)


def long_runs(bench: Bench, plan: Plan) -> LongRuns:
    found = LongRuns()
    with ExitStack() as stack:
        page = stack.enter_context(HealthPage())
        prefect_port = str(page.port)
        question = f"http://127.0.0.1:{prefect_port}/api/health"

        def token(*options: str) -> Process:
            # The page answers in place of the child, so PORT, on which nobody may listen before the child, is another one.
            options = (*options, "--ready-url", question)
            return stack.enter_context(bench.with_token("wait", *options, PORT=str(free_port())))

        def health() -> tuple[int, str, str]:
            port = free_port()
            return port, "--health-address", f"127.0.0.1:{port}"

        quiet = token(*health()[1:])
        probed_port, *probed_options = health()
        probed = token(*probed_options)
        rotating_port, *rotating_options = health()
        rotating = token(*rotating_options, "--rotation", "in-place", "--refresh-interval", "1s")
        idlers = {_SUPERVISOR: quiet}
        if bench.tini:
            idlers[_TINI] = stack.enter_context(bench.tini_init("wait"))
        if bench.script:
            idlers[_TUTORIAL] = stack.enter_context(bench.tutorial("wait", PORT=prefect_port))
        for process in [*idlers.values(), probed, rotating]:
            process.await_reports("start-at", 1)
        restarting = _start_restarting(token, plan)

        # Started after the restarting ones, whose start is the busiest moment.
        for process in (quiet, probed):
            process.await_log("child: ready", 1, 10)
        probes = stack.enter_context(Probes(rotating_port, "/status", 1.0))
        stack.enter_context(Probes(probed_port, "/readyz", 10.0))
        time.sleep(1)
        found.idle, found.idle_probed = _idle(idlers, probed, plan.idle_seconds)

        rotating.await_log("handed over in place", plan.handovers, plan.handovers + 30)
        found.after_handovers = rotating.memory()
        found.probes_answered = probes.answered
        for process in restarting:
            needed = 1 + plan.restarts_of_each
            process.await_reports("start-at", needed, plan.restarts_of_each * _RESTART_INTERVAL + 30)
            found.after_restarts.append(process.memory())
            process.stop()
            ends, next_starts = process.reports("end-at"), process.reports("start-at")[1:]
            found.restarts += [(start - end) / 1e6 for end, start in zip(ends, next_starts)]
    return found


def _start_restarting(token: Callable[..., Process], plan: Plan) -> list[Process]:
    restarting = []
    for _ in range(plan.restarting):
        interval = f"{_RESTART_INTERVAL:g}s"
        restarting.append(token("--health-address", "off", "--refresh-interval", interval))
        # Apart from each other, so that no two of them restart at the same moment.
        time.sleep(0.15)
    return restarting


def _idle(idlers: dict[str, Process], probed: Process, seconds: float) -> tuple[dict[str, Idle], Idle]:
    everyone = {**idlers, "probed": probed}
    before = {name: process.work() for name, process in everyone.items()}
    began = time.monotonic()
    time.sleep(seconds)
    per_minute = 60 / (time.monotonic() - began)
    found = {name: _per_minute(before[name], process, per_minute) for name, process in everyone.items()}
    return {name: found[name] for name in idlers}, found["probed"]


def _per_minute(before: Work, process: Process, factor: float) -> Idle:
    after = process.work()
    return Idle(
        (after.cpu_seconds - before.cpu_seconds) * factor,
        (after.wake_ups - before.wake_ups) * factor,
        process.memory(),
    )


# Signals


def signal_latency(bench: Bench, plan: Plan) -> Samples:
    """Microseconds from kill(2) to the child's handler."""
    found: Samples = {}
    block = 100
    with ExitStack() as stack:
        candidates = {_ALONE: stack.enter_context(bench.alone("signals"))}
        candidates[_SUPERVISOR] = stack.enter_context(bench.plain_init("signals"))
        if bench.tini:
            candidates[_TINI] = stack.enter_context(bench.tini_init("signals"))
        for process in candidates.values():
            process.await_reports("start-at", 1)
        for sent in range(0, plan.signals, block):
            for name, process in candidates.items():
                samples = found.setdefault(name, [])
                for number in range(sent, min(sent + block, plan.signals)):
                    before = time.monotonic_ns()
                    process.signal(signal.SIGUSR1)
                    handled = process.await_reports("signal-at", number + 1)[number]
                    samples.append((handled - before) / 1e3)
                    time.sleep(0.001)
    return found


# Orphans


def orphans(bench: Bench, plan: Plan) -> Samples:
    """Milliseconds from the release of many orphans to the moment when none is left, dead ones included."""
    found: Samples = {}
    count = str(plan.orphans)
    for _ in range(plan.orphan_rounds):
        candidates = {
            _ALONE: lambda: bench.alone("orphans", BENCH_ORPHANS=count, BENCH_REAP_SELF="1"),
            _SUPERVISOR: lambda: bench.plain_init("orphans", BENCH_ORPHANS=count),
        }
        if bench.tini:
            candidates[_TINI] = lambda: bench.tini_init("orphans", BENCH_ORPHANS=count)
        for name, start in candidates.items():
            found.setdefault(name, []).append(_one_report(start(), "orphans") / 1e6)
    return found


def load() -> str:
    return " ".join(f"{average:.2f}" for average in os.getloadavg())
