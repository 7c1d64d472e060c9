"""A PostgreSQL that somebody else runs, in a container for instance. It runs on, with all that was made in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from google_emulator.postgres import (
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
        await self._once_it_is_up(self._make_roles)

    async def create_database(self, iam_user: str, database: str, schema: str | None) -> None:
        async def create() -> None:
            if database not in await self._run(["SELECT datname FROM pg_database"]):
                await create_database(self.socket_path, iam_user, database, schema)

        await self._once_it_is_up(create)

    async def wait(self) -> int:
        """Never returns: the end of this PostgreSQL does not end the emulator, which refuses logins meanwhile."""
        return await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        pass

    def last_words(self) -> str:
        return ""

    async def _make_roles(self) -> None:
        there = await self._run(["SELECT rolname FROM pg_roles"])
        await self._run(
            [f"CREATE ROLE {name} {options}" for name, options in CLOUD_SQL_ROLES.items() if name not in there]
        )

    async def _once_it_is_up(self, action: Callable[[], Awaitable[None]]) -> None:
        """A container's first start ends the server once more after it has answered, so that every step may fail."""
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                return await action()
            except (OSError, PostgresError) as error:
                if time.monotonic() > deadline:
                    raise PostgresError(
                        f"the PostgreSQL at {self.socket_path} was not usable within {START_LIMIT:g} s: {error}"
                    ) from None
            await asyncio.sleep(0.2)

    async def _run(self, statements: list[str]) -> list[str | None]:
        return await run_as(self.socket_path, SUPERUSER, "template1", statements)
