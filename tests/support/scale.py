"""docker/compose.scale.yaml, started for a test."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx

from compose import RUN_LIMIT, System, compose_project, containers_of, project_of
from containers import START_LIMIT
from log_lines import LogLine, parse_log_line
from supervisor import wait_until

# The metadata server gives out the same token until the test has the next one made. The refresh interval is so short that
# a new token is always due. The time that a drain takes on a busy machine is not what is tested.
OVERRIDE = """
services:
  api:
    environment: &patient
      SUPERVISOR_REFRESH_INTERVAL: 1s
      SUPERVISOR_STOP_TIMEOUT: 100s
    stop_grace_period: 120s
  services:
    environment: *patient
    stop_grace_period: 120s
  worker:
    volumes: ["{flow}:/app/flow.py:ro"]
"""
HANDED_OVER = "rotation: fresh token handed over in place"


@dataclass(frozen=True)
class ScaledSystem(System):
    """What `docker compose up` has started. `health` is the address of HAProxy's own page."""

    engine: docker.DockerClient

    def containers(self, service: str) -> list[Any]:
        """Those that run and those that have ended, in the order of their numbers."""
        return containers_of(self.engine, project_of(self.command), service)

    def rotate(self) -> str:
        token = self.emulator.rotate().hash
        for container in self.of_the_database():
            # As after a thaw, the supervisor looks at once whether a new token is due.
            container.kill(signal="CONT")
        wait_until(lambda: token in self.handed_over(), "the new token to be handed over", RUN_LIMIT, pause=0.5)
        return token

    def handed_over(self) -> list[str]:
        """The tokens that all servers have got."""
        of_each = [
            {line.fields["hash"] for line in log_of(container) if line.message == HANDED_OVER}
            for container in self.of_the_database()
        ]
        return sorted(set.intersection(*of_each))

    def of_the_database(self) -> list[Any]:
        """The containers that log in to the database and live on."""
        return [*self.containers("api"), *self.containers("services")]

    # HAProxy's view

    def servers(self) -> dict[str, dict[str, str]]:
        """The API servers whose address it knows, by the names in HAProxy's manual: status, check_status, stot..."""
        lines = httpx.get(f"{self.health}/;csv", timeout=30).raise_for_status().text.removeprefix("# ").splitlines()
        rows = [row for row in csv.DictReader(lines) if row["pxname"] == "api" and row["svname"] != "BACKEND"]
        return {row["svname"]: row for row in rows if not row["status"].startswith("MAINT")}

    def ready(self) -> list[str]:
        """Those that a check has found ready: before its first check, HAProxy takes every server as UP."""
        return [
            name for name, row in self.servers().items() if row["status"] == "UP" and row["check_status"] == "L7OK"
        ]

    def wait_for_ready(self, count: int) -> list[str]:
        def found() -> list[str] | None:
            with suppress(httpx.TransportError):
                ready = self.ready()
                return ready if len(ready) == count == len(self.servers()) else None
            return None

        return wait_until(found, f"{count} API servers to be ready, and no other to be there", START_LIMIT, pause=0.2)

    def wait_for_requests(self, more: int) -> None:
        """Until each API server that is ready has been sent this many more requests."""
        before = {name: int(row["stot"]) for name, row in self.servers().items()}

        def sent() -> bool:
            servers = self.servers()
            return all(int(servers[name]["stot"]) >= before.get(name, 0) + more for name in self.ready())

        wait_until(sent, f"{more} more requests for each API server", RUN_LIMIT, pause=0.2)


def log_of(container: Any) -> list[LogLine]:
    """The supervisor's own lines."""
    text = container.logs(stdout=True, stderr=True).decode(errors="replace")
    return [line for one in text.splitlines() if (line := parse_log_line(one))]


@contextmanager
def start_scaled_system(engine: docker.DockerClient, folder: Path, servers: int = 2) -> Iterator[ScaledSystem]:
    with compose_project(folder, "compose.scale.yaml", OVERRIDE, ("PREFECT_PORT", "BALANCER_PORT"), {}) as project:
        address = project.address
        it = ScaledSystem(
            project.command,
            project.environment,
            address["PREFECT_PORT"],
            address["BALANCER_PORT"],
            project.emulator,
            None,
            engine,
        )
        try:
            it.compose("up", "--detach", "--no-build", "--scale", f"api={servers}")
            it.wait_for_ready(servers)
            yield it
        except BaseException:
            # pytest shows it with the failure.
            subprocess.run([*it.command, "ps", "--all"], env=it.environment)
            subprocess.run([*it.command, "logs", "--no-color", "--tail", "60"], env=it.environment)
            raise
