"""Measures what one Prefect server and several behind HAProxy hold, in real containers: ./dev bench polling

Many workers ask for runs as Prefect's worker does, and the runs of a schedule go through their states with the requests of a
real run. After that, the same requests are sent without a pause, which shows the limit. Latencies are those of every
request; processor time and memory are those of each container, and of the supervisor in it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from scale_subjects import Subject, add_options, run

# Prefect 3.9.1: PREFECT_WORKER_QUERY_SECONDS and PREFECT_WORKER_HEARTBEAT_SECONDS.
_POLL_EVERY = 10.0
_HEARTBEAT_EVERY = 30.0
_DEPLOYMENTS = 10
# For the runs that are due at the end to be completed.
_SETTLE_LIMIT = 300.0
_SAMPLE_EVERY = 5.0
_AT_ONCE = 32
_SATURATION = 60.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Requests:
    took: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def percentile(self, part: float) -> float:
        return round(sorted(self.took)[int(len(self.took) * part)] * 1000, 1) if self.took else 0.0


@dataclass(frozen=True)
class Use:
    """Of one container, in the measured time."""

    cores: float
    memory_mib: float
    supervisor_cores: float
    supervisor_mib: float


@dataclass
class Result:
    subject: str
    phase: str
    seconds: float
    requests: int
    failed: dict[str, int]
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    runs_completed: int
    runs_late: int
    logins_per_minute: float
    logins_refused: int
    peak_connections: int
    use: dict[str, Use]


class Fleet:
    """Workers, and the runs that they take up."""

    LATE = 15.0  # as Prefect counts (PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS)

    def __init__(self, port: int) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=5.0)
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/api", timeout=60, trust_env=False, limits=limits
        )
        self.requests = Requests()
        self.completed: set[str] = set()
        self.late = 0
        self._taken: set[str] = set()
        self._deployments: list[dict[str, str]] = []
        self._pool = f"polling-{time.time_ns()}"
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, method: str, path: str, **body: Any) -> Any:
        begun = time.monotonic()
        try:
            answer = await self._client.request(method, path, **({"json": body.get("body", body)} if method != "GET" else {}))
            answer.raise_for_status()
            return answer.json() if answer.content else None
        except httpx.HTTPStatusError as error:
            self.requests.failed[f"answer {error.response.status_code}"] += 1
        except httpx.HTTPError as error:
            self.requests.failed[type(error).__name__] += 1
        finally:
            self.requests.took.append(time.monotonic() - begun)
        return None

    async def create(self, runs_a_minute: float) -> None:
        async def make(path: str, **fields: Any) -> Any:
            made = await self._client.post(path, json=fields)
            return made.raise_for_status().json()

        await make("/work_pools/", name=self._pool, type="process")
        flow = (await make("/flows/", name=self._pool))["id"]
        schedule = {"interval": 60 * _DEPLOYMENTS / runs_a_minute} if runs_a_minute else None
        for number in range(_DEPLOYMENTS):
            deployment = await make(
                "/deployments/",
                name=f"{self._pool}-{number}",
                flow_id=flow,
                work_pool_name=self._pool,
                schedules=[{"active": True, "schedule": schedule}] if schedule else [],
            )
            self._deployments.append(deployment)

    async def pause_schedules(self) -> None:
        for deployment in self._deployments:
            await self._client.post(f"/deployments/{deployment['id']}/pause_deployment")

    async def poll(self) -> None:
        body = {"scheduled_before": datetime.now(UTC).isoformat(), "limit": 50}
        for found in await self.ask("POST", f"/work_pools/{self._pool}/get_scheduled_flow_runs", **body) or []:
            run = found["flow_run"]
            if run["id"] not in self._taken:
                self._taken.add(run["id"])
                task = asyncio.create_task(self.run(run))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def heartbeat(self, name: str) -> None:
        body = {"name": name, "heartbeat_interval_seconds": _HEARTBEAT_EVERY}
        await self.ask("POST", f"/work_pools/{self._pool}/workers/heartbeat", **body)
        await self.ask("GET", f"/work_pools/{self._pool}")

    async def run(self, run: dict[str, Any]) -> None:
        """The requests of a real run that writes two lines to its log."""
        expected = datetime.fromisoformat(run["expected_start_time"]).timestamp()
        self.late += time.time() - expected > self.LATE
        set_state = f"/flow_runs/{run['id']}/set_state"
        await self.ask("GET", f"/deployments/{run['deployment_id']}")
        await self.ask("POST", set_state, state={"type": "PENDING"})
        await self.ask("GET", f"/flows/{run['flow_id']}")
        await self.ask("GET", f"/flow_runs/{run['id']}")
        await self.ask("POST", set_state, state={"type": "RUNNING"})
        line = {"name": "bench", "level": 20, "flow_run_id": run["id"], "timestamp": datetime.now(UTC).isoformat()}
        await self.ask("POST", "/logs/", body=[line | {"message": "begins"}, line | {"message": "ends"}])
        if (await self.ask("POST", set_state, state={"type": "COMPLETED"}) or {}).get("status") == "ACCEPT":
            self.completed.add(run["id"])

    async def worker(self, number: int, until: float) -> None:
        # Workers are not started in the same moment.
        await asyncio.sleep(number * _POLL_EVERY / 50 % _POLL_EVERY)
        beats = 0.0
        while time.monotonic() < until:
            if time.monotonic() >= beats:
                beats = time.monotonic() + _HEARTBEAT_EVERY
                await self.heartbeat(f"worker-{number}")
            await self.poll()
            await asyncio.sleep(_POLL_EVERY)

    async def settle(self) -> None:
        await self.pause_schedules()
        deadline = time.monotonic() + _SETTLE_LIMIT
        while self._running and time.monotonic() < deadline:
            await asyncio.sleep(0.5)

    async def without_pause(self, until: float) -> None:
        """The requests of runs that nobody scheduled, one after the other."""
        deployment = self._deployments[0]
        while time.monotonic() < until:
            await self.poll()
            run = await self.ask("POST", f"/deployments/{deployment['id']}/create_flow_run", state={"type": "PENDING"})
            if run:
                run["expected_start_time"] = datetime.now(UTC).isoformat()
                await self.run(run)

    async def close(self) -> None:
        await self._client.aclose()


class Sampler:
    """Samples the database's connections for as long as the block lasts, and the use of each container over it."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_connections = 0
        self.peak_memory: dict[str, float] = {}

    def __enter__(self) -> Sampler:
        self._begun, self._before = time.monotonic(), self._times()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        seconds, after = time.monotonic() - self._begun, self._times()
        self._over.set()
        self._thread.join()
        self.use = {
            name: Use(
                round((after[name][0] - total) / seconds, 3),
                self.peak_memory.get(name, 0.0),
                round((after[name][1] - own) / seconds, 5),
                self._supervisor_memory.get(name, 0.0),
            )
            for name, (total, own) in self._before.items()
            if name in after
        }

    def _watch(self) -> None:
        while True:
            rows = self._subject.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = 'prefect'")
            self.peak_connections = max(self.peak_connections, int(rows[0]) if rows else 0)
            for name, size in self._subject.memory().items():
                self.peak_memory[name] = max(self.peak_memory.get(name, 0.0), size)
            if self._over.wait(_SAMPLE_EVERY):
                return

    def _times(self) -> dict[str, tuple[float, float]]:
        """The processor seconds of each container and of the supervisor in it."""
        found: dict[str, tuple[float, float]] = {}
        self._supervisor_memory: dict[str, float] = {}
        for service in ("api", "server", "services", "redis", "database", "balancer"):
            for container in self._subject.containers(service):
                if container.status != "running":
                    continue
                name = container.name.removeprefix(f"{self._subject.project}_")
                total = container.stats(stream=False)["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
                first = Path("/proc", str(container.attrs["State"]["Pid"]))
                fields = (first / "stat").read_text().rpartition(")")[2].split()
                own = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
                found[name] = (total, own if service in ("api", "server", "services") else 0.0)
                if service in ("api", "server", "services"):
                    status = (first / "status").read_text()
                    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
                    self._supervisor_memory[name] = round(int(resident.split()[1]) / 1024, 1)
        return found


async def _measure(
    subject: Subject, phase: str, runs_a_minute: float, load: Callable[[Fleet], Awaitable[None]]
) -> Result:
    fleet = Fleet(subject.port)
    await fleet.create(runs_a_minute)
    emulator = subject.system.emulator
    logins = len(emulator.logins())
    refused = len(emulator.refused_logins())
    sampler = Sampler(subject)
    begun = time.monotonic()
    with sampler:
        await load(fleet)
        seconds = time.monotonic() - begun
    took = len(fleet.requests.took)
    result = Result(
        subject=subject.name,
        phase=phase,
        seconds=round(seconds, 1),
        requests=took,
        failed=dict(fleet.requests.failed),
        requests_per_second=round(took / seconds, 1),
        p50_ms=fleet.requests.percentile(0.5),
        p99_ms=fleet.requests.percentile(0.99),
        runs_completed=len(fleet.completed),
        runs_late=fleet.late,
        logins_per_minute=round((len(emulator.logins()) - logins) / seconds * 60, 1),
        logins_refused=len(emulator.refused_logins()) - refused,
        peak_connections=sampler.peak_connections,
        use=sampler.use,
    )
    with suppress(httpx.HTTPError):
        await fleet.close()
    return result


async def measure(subject: Subject, workers: int, runs: int, minutes: float) -> list[Result]:
    async def polling(fleet: Fleet) -> None:
        until = time.monotonic() + 60 * minutes
        await asyncio.gather(*(fleet.worker(number, until) for number in range(workers)))
        await fleet.settle()

    async def saturation(fleet: Fleet) -> None:
        until = time.monotonic() + _SATURATION
        await asyncio.gather(*(fleet.without_pause(until) for _ in range(_AT_ONCE)))

    return [
        await _measure(subject, f"{workers} workers, {runs} runs in {minutes:g} min", runs / minutes, polling),
        await _measure(subject, f"{_AT_ONCE} clients without a pause", 0.0, saturation),
    ]


def print_table(results: list[Result]) -> None:
    columns = ["servers", "load", "requests a second", "failed", "p50", "p99", "runs completed", "late", "logins a minute"]
    columns += ["logins refused", "connections at most"]
    print("| " + " | ".join(columns) + " |")
    print("| --- " * len(columns) + "|")
    for it in results:
        cells = [it.subject, it.phase, f"{it.requests_per_second:g}", f"{sum(it.failed.values())} of {it.requests:,}"]
        cells += [f"{it.p50_ms:g} ms", f"{it.p99_ms:g} ms", str(it.runs_completed), str(it.runs_late)]
        cells += [f"{it.logins_per_minute:g}", str(it.logins_refused), str(it.peak_connections)]
        print("| " + " | ".join(cells) + " |")
    print("\n| servers | load | container | cores | memory | supervisor's cores | supervisor's memory |")
    print("| --- " * 7 + "|")
    for it in results:
        for name, use in it.use.items():
            own = [f"{use.supervisor_cores:g}", f"{use.supervisor_mib:g} MiB"] if use.supervisor_mib else ["", ""]
            memory = f"{use.memory_mib:g} MiB" if use.memory_mib else ""
            print(f"| {it.subject} | {it.phase} | {name} | {use.cores:g} | {memory} | {own[0]} | {own[1]} |")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench polling", description=__doc__.partition(": ./dev")[0])
    add_options(parser)
    parser.add_argument("--workers", type=int, default=50, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="(default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    options = read_options()

    def measure_all(subject: Subject) -> list[Result]:
        print(f"bench: {subject.name} ...", file=sys.stderr, flush=True)
        return asyncio.run(measure(subject, options.workers, options.runs, options.minutes))

    return run(options, measure_all, print_table)


if __name__ == "__main__":
    sys.exit(main())
