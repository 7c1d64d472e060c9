"""Makes the work pool and the deployment, in this order and as often as it is started, then becomes the worker.

PREFECT_API_URL is required. WORK_POOL names the pool (default: cloud-run-pool). PREFECT_API_AUTH_STRING is the server's
password, if it has one. ACCESS_WAIT is the number of seconds for which 401 and 403 are taken for access that has not
arrived yet (default: 600).
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
# Google gives 2 minutes as usual and 7 or more as possible until a change of access counts everywhere
# (docs.cloud.google.com/iam/docs/access-change-propagation), and a new password reaches the server by a new revision.
ACCESS_WAIT = 600


def say(text: str) -> None:
    print(f"worker: {text}", flush=True)


def pauses() -> Iterator[float]:
    """1, 2, 4, 8, 15, 15 ... s, each up to a fifth longer, so that many workers do not come back all at once."""
    pause = 1.0
    while True:
        yield pause * random.uniform(1.0, 1.2)
        pause = min(pause * 2, LONGEST_PAUSE)


class Access:
    """The patience with a server that refuses this worker: one line when the wait begins, and one when it ends."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._refused_since: float | None = None

    def refused(self, response: httpx.Response) -> float:
        """Ends the worker when the wait is over. Returns the seconds that are left of it."""
        server = os.environ["PREFECT_API_URL"]
        answer = f"{response.status_code} {response.reason_phrase}"
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
            if self._limit:
                say(
                    f"{server} refuses this worker with {answer}; access may take minutes to arrive, so this is tried "
                    f"for {self._limit} s (ACCESS_WAIT)"
                )
        left = self._refused_since + self._limit - now
        if left <= 0:
            late = f", after {self._limit} s too" if self._limit else ""
            sys.exit(f"worker: {server} refuses this worker with {answer}{late}: {advice(response)}")
        return left

    def granted(self) -> None:
        if self._refused_since is not None:
            waited = time.monotonic() - self._refused_since
            say(f"{os.environ['PREFECT_API_URL']} lets this worker in after {waited:.0f} s")
            self._refused_since = None


def advice(response: httpx.Response) -> str:
    # Prefect's own refusal is JSON with this key; one by Cloud Run or a proxy is not.
    if "exception_message" not in response.text:
        return (
            "it is not Prefect that refuses, but something before it, such as Cloud Run's check of the caller; "
            "this worker sends no identity token"
        )
    if not os.environ.get("PREFECT_API_AUTH_STRING"):
        return "set PREFECT_API_AUTH_STRING to the value of the server's PREFECT_SERVER_API_AUTH_STRING"
    return "PREFECT_API_AUTH_STRING is not the value of the server's PREFECT_SERVER_API_AUTH_STRING"


def refusal(error: Exception) -> httpx.Response | None:
    """The answer of a server that does not let this worker in."""
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (401, 403):
        return error.response
    return None


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


def prepare(work_pool: str, access_wait: int) -> None:
    access = Access(access_wait)
    for pause in pauses():
        try:
            asyncio.run(make_pool(work_pool))
            # It fails without its pool, so it comes second.
            flow.deploy(work_pool)
            access.granted()
            return
        except Exception as error:
            if response := refusal(error):
                time.sleep(min(pause, access.refused(response)))
                continue
            if not may_pass(error):
                raise
            why = str(error).partition("\n")[0] or type(error).__name__
            say(f"{os.environ['PREFECT_API_URL']} is not ready: {why}; next try in {pause:.0f} s")
            time.sleep(pause)


def main() -> None:
    if not os.environ.get("PREFECT_API_URL"):
        sys.exit("worker: PREFECT_API_URL is not set; it is the server's address with /api at its end")
    work_pool = os.environ.get("WORK_POOL") or "cloud-run-pool"
    access_wait = os.environ.get("ACCESS_WAIT") or str(ACCESS_WAIT)
    if not access_wait.isascii() or not access_wait.isdigit():
        sys.exit(f'worker: ACCESS_WAIT is "{access_wait}", allowed is a number of seconds, such as 600')
    prepare(work_pool, int(access_wait))
    say("starting")
    os.execvp("prefect", ["prefect", "worker", "start", "--pool", work_pool, "--with-healthcheck"])


if __name__ == "__main__":
    main()
