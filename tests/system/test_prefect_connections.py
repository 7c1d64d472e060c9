"""How many connections one Prefect server opens: the pool as it is set, and two more.

A small Cloud SQL instance takes 25 connections, and two servers run at once during a rollout. In Prefect 3.9.1 the two more
are one that listens for changed automations (prefect/server/utilities/postgres_listener.py, get_pg_notify_connection)
and one for the removal of old data (prefect/server/services/db_vacuum.py, _maintenance_database_config)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import asyncpg
import pytest

from prefect_load import PrefectLoad
from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor
from google_emulator.client import GoogleEmulator

POOL = 5
OUTSIDE_OF_THE_POOL = 2
ANSWERS = 300
COUNT = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = $1"


class Connections:
    """Counts the server's connections all the time."""

    def __init__(self, emulator: GoogleEmulator) -> None:
        self._emulator = emulator
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._count()))
        self.most = 0

    def __enter__(self) -> Connections:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    async def _count(self) -> None:
        connection = await asyncpg.connect(
            host=self._emulator.socket_directory, user="cloudsqladmin", database="postgres"
        )
        try:
            while not self._over.is_set():
                self.most = max(self.most, await connection.fetchval(COUNT, self._emulator.user))
                await asyncio.sleep(0.01)
        finally:
            await connection.close()


@pytest.mark.prefect
@pytest.mark.long
@pytest.mark.parametrize(
    "overflow",
    [
        pytest.param(0, id="bounded"),
        pytest.param(None, id="prefects-default", marks=pytest.mark.thorough("Prefect's own bound, with which nothing is set")),
    ],
)
def test_the_pools_settings_bound_the_servers_connections(
    overflow: int | None, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    settings = {"PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": str(POOL)}
    if overflow is not None:
        # Prefect's description of this setting gives -1 for no overflow. To SQLAlchemy, -1 is one without a limit.
        settings["PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW"] = str(overflow)
    with (
        GoogleEmulator(token_life="1h") as emulator,
        Connections(emulator) as connections,
        Supervisor(
            *("--rotation", "in-place"), emulator=emulator, environment=prefect_environment(tmp_path) | settings
        ) as supervisor,
    ):
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        # More questions at once than any pool here has connections.
        with PrefectLoad(supervisor.port, burst=24, burst_every=1.0) as load:
            load.wait_for_answers(ANSWERS, time.time(), limit=180)
    record_property("connections", {"overflow": overflow, "most": connections.most, "requests": len(load.requests)})
    assert load.failed == []
    if overflow is None:
        assert POOL + OUTSIDE_OF_THE_POOL < connections.most <= POOL + 10 + OUTSIDE_OF_THE_POOL
    else:
        assert connections.most <= POOL + overflow + OUTSIDE_OF_THE_POOL
