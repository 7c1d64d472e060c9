"""The roles of the server's image with real Prefect: the migration once, two API servers at the same moment, the services.

Redis and PostgreSQL are real, and all processes log in to the database with the emulator's tokens.
"""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from signal import SIGTERM
from typing import Any

import httpx
import pytest

from administrator import as_administrator
from google_emulator.client import GoogleEmulator
from prefect_server import START_LIMIT, prefect_environment
from redis_server import RedisServer
from scheduled_runs import SCHEDULE_LIMIT, deploy_hourly, wait_for_runs
from server_image import RoleSupervisor, lay_out
from supervisor import wait_until

# What a background service says at its start at the level DEBUG. On a slow machine the reactive triggers of Prefect 3.9.1 were seen
# not to start at all, in silence; the others do.
A_SERVICE_STARTED = "Event persister started"


@pytest.mark.prefect
@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("prefect_redis") is None, reason="prefect-redis is not among this version's packages"
)
def test_a_fresh_database_is_migrated_once_and_then_shared_by_two_api_servers_and_the_services(tmp_path: Path) -> None:
    """Two servers that start together on a fresh database, each as a whole, collide: one ends with `duplicate key value
    violates unique constraint "uq_block_type__slug"`."""
    image = lay_out(tmp_path / "image")
    numbers = iter(range(10))

    def part(*arguments: str, **options: Any) -> RoleSupervisor:
        # Each is a container with files of its own.
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        environment = options.pop("environment", {}) | prefect_environment(folder)
        return RoleSupervisor(image, *arguments, emulator=emulator, environment=environment, **options)

    with GoogleEmulator(token_life="1h") as emulator, RedisServer(tmp_path, password="secret") as redis:
        for _ in ("at first", "again, which changes nothing"):
            with part(role="migrate") as migration:
                assert migration.wait(START_LIMIT) == 0, migration.transcript()
            blocks = as_administrator(emulator, "SELECT slug FROM block_type ORDER BY slug")
            assert "secret" in [row["slug"] for row in blocks]

        shared = redis.environment() | {"PREFECT_SERVER_LOGGING_LEVEL": "DEBUG"}
        with contextlib.ExitStack() as stack:
            servers = [
                stack.enter_context(part(*arguments, role="api", environment=shared))
                for arguments in ([], ["--rotation", "rolling"])
            ]
            services = stack.enter_context(part(role="services", environment=shared))
            for server in servers:
                server.wait_for_health("/readyz", timeout=START_LIMIT)
            first, second = (
                stack.enter_context(
                    httpx.Client(base_url=f"http://127.0.0.1:{server.port}/api", timeout=45, trust_env=False)
                )
                for server in servers
            )

            wait_for_runs(second, deploy_hourly(first))
            # An event comes in at one server and is stored by the services, which learn of it by Redis.
            event = {
                "occurred": "2026-01-01T00:00:00Z",
                "event": "somebody.did-something",
                "resource": {"prefect.resource.id": "somebody"},
                "id": "11111111-1111-4111-8111-111111111111",
            }
            first.post("/events", json=[event]).raise_for_status()
            wait_until(
                lambda: as_administrator(emulator, f"SELECT id FROM events WHERE id = '{event['id']}'"),
                "the event in the database",
                SCHEDULE_LIMIT,
                pause=0.5,
            )

            assert as_administrator(emulator, "SELECT slug FROM block_type ORDER BY slug") == blocks
            services.wait_for_health("/readyz")
            wait_until(
                lambda: [line for line in services.errors if A_SERVICE_STARTED in line], "the services to start", pause=0.5
            )
            for server in servers:
                assert not [line for line in server.errors if A_SERVICE_STARTED in line]
            assert emulator.refused_logins() == []
            for one in (*servers, services):
                assert one.stop() == 128 + SIGTERM
