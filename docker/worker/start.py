"""Makes the work pool and the deployment, in this order and as often as it is started, then becomes the worker.

PREFECT_API_URL is required. WORK_POOL names the pool (default: cloud-run-pool).
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

import flow

LONGEST_PAUSE = 15.0


def say(text: str) -> None:
    print(f"worker: {text}", flush=True)


def pauses() -> Iterator[float]:
    """1, 2, 4, 8, 15, 15 ... s, each up to a fifth longer, so that many workers do not come back all at once."""
    pause = 1.0
    while True:
        yield pause * random.uniform(1.0, 1.2)
        pause = min(pause * 2, LONGEST_PAUSE)


def may_pass(error: Exception) -> bool:
    """Whether it is a matter of time: the server is not up yet, or the database behind it is not."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    # Prefect wraps what the transport raised.
    return isinstance(error, httpx.TransportError) or isinstance(error.__cause__, httpx.TransportError)


async def make_pool(name: str) -> None:
    async with get_client() as client:
        try:
            await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
            say(f"made the work pool {name}")
        except ObjectAlreadyExists:
            say(f"the work pool {name} is there")
        except (ValueError, httpx.HTTPStatusError) as error:
            # Prefect answers an unknown path with its UI's page or, since 3.9, with 404.
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code != 404:
                raise
            why = str(error).partition("\n")[0]
            sys.exit(f"worker: {os.environ['PREFECT_API_URL']} does not answer as Prefect's API does: {why}")


def prepare(work_pool: str) -> None:
    for pause in pauses():
        try:
            asyncio.run(make_pool(work_pool))
            # It fails without its pool, so it comes second.
            flow.deploy(work_pool)
            return
        except Exception as error:
            if not may_pass(error):
                raise
            why = str(error).partition("\n")[0] or type(error).__name__
            say(f"{os.environ['PREFECT_API_URL']} is not ready: {why}; next try in {pause:.0f} s")
            time.sleep(pause)


def main() -> None:
    if not os.environ.get("PREFECT_API_URL"):
        sys.exit("worker: PREFECT_API_URL is not set; it is the server's address with /api at its end")
    work_pool = os.environ.get("WORK_POOL") or "cloud-run-pool"
    prepare(work_pool)
    say("starting")
    os.execvp("prefect", ["prefect", "worker", "start", "--pool", work_pool, "--with-healthcheck"])


if __name__ == "__main__":
    main()
