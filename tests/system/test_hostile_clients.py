"""A crowd of hostile clients of the health port neither keeps honest ones from their answers nor the supervisor from its
work."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPException
from statistics import quantiles
from typing import Any

import pytest

import hostile_clients
from children import child
from processes import children_of
from supervisor import LIMIT, Supervisor, wait_until
from google_emulator.client import GoogleEmulator

CONNECTIONS = 10_000
AT_ONCE = 820
PROBES = 300
FRESH = "token: fresh one in hand"


@contextlib.contextmanager
def hostile_crowd(port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, hostile_clients.__file__, str(port), str(CONNECTIONS), str(AT_ONCE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
        try:
            yield crowd
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                crowd.communicate("", timeout=LIMIT)
            crowd.kill()


def count_of(message: str, supervisor: Supervisor) -> int:
    return supervisor.messages().count(message)


class Probes:
    """One prober that opens a connection for each question, as Cloud Run's and Kubernetes' do."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.answers: Counter[str] = Counter()
        self.durations: list[float] = []

    def ask(self) -> None:
        begun = time.monotonic()
        try:
            self.answers[str(self._supervisor.health("/livez", timeout=LIMIT).status)] += 1
        except (OSError, HTTPException) as error:
            self.answers[repr(error)] += 1
        self.durations.append(time.monotonic() - begun)

    def summary(self) -> dict[str, Any]:
        percentiles = quantiles(self.durations, n=100)
        return {"answers": dict(self.answers), "p50_ms": percentiles[49] * 1000, "p99_ms": percentiles[98] * 1000}


@pytest.mark.long
def test_ten_thousand_hostile_connections_cost_no_honest_probe_its_answer_and_stop_no_rotation(
    tokens: GoogleEmulator, record_property: Callable[[str, object], None]
) -> None:
    with Supervisor(
        *("--rotation", "in-place", "--refresh-interval", "2s", "--db-wait", "off"),
        command=child("makes_orphans_for_ever"),
        emulator=tokens,
    ) as supervisor:
        supervisor.wait_for_health("/livez")
        probes = Probes(supervisor)
        with hostile_crowd(supervisor.health_port) as crowd:
            assert crowd.stdout
            assert crowd.stdout.readline() == "done\n"
            made, rotated = supervisor.output.count("made"), count_of(FRESH, supervisor)
            for _ in range(PROBES):
                probes.ask()
            supervisor.wait_for_log(FRESH, count=rotated + 2)
            supervisor.wait_for_output("made", count=made + 2)
            wait_until(
                lambda: all(found.state != "Z" for found in children_of(supervisor.pid)), "the orphans to be reaped"
            )
        record_property("hostile clients", probes.summary())
        assert probes.answers == {"200": PROBES}
        assert supervisor.stop() == 143


def test_connections_leave_the_supervisor_the_descriptors_that_it_needs(tokens: GoogleEmulator) -> None:
    """Half of the descriptors are for the clients, so that tokens are fetched and orphans are reaped with the others."""
    with Supervisor(
        *("--rotation", "in-place", "--refresh-interval", "2s", "--db-wait", "off"),
        command=["sleep", "600"],
        emulator=tokens,
        through=["sh", "-c", 'ulimit -Sn 80; exec "$@"', "sh"],
    ) as supervisor:
        supervisor.wait_for_health("/livez")
        with hostile_crowd(supervisor.health_port) as crowd:
            assert crowd.stdout
            assert crowd.stdout.readline() == "done\n"
            supervisor.wait_for_log(FRESH, count=count_of(FRESH, supervisor) + 2)
            assert {line.severity for line in supervisor.log} == {"INFO"}
        assert supervisor.stop() == 143
