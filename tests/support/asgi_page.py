"""A server as Prefect's is, uvicorn with an ASGI application, which starts in a moment: `page_command()` starts it.

It listens on $PORT of 127.0.0.1 and answers every request, with 503 if its body is not the one that its header
announced. At TERM it takes no new connection, closes the idle ones, and ends when its last answer is sent.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

# Some requests are always in flight, as with a real server.
ANSWER_TAKES = 0.01
# Prefect's, under the supervisor. The balancer closes idle connections, and not the server.
KEEP_ALIVE = 620


def page_command() -> list[str]:
    return [sys.executable, __file__]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    received, more = 0, True
    while more:
        message = await receive()
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
    announced = int(dict(scope["headers"]).get(b"content-length", 0))
    await asyncio.sleep(ANSWER_TAKES)
    text = b"true"
    status = 200 if received == announced else 503
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


if __name__ == "__main__":
    # It is imported here, so that page_command() needs no uvicorn.
    import uvicorn

    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        lifespan="off",
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE,
    )
