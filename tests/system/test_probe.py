"""--probe: what a HEALTHCHECK uses instead of curl, which the image does not have."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from processes import children_of
from supervisor import (
    BINARY,
    LIMIT,
    Supervisor,
    listening,
    pid_namespace_command,
    skip_without_namespaces,
    wait_until,
)


def probe(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The environment is empty, since no setting is needed."""
    command = [str(BINARY), *arguments, "--probe", url]
    return subprocess.run(command, env={}, capture_output=True, text=True, timeout=30)


@contextmanager
def server(status: int, body: bytes = b"") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as it:
        thread = threading.Thread(target=it.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{it.server_port}/some/path"
        it.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_good_answer_is_exit_code_0_and_says_nothing(status: int) -> None:
    with server(status) as url:
        ended = probe(url)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("status", [301, 404, 500, 503])
def test_any_other_answer_is_exit_code_1_with_its_status_and_reason_in_one_line(status: int) -> None:
    with server(status, b"the database \x1b[31mis gone\nsecond line") as url:
        ended = probe(url)
    expected = f"prefect-supervisor: probe of {url}: it answered {status}: the database \n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", expected)


def test_nobody_there_is_exit_code_1_and_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ended = probe(f"http://127.0.0.1:{taken.getsockname()[1]}/readyz")
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1 and "connect" in ended.stderr.lower(), ended.stderr


def test_a_server_that_never_answers_costs_five_seconds() -> None:
    with listening() as silent:
        ended = probe(f"http://127.0.0.1:{silent.getsockname()[1]}/readyz")
    assert ended.returncode == 1
    assert "timed out" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("pid1", [False, True], ids=["", "PID 1"])
def test_a_signal_ends_it_while_it_waits(number: signal.Signals, pid1: bool) -> None:
    """A shell reports 128 + n for curl (bash(1), EXIT STATUS). Otherwise it would be 1, and one line about the time."""
    through: tuple[str, ...] = ()
    if pid1:
        through = pid_namespace_command() or skip_without_namespaces()
    with listening() as silent, contextlib.ExitStack() as stack:
        silent.settimeout(LIMIT)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/readyz"
        process = stack.enter_context(
            subprocess.Popen(
                [*through, str(BINARY), "--probe", url],
                env={"PATH": os.environ["PATH"]} if pid1 else {},
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        connection, _ = silent.accept()
        stack.enter_context(connection)
        assert connection.recv(1024).startswith(b"GET ")
        probing = process.pid
        if pid1:
            probing = wait_until(lambda: children_of(process.pid), "the process in the namespace")[0].pid
        os.kill(probing, number)
        assert process.wait(LIMIT) == 128 + number
        assert process.stderr is not None and process.stderr.read() == ""


def test_it_tells_the_supervisors_own_readiness() -> None:
    with Supervisor("--no-token", command=["sleep", "60"]) as supervisor:
        supervisor.wait_for_health("/readyz")
        url = f"http://127.0.0.1:{supervisor.health_port}"
        assert probe(f"{url}/readyz").returncode == 0
        assert probe(f"{url}/nothing").returncode == 1


@pytest.mark.parametrize("url", ["", "https://127.0.0.1/", "127.0.0.1:8081/readyz", "http://"])
def test_what_is_no_http_url_is_a_usage_error(url: str) -> None:
    ended = probe(url)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1 and "--probe" in ended.stderr
