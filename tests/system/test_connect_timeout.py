"""A metadata server that drops connections: the connect limit of 2 s ends the attempt, not the 5 s for the whole."""

from __future__ import annotations

import contextlib
import re
import select
import socket
from collections.abc import Iterator
from itertools import pairwise

from supervisor import DATABASE, Supervisor

CONNECT_LIMIT_MS = 2000
WHOLE_LIMIT_MS = 5000
# curl's words for a connect phase that took too long; a request that took too long is "Operation timed out".
REASON = re.compile(r"Connection timed out after (\d+) milliseconds")


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port on which every SYN is dropped: the queue of connections to accept is full (listen(2), tcp(7))."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        while True:
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            # A connection over loopback is made at once, unless its SYN was dropped.
            if not select.select([], [filler], [], 1.0)[1]:
                break
        yield listener.getsockname()[1]


def test_a_connection_that_is_never_made_ends_after_the_connect_limit() -> None:
    with (
        black_hole() as port,
        Supervisor(
            environment=DATABASE | {"GCE_METADATA_HOST": f"127.0.0.1:{port}"}, command=["sleep", "600"]
        ) as supervisor,
    ):
        failures = [supervisor.wait_for_log("token: can't get one", count=count) for count in (1, 2, 3)]
        for failure in failures:
            assert f"from 127.0.0.1:{port}:" in failure.message
            reason = REASON.search(failure.message)
            assert reason, failure
            # The program's own measurement. Below the limit for the whole request, it was the connect limit.
            assert CONNECT_LIMIT_MS <= int(reason[1]) < WHOLE_LIMIT_MS
        for earlier, later in pairwise(failures):
            passed = (later.time - earlier.time).total_seconds() * 1000
            assert passed >= earlier.fields["next_try_ms"] + CONNECT_LIMIT_MS - 1
        # The loop does not wait: it answers while a connection is being made.
        assert supervisor.health("/startupz").status == 503
        assert "child: started" not in supervisor.messages()
