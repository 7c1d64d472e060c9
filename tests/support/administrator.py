"""What PostgreSQL's superuser sees and does in the emulator's database, beside Cloud SQL's login."""

from __future__ import annotations

import asyncio

import asyncpg

from google_emulator.client import GoogleEmulator


def as_administrator(emulator: GoogleEmulator, statement: str) -> list[asyncpg.Record]:
    """The rows of the one statement."""

    async def fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(
            host=emulator.socket_directory, user="cloudsqladmin", database=emulator.database_name
        )
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    return asyncio.run(fetch())
