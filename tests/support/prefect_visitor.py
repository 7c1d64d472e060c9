"""A program that uses Prefect's own clients until it gets SIGTERM: it reads flows all the time, and is subscribed to
events.

It prints what it sees, and at its end why requests had to be repeated. The test imports the two constants, so Prefect
is imported only where it is used: it takes long, and changes the logging of its process."""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal

SAYS = "visitor: "
EVENTS = "visitor."


class Retries(logging.Handler):
    """Prefect's client says at the level DEBUG that it tries a request again (prefect/client/base.py)."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.causes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "Another attempt will be made" in record.getMessage():
            error = record.exc_info[1] if record.exc_info else None
            self.causes.append(repr(error) if error else record.getMessage())


def say(text: str) -> None:
    print(SAYS + text, flush=True)


async def read_flows(retries: Retries) -> None:
    from prefect.client.orchestration import get_client

    # Not before the import, which sets the levels of Prefect's loggers.
    logger = logging.getLogger("prefect.client")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(retries)
    async with get_client() as client:
        for reads in itertools.count(1):
            try:
                await client.read_flows(limit=1)
            except Exception as error:
                say(f"a request failed: {error!r}")
            if reads == 1:
                say("reads")
            await asyncio.sleep(0.02)


async def receive_events() -> None:
    from prefect.events.clients import get_events_subscriber
    from prefect.events.filters import EventFilter, EventNameFilter

    async with get_events_subscriber(filter=EventFilter(event=EventNameFilter(prefix=[EVENTS]))) as subscriber:
        say("is subscribed")
        async for event in subscriber:
            say(f"event {event.event}")
    say("is not subscribed any more")


async def main() -> None:
    retries = Retries()
    tasks = [asyncio.create_task(read_flows(retries)), asyncio.create_task(receive_events())]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    for task in tasks:
        task.cancel()
    # A task that ended with an exception of its own is an error of this program.
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(outcome, asyncio.CancelledError):
            say(f"ended early: {outcome!r}")
    say(f"repeated requests: {retries.causes}")


if __name__ == "__main__":
    asyncio.run(main())
