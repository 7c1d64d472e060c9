"""Light load on a Prefect server, as raw requests that are never repeated: a request that fails is recorded as failed."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

# Prefect gives a query 10 s and the wait for a connection 30 s. A client that waited longer was left without an answer.
_REQUEST_LIMIT = 45.0


@dataclass(frozen=True)
class Request:
    """One request and its result. Times are seconds since the epoch."""

    what: str
    started: float
    finished: float
    status: int | None
    error: str | None

    @property
    def answered(self) -> bool:
        return self.error is None

    def __str__(self) -> str:
        took = self.finished - self.started
        return f"{self.what} at {self.started:.3f} for {took:.3f} s: {self.error or self.status}"


@dataclass(frozen=True)
class Question:
    """What a request asks for, and what a right answer to it looks like."""

    method: str
    path: str
    body: Callable[[int], object] | None = None
    answer: bytes = b""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


HEALTH = Question("GET", "/api/health", answer=b"true")
READY = Question("GET", "/api/ready", answer=b'"OK"')
CREATE_FLOW = Question("POST", "/api/flows/", lambda number: {"name": f"flow-{number % 50}"}, b'"id"')
LIST_FLOWS = Question("POST", "/api/flows/filter", lambda _: {"limit": 20}, b"[")
LIST_RUNS = Question("POST", "/api/flow_runs/filter", lambda _: {"limit": 20}, b"[")
# Of none, so that the answer is known whatever other runs there are.
NO_RUN = {"flow_runs": {"name": {"any_": ["no-such-run"]}}}
COUNT_RUNS = Question("POST", "/api/flow_runs/count", lambda _: NO_RUN, b"0")

MIXED = (CREATE_FLOW, LIST_RUNS, HEALTH, LIST_FLOWS, COUNT_RUNS)


def ask(port: int, question: Question, number: int = 0, limit: float = _REQUEST_LIMIT) -> Request:
    """Sends one request over a connection of its own."""
    started = time.time()
    status, error = None, None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit)
    try:
        body = json.dumps(question.body(number)) if question.body else None
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(question.method, question.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        status = answer.status
        if not 200 <= status <= 299:
            error = f"answered {status}: {content[:200]!r}"
        elif question.answer not in content:
            error = f"answered {status}, but without {question.answer!r}: {content[:200]!r}"
    except (OSError, http.client.HTTPException) as failure:
        error = f"{type(failure).__name__}: {failure}"
    finally:
        connection.close()
    return Request(question.name, started, time.time(), status, error)


class LoadError(Exception):
    """The load itself stopped working, so its numbers say nothing about the server."""


class PrefectLoad:
    """Sends requests for as long as the block lasts: `per_second` mixed requests; the health page every `health_every`
    seconds, which finds gaps between answers; `burst` requests at once every `burst_every` seconds.

    An exception that is not the failure of a request ends the thread in which it occurs. It is raised again at the end
    of the block and by wait_for_answers(), so that a load that does not run is never taken for one without failures."""

    def __init__(
        self,
        port: int,
        *,
        per_second: float = 8.0,
        health_every: float | None = 0.1,
        burst: int = 0,
        burst_every: float = 2.0,
    ) -> None:
        self._port = port
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._unexpected: list[BaseException] = []
        self._numbers = itertools.count()
        # Two threads send the mixed requests, so that one slow answer does not interrupt the load.
        self._threads = [self._asker(MIXED[turn:] + MIXED[:turn], 2 / per_second) for turn in (0, 2)]
        if health_every is not None:
            self._threads.append(self._asker((HEALTH,), health_every))
        # The requests of a burst are database questions: each needs a connection at the same moment.
        self._threads += [self._asker((LIST_RUNS, COUNT_RUNS), burst_every) for _ in range(burst)]

    def __enter__(self) -> PrefectLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        # The error of the block is the one to show, when there is one.
        if error is None:
            self._raise_unexpected()

    @property
    def requests(self) -> list[Request]:
        """The finished ones, in the order in which they ended."""
        with self._changed:
            return list(self._requests)

    @property
    def failed(self) -> list[Request]:
        return [request for request in self.requests if not request.answered]

    def wait_for_answers(self, count: int, since: float, limit: float = 120.0) -> Counter[str]:
        """Waits until `count` requests that were sent after the moment `since` have been answered, one of every kind
        among them. Returns how many there are of each kind."""
        kinds = {question.name for question in MIXED}

        def answered() -> Counter[str]:
            return Counter(one.what for one in self._requests if one.answered and one.started >= since)

        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._unexpected or (answered().total() >= count and kinds <= answered().keys())
                ),
                limit,
            )
            found = answered()
        self._raise_unexpected()
        if found.total() < count or not kinds <= found.keys():
            raise LoadError(f"{count} answers of every kind did not come within {limit:g} s, but {dict(found)}")
        return found

    def silence_around(self, moment: float) -> float:
        """Seconds from the last answer before `moment` to the first one after it."""
        answers = sorted(request.finished for request in self.requests if request.answered)
        before = max(answer for answer in answers if answer < moment)
        after = min(answer for answer in answers if answer >= moment)
        return after - before

    def summary(self) -> dict[str, object]:
        requests = self.requests
        return {
            "requests": len(requests),
            "failed": len(self.failed),
            "failed_how": dict(Counter(request.error[:60] for request in requests if request.error)),
        }

    def _raise_unexpected(self) -> None:
        with self._changed:
            unexpected = list(self._unexpected)
        if unexpected:
            raise LoadError(f"{len(unexpected)} of {len(self._threads)} load threads died") from unexpected[0]

    def _asker(self, questions: tuple[Question, ...], every: float) -> threading.Thread:
        return threading.Thread(target=self._run, args=(itertools.cycle(questions), every), daemon=True)

    def _run(self, questions: Iterator[Question], every: float) -> None:
        try:
            self._ask_on(questions, every)
        except BaseException as error:
            with self._changed:
                self._unexpected.append(error)
                self._changed.notify_all()

    def _ask_on(self, questions: Iterator[Question], every: float) -> None:
        # The rounds follow the clock and not pauses, so that the requests of a burst stay together. A missed round is
        # left out.
        while not self._ended.wait(every - time.time() % every):
            request = ask(self._port, next(questions), next(self._numbers))
            with self._changed:
                self._requests.append(request)
                self._changed.notify_all()
