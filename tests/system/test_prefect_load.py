"""The load that the tests of real Prefect put on it: it counts what was answered, and never fails silently."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import prefect_load
from prefect_load import MIXED, LoadError, PrefectLoad


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thread of a load dies of its first request, by an exception that is not the failure of a request."""

    def ask(*_: object) -> None:
        raise OverflowError("a defect of the load")

    monkeypatch.setattr(prefect_load, "ask", ask)


@contextlib.contextmanager
def server(status: int = 200) -> Iterator[int]:
    """Answers every request of the load as Prefect does, or with another status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = b'true [] "id" 0'
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as it:
        thread = threading.Thread(target=it.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield it.server_port
        finally:
            it.shutdown()
            thread.join()


def test_an_unexpected_exception_in_a_load_thread_fails_the_block(broken) -> None:
    with pytest.raises(LoadError, match="load threads died") as caught, PrefectLoad(1) as load:
        # Nothing in the block notices that the threads die.
        for thread in load._threads:
            thread.join()
    assert isinstance(caught.value.__cause__, OverflowError)
    # The load had no failed request, which is what a test that looks at the failures alone would see.
    assert load.failed == [] == load.requests


def test_the_error_of_the_block_is_shown_before_that_of_the_load(broken) -> None:
    with pytest.raises(ZeroDivisionError), PrefectLoad(1) as load:
        for thread in load._threads:
            thread.join()
        raise ZeroDivisionError


def test_waiting_for_answers_ends_when_a_load_thread_has_died(broken) -> None:
    with pytest.raises(LoadError, match="load threads died"), PrefectLoad(1) as load:
        load.wait_for_answers(1, time.time())


def test_answers_are_counted_from_the_given_moment_and_of_every_kind() -> None:
    with server() as port, PrefectLoad(port, per_second=50) as load:
        load.wait_for_answers(10, time.time())
        begun = time.time()
        found = load.wait_for_answers(20, begun)
        assert found.total() >= 20
        assert found.keys() == {question.name for question in MIXED}
        assert sum(request.started >= begun for request in load.requests) >= found.total()
    assert load.failed == []


def test_requests_that_are_refused_are_not_answers() -> None:
    with server(status=503) as port, PrefectLoad(port, per_second=50) as load:
        with pytest.raises(LoadError, match="did not come within"):
            load.wait_for_answers(1, time.time(), limit=1)
    assert len(load.failed) == len(load.requests) > 0
    assert json.dumps(load.summary())
