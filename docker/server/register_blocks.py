"""Registers Prefect's blocks in the database, as a server does at its start (Prefect 3.9.1, prefect/server/api/server.py,
add_block_types), for servers that shall not do so: two of them at the same time collide. May be repeated."""

import asyncio

import prefect.plugins
from prefect.server.database import provide_database_interface
from prefect.server.models.block_registration import run_block_auto_registration


async def register() -> None:
    # Packages of the user may bring blocks of their own.
    prefect.plugins.load_prefect_collections()
    async with await provide_database_interface().session() as session:
        await run_block_auto_registration(session=session)


if __name__ == "__main__":
    asyncio.run(register())
    print("migrate: the database is up to date, and the blocks are registered", flush=True)
