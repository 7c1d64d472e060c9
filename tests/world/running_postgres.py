"""A PostgreSQL that somebody else runs, such as a container's. It stays, with what was made in it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from world import pg_wire
from world.postgres import (
    CLOUD_SQL_ROLES,
    START_LIMIT,
    SUPERUSER,
    PostgresError,
    create_database,
    run_as,
    socket_in,
)


class RunningPostgres:
    """Reached by its socket, where it must trust the superuser."""

    pid = None

    def __init__(self, socket_directory: Path) -> None:
        self.socket_directory = str(socket_directory)
        self.socket_path = str(socket_in(socket_directory))

    async def start(self) -> None:
        """Waits for it, and makes the roles that Cloud SQL has."""
        try:
            async with asyncio.timeout(START_LIMIT):
                while not await self._answers():
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise PostgresError(
                f"no PostgreSQL with a superuser {SUPERUSER} answered at {self.socket_path} within {START_LIMIT:g} s"
            ) from None
        there = await self._column("SELECT rolname FROM pg_roles")
        await self._run(
            [f"CREATE ROLE {name} {options}" for name, options in CLOUD_SQL_ROLES.items() if name not in there]
        )

    async def create_database(self, iam_user: str, database: str, schema: str | None) -> None:
        if database not in await self._column("SELECT datname FROM pg_database"):
            await create_database(self.socket_path, iam_user, database, schema)

    async def wait(self) -> int:
        """Its end is not ours: logins are refused while it is away."""
        return await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        pass

    def last_words(self) -> str:
        return ""

    async def _answers(self) -> bool:
        with suppress(OSError, pg_wire.ServerError, pg_wire.ProtocolError):
            await pg_wire.run_sql(self.socket_path, SUPERUSER, "template1", ["SELECT 1"])
            return True
        return False

    async def _column(self, query: str) -> list[str | None]:
        return await self._run([query])

    async def _run(self, statements: list[str]) -> list[str | None]:
        return await run_as(self.socket_path, SUPERUSER, "template1", statements)
