"""A crowd of hostile clients of a port on the loopback address: `python hostile_clients.py PORT TOTAL AT_ONCE`.

It opens TOTAL connections, AT_ONCE of them side by side, prints `done`, and goes on until its standard input ends. Each
client behaves in one of the ways below, and when its connection is closed, it opens the next one at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

REQUEST = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


async def silent(reader: Reader, writer: Writer) -> None:
    await reader.read()


async def slow(reader: Reader, writer: Writer) -> None:
    for byte in itertools.chain(REQUEST, itertools.repeat(ord("x"))):
        writer.write(bytes([byte]))
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            if not await asyncio.wait_for(reader.read(1024), timeout=0.5):
                return


async def oversized(reader: Reader, writer: Writer) -> None:
    writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
    await reader.read()


async def half_closed(reader: Reader, writer: Writer) -> None:
    writer.write(REQUEST[:20])
    writer.write_eof()
    await reader.read()


async def pipelined(reader: Reader, writer: Writer) -> None:
    writer.write(REQUEST * 200)
    await reader.read()


async def deaf(reader: Reader, writer: Writer) -> None:
    """Asks and never reads the answers."""
    writer.transport.pause_reading()
    writer.write(REQUEST * 200)
    await asyncio.sleep(10)


async def in_haste(reader: Reader, writer: Writer) -> None:
    """Is gone before it can be answered."""
    writer.write(REQUEST)


WAYS: tuple[Callable[[Reader, Writer], Awaitable[None]], ...] = (
    silent,
    slow,
    oversized,
    half_closed,
    pipelined,
    deaf,
    in_haste,
    silent,
)


class Crowd:
    def __init__(self, port: int, total: int) -> None:
        self._port = port
        self._total = total
        self._opened = 0
        self.all_opened = asyncio.Event()

    async def client(self, number: int) -> None:
        for way in itertools.islice(itertools.cycle(WAYS), number, None):
            with contextlib.suppress(OSError):
                async with self._connection() as (reader, writer):
                    await way(reader, writer)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[Reader, Writer]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            self._opened += 1
            if self._opened == self._total:
                self.all_opened.set()
            yield reader, writer
        finally:
            # Whatever the other side has not taken yet is given up.
            writer.transport.abort()


async def main(port: int, total: int, at_once: int) -> None:
    crowd = Crowd(port, total)
    clients = [asyncio.create_task(crowd.client(number)) for number in range(at_once)]
    await crowd.all_opened.wait()
    print("done", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for client in clients:
        client.cancel()
    await asyncio.wait(clients)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(*map(int, sys.argv[1:])))
