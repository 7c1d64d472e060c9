"""What the benchmark of several servers does to them all the time: requests, events, and runs that a schedule makes.

Requests are never repeated. An event that was not accepted is sent no second time, and one that was accepted must be in the
database at the end. A run is taken up by a poller that asks for due runs as a worker does, and must be completed at
the end; what it costs is the time from the moment at which it was due.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import httpx

from prefect_load import PrefectLoad
from supervisor import wait_until

EVENT = "bench.tick"
EVENTS_EVERY = 0.2
RUNS_EVERY = 2
POLL_EVERY = 0.5
# A run that is taken up later than that counts as late. Prefect itself marks it after 15 s
# (PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS).
LATE = 15.0
# For everything that was accepted to be stored and completed after the load has ended.
SETTLE_LIMIT = 300.0


@dataclass
class Figures:
    requests: int = 0
    failed: int = 0
    failed_how: dict[str, int] = field(default_factory=dict)
    slowest_seconds: float = 0.0
    median_ms: float = 0.0
    p99_ms: float = 0.0
    events_accepted: int = 0
    events_refused: int = 0
    events_lost: int = 0
    runs_due: int = 0
    runs_late: int = 0
    runs_lost: int = 0
    latest_run_seconds: float = 0.0


class Everything:
    """All of the load on `port`, for as long as the block lasts. `rows` answers a statement of SQL with its lines."""

    def __init__(self, port: int, rows: Callable[[str], list[str]]) -> None:
        self._rows = rows
        self._api = httpx.Client(base_url=f"http://127.0.0.1:{port}/api", timeout=45, trust_env=False)
        self._requests = PrefectLoad(port)
        self._ended = threading.Event()
        self._accepted: set[str] = set()
        self._refused = 0
        self._taken: dict[str, float] = {}
        self._completed: set[str] = set()

    def __enter__(self) -> Self:
        self._begin()
        self._pool = ThreadPoolExecutor(2)
        self._threads = [self._pool.submit(self._send_events), self._pool.submit(self._work)]
        self._requests.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._until = datetime.now(UTC)
        self._requests.__exit__(kind, error, trace)
        if kind is None:
            with suppress(TimeoutError):
                wait_until(self._settled, "all that was accepted to be stored and completed", SETTLE_LIMIT, pause=1.0)
        self._ended.set()
        self._pool.shutdown()
        self._api.close()
        if kind is None:
            for thread in self._threads:
                thread.result()

    def figures(self) -> Figures:
        found = Figures()
        requests = self._requests.requests
        took = sorted(one.finished - one.started for one in requests)
        found.requests, found.failed = len(requests), len(self._requests.failed)
        found.failed_how = self._requests.summary()["failed_how"]  # type: ignore[assignment]
        found.slowest_seconds = round(took[-1], 3)
        found.median_ms = round(took[len(took) // 2] * 1000, 1)
        found.p99_ms = round(took[len(took) * 99 // 100] * 1000, 1)
        found.events_accepted, found.events_refused = len(self._accepted), self._refused
        found.events_lost = len(self._missing_events())
        due = self._due()
        late = [self._taken[run] for run in due if run in self._taken]
        found.runs_due = len(due)
        found.runs_lost = len(due - self._completed)
        found.runs_late = sum(delay > LATE for delay in late)
        found.latest_run_seconds = round(max(late, default=0.0), 1)
        return found

    def _settled(self) -> bool:
        return not self._missing_events() and self._due() <= self._completed

    # Events

    def _send_events(self) -> None:
        while not self._ended.is_set() and not hasattr(self, "_until"):
            event = {
                "id": str(uuid.uuid4()),
                "occurred": datetime.now(UTC).isoformat(),
                "event": EVENT,
                "resource": {"prefect.resource.id": "bench"},
            }
            try:
                self._api.post("/events", json=[event]).raise_for_status()
                self._accepted.add(event["id"])
            except httpx.HTTPError:
                self._refused += 1
            self._ended.wait(EVENTS_EVERY)

    def _missing_events(self) -> set[str]:
        return set(self._accepted) - set(self._rows(f"SELECT id FROM events WHERE event = '{EVENT}'"))

    # Runs

    def _begin(self) -> None:
        def create(path: str, **fields: Any) -> str:
            return self._api.post(path, json=fields).raise_for_status().json()["id"]

        self._pool_name = f"bench-{uuid.uuid4().hex[:8]}"
        create("/work_pools/", name=self._pool_name, type="process")
        schedule = {"active": True, "schedule": {"interval": RUNS_EVERY}}
        self._deployment = create(
            "/deployments/",
            name=self._pool_name,
            flow_id=create("/flows/", name="bench"),
            work_pool_name=self._pool_name,
            schedules=[schedule],
        )
        of_deployment = f"SELECT id FROM flow_run WHERE deployment_id = '{self._deployment}'"
        wait_until(lambda: self._rows(of_deployment), "the first scheduled runs", SETTLE_LIMIT, pause=0.5)
        self._since = datetime.now(UTC)

    def _due(self) -> set[str]:
        """The runs that a schedule without a gap has in this time are those that the scheduler made, and those that it
        did not make: the latter count as lost by a name of their own."""
        made = self._rows(
            f"SELECT id || ' ' || extract(epoch FROM expected_start_time) FROM flow_run "
            f"WHERE deployment_id = '{self._deployment}' AND expected_start_time >= '{self._since.isoformat()}' "
            f"AND expected_start_time < '{self._until.isoformat()}'"
        )
        at = {round(float(row.split()[1])): row.split()[0] for row in made}
        first = min(at, default=0)
        wanted = range(first, int(self._until.timestamp()), RUNS_EVERY) if at else ()
        return {at.get(moment, f"never made, due at {moment}") for moment in wanted}

    def _work(self) -> None:
        while not self._ended.wait(POLL_EVERY):
            with suppress(httpx.HTTPError):
                for run in self._due_by_the_api():
                    self._run(run)

    def _due_by_the_api(self) -> list[dict[str, Any]]:
        body = {"scheduled_before": datetime.now(UTC).isoformat(), "limit": 50}
        answer = self._api.post(f"/work_pools/{self._pool_name}/get_scheduled_flow_runs", json=body)
        return [one["flow_run"] for one in answer.raise_for_status().json()]

    def _run(self, run: dict[str, Any]) -> None:
        expected = datetime.fromisoformat(run["expected_start_time"]).timestamp()
        # A state that was not accepted leaves the run where it is, and it comes again at the next poll, or, once it is
        # Pending, is continued here.
        for state in ("PENDING", "RUNNING", "COMPLETED"):
            for _ in range(100):
                try:
                    self._api.post(f"/flow_runs/{run['id']}/set_state", json={"state": {"type": state}}).raise_for_status()
                    break
                except httpx.HTTPError:
                    if state == "PENDING" or self._ended.wait(POLL_EVERY):
                        return
            if state == "PENDING":
                self._taken.setdefault(run["id"], time.time() - expected)
        self._completed.add(run["id"])
