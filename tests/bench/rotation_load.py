"""A constant load on a Prefect server by clients that never retry, in a process of its own.

Each client asks one question every 50 ms; the rounds that it misses while it waits for an answer are left out. Four
clients open a connection for each request. Four keep theirs open, and write to it without a look at whether the server
has closed it. One is an httpx client, whose pool has that look.

As a program it sends until its standard input ends. Then it writes a line with its own processor time, and a line for
each request.
"""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))

from prefect_load import MIXED, LoadError, Question, Request  # noqa: E402

EVERY = 0.05
# Prefect gives a query 10 s and the wait for a connection 30 s. A client that waited longer was left without an answer.
_REQUEST_LIMIT = 45.0
# All threads of the load end after their last request.
_END_LIMIT = 2 * _REQUEST_LIMIT

OWN, KEPT, POOLED = "a connection per request", "a kept-alive connection", "httpx with its pool"
_CLIENTS = [OWN] * 4 + [KEPT] * 4 + [POOLED]

Send = Callable[[Question, int], tuple[int, bytes]]
"""Sends a question with its number; returns the status and the content."""


@dataclass(frozen=True)
class Sent(Request):
    """A request of one of the kinds of clients."""

    client: str

    @property
    def failure(self) -> str | None:
        """The kind of its error, if it failed."""
        return self.error and self.error.partition(":")[0]


class RotationLoad:
    """The load on a port for as long as the block lasts, or until end()."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cpu_seconds = 0.0

    def __enter__(self) -> RotationLoad:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the benchmark, which ends the load.
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        # This closes the pipes, too.
        self._process.communicate()

    def check(self) -> None:
        if self._process.poll() is not None:
            raise self._error()

    def end(self) -> list[Sent]:
        """Ends it, and returns all requests in the order in which they ended."""
        self.check()
        output, _ = self._process.communicate(timeout=_END_LIMIT)
        if self._process.returncode != 0:
            raise self._error()
        first, *rest = output.splitlines()
        self.cpu_seconds = json.loads(first)
        sent = [Sent(*json.loads(line)) for line in rest]
        if silent := set(_CLIENTS) - {one.client for one in sent if one.answered}:
            raise LoadError(f"no answer came to {' or '.join(sorted(silent))}")
        return sorted(sent, key=lambda one: one.finished)

    def _error(self) -> LoadError:
        return LoadError(f"the load ended with code {self._process.returncode}; its error is above")


def _raw(port: int, *, keep: bool) -> Send:
    # It connects when it has no connection. It never sends a request twice.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_REQUEST_LIMIT)

    def send(question: Question, number: int) -> tuple[int, bytes]:
        body = json.dumps(question.body(number)) if question.body else None
        answered = False
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(question.method, question.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            answered = True
            return answer.status, content
        finally:
            if not (keep and answered):
                connection.close()

    return send


def _pool(port: int) -> Send:
    # A proxy of the machine must not be asked for a loopback address.
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_REQUEST_LIMIT, trust_env=False)

    def send(question: Question, number: int) -> tuple[int, bytes]:
        answer = client.request(
            question.method, question.path, json=question.body(number) if question.body else None
        )
        return answer.status_code, answer.content

    return send


_SENDERS: dict[str, Callable[[int], Send]] = {
    OWN: functools.partial(_raw, keep=False),
    KEPT: functools.partial(_raw, keep=True),
    POOLED: _pool,
}


def _ask(client: str, send: Send, question: Question, number: int) -> Sent:
    started = time.time()
    status, error = None, None
    try:
        status, content = send(question, number)
        if not 200 <= status <= 299:
            error = f"answered {status}: {content[:200]!r}"
        elif question.answer not in content:
            error = f"answered {status}, but not what was asked for: {content[:200]!r}"
    except (OSError, http.client.HTTPException, httpx.RequestError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    return Sent(question.name, started, time.time(), status, error, client)


def _run(
    client: str, send: Send, turn: int, numbers: Iterator[int], ended: threading.Event, sent: list[Sent]
) -> None:
    # The clients do not ask at the same moment, and not in the same order.
    questions = itertools.cycle(MIXED[turn % len(MIXED) :] + MIXED[: turn % len(MIXED)])
    delay = turn * EVERY / len(_CLIENTS)
    try:
        while not ended.wait(EVERY - (time.time() - delay) % EVERY):
            sent.append(_ask(client, send, next(questions), next(numbers)))
    except BaseException:
        # A load of which a part does not run must never be taken for one without failures.
        traceback.print_exc()
        os._exit(1)


def main(port: int) -> None:
    ended = threading.Event()
    numbers = itertools.count()
    sent: list[Sent] = []
    threads = [
        threading.Thread(target=_run, args=(client, _SENDERS[client](port), turn, numbers, ended, sent))
        for turn, client in enumerate(_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()
    print(time.process_time())
    for one in sent:
        print(json.dumps([one.what, one.started, one.finished, one.status, one.error, one.client]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
