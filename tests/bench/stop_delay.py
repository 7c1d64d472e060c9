"""Counts the requests that fail behind a load balancer while its two servers are stopped and replaced in turn, with and
without SUPERVISOR_STOP_DELAY: ./dev bench stop-delay

HAProxy asks /readyz of each supervisor. Open-source nginx asks nothing, and learns from requests that fail. The servers
are uvicorn with a page that takes 10 ms, or real Prefect with --prefect. No client sends a request twice.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_REPOSITORY), str(_REPOSITORY / "tests/support")]

from asgi_page import page_command  # noqa: E402
from background import Background  # noqa: E402
from google_emulator.client import EmulatorError, GoogleEmulator  # noqa: E402
from load_balancers import HAPROXY, NGINX, BalancedServer, HAProxy, Nginx  # noqa: E402
from prefect_load import COUNT_RUNS, HEALTH  # noqa: E402
from prefect_server import START_LIMIT, prefect_environment  # noqa: E402
from process import MeasurementError  # noqa: E402
from supervisor import BINARY, wait_until  # noqa: E402

# HAProxy's own defaults are 2 s and 3.
INTERVAL, FALL = 0.5, 3
# The first of FALL checks that fail may come a whole interval later; one interval more is for the answers' time.
ENOUGH = (FALL + 1) * INTERVAL
TOO_SHORT = FALL * INTERVAL / 2
# nginx sends nothing to a server for so long after a request that failed. Its own default is 10 s.
FAIL_TIMEOUT = "3s"
CLIENTS_PER_KIND = 2
EVERY = 0.025
_REQUEST_LIMIT = 45.0
_PAUSE = 0.5


@dataclass(frozen=True)
class Kind:
    """Of a client."""

    method: str
    kept: bool

    @property
    def name(self) -> str:
        return f"{self.method}, {'kept' if self.kept else 'own'}"


KINDS = [Kind(method, kept) for method in ("GET", "POST") for kept in (False, True)]


@dataclass(frozen=True)
class Sent:
    kind: Kind
    started: float
    took: float
    server: str | None
    error: str | None


class Load:
    """Clients of every kind for as long as the block lasts: each asks every 25 ms, but for the rounds that it misses
    while it waits for an answer. A client that keeps its connection writes to it without a look at whether it is
    closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self.sent: list[Sent] = []

    def __enter__(self) -> Load:
        self._pool = ThreadPoolExecutor(len(KINDS) * CLIENTS_PER_KIND)
        self._clients = [self._pool.submit(self._run, kind) for kind in KINDS for _ in range(CLIENTS_PER_KIND)]
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pool.shutdown()

    def end(self) -> list[Sent]:
        self._ended.set()
        for client in self._clients:
            # A load of which a part did not run must not be taken for one without failures.
            client.result()
        return self.sent

    def answers_from(self, server: BalancedServer, since: float) -> int:
        return sum(one.server == server.name and one.started >= since for one in list(self.sent))

    def _run(self, kind: Kind) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_REQUEST_LIMIT)
        while not self._ended.wait(EVERY):
            self.sent.append(_ask(connection, kind))
        connection.close()


def _ask(connection: http.client.HTTPConnection, kind: Kind) -> Sent:
    question = HEALTH if kind.method == "GET" else COUNT_RUNS
    started, server, error = time.monotonic(), None, None
    try:
        headers = {"Content-Type": "application/json"} if question.body else {}
        connection.request(question.method, question.path, "{}" if question.body else None, headers)
        answer = connection.getresponse()
        answer.read()
        # After a second attempt nginx names both servers.
        server = (answer.headers["X-Server"] or "").rpartition(", ")[2]
        if answer.status != 200:
            error = f"answered {answer.status}"
    except (OSError, http.client.HTTPException) as failure:
        error = type(failure).__name__
    if error or not kind.kept:
        connection.close()
    return Sent(kind, started, time.monotonic() - started, server, error)


class Reloader(Background):
    """Asks each supervisor's /readyz as HAProxy does, and takes a server that is not ready out of nginx's
    configuration. A deployment script or an ingress controller does so in front of open-source nginx."""

    def __init__(self, balancer: Nginx, servers: list[BalancedServer]) -> None:
        super().__init__()
        self._balancer = balancer
        self._servers = servers

    def _work(self) -> None:
        while not self._over.wait(INTERVAL):
            self._balancer.take_out([one.name for one in self._servers if not _is_ready(one)])


def _is_ready(server: BalancedServer) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", server.health_port, timeout=INTERVAL)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    return False


Open = Callable[[list[BalancedServer], bool], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def _reloaded(servers: list[BalancedServer], reuse: bool) -> Iterator[Nginx]:
    with Nginx(servers, reuse=reuse, fail_timeout=FAIL_TIMEOUT) as balancer, Reloader(balancer, servers):
        yield balancer


def _haproxy(*retries: str) -> Open:
    return lambda servers, reuse: HAProxy(servers, interval=INTERVAL, fall=FALL, reuse=reuse, retries=retries)


def _nginx(next_upstream: str) -> Open:
    return lambda servers, reuse: Nginx(
        servers, reuse=reuse, next_upstream=next_upstream, fail_timeout=FAIL_TIMEOUT
    )


@dataclass(frozen=True)
class Balancer:
    name: str
    program: str | None
    open: Open
    delays: tuple[float, ...] = (0, ENOUGH)


BALANCERS = [
    Balancer("HAProxy, `retries 0`", HAPROXY, _haproxy("retries 0"), (0, TOO_SHORT, ENOUGH)),
    Balancer("HAProxy as it is (`retries 3`)", HAPROXY, _haproxy()),
    Balancer("HAProxy, `option redispatch 1`", HAPROXY, _haproxy("option redispatch 1")),
    Balancer("nginx, `proxy_next_upstream off`", NGINX, _nginx("off")),
    Balancer("nginx as it is (`error timeout`)", NGINX, _nginx("error timeout")),
    Balancer("nginx as it is, reloaded when /readyz fails", NGINX, _reloaded),
]


@dataclass
class Result:
    balancer: str
    kept_to_servers: bool
    delay_seconds: float
    replacements: int
    requests: int = 0
    failed: int = 0
    failed_by_kind: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    slowest_seconds: float = 0.0


@contextlib.contextmanager
def two_servers(delay: float, prefect: bool) -> Iterator[list[BalancedServer]]:
    arguments = ["--stop-delay", f"{delay * 1000:.0f}ms", "--stop-timeout", "1m"]
    ready_url = "http://127.0.0.1:{port}/api/health"
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"command": page_command(), "ready_url": ready_url}
        if prefect:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            emulator = stack.enter_context(GoogleEmulator(token_life="1h"))
            arguments += ["--rotation", "in-place"]
            options = {"emulator": emulator, "environment": prefect_environment(folder)}
        else:
            arguments.append("--no-token")
        servers = [stack.enter_context(BalancedServer(*arguments, **options)) for _ in range(2)]
        for server in servers:
            # One after the other, since the first Prefect of an empty database fills it.
            server.start().wait_for_health("/readyz", timeout=START_LIMIT)
        yield servers


def measure(balancer: Balancer, reuse: bool, delay: float, options: argparse.Namespace) -> Result:
    result = Result(balancer.name, reuse, delay, options.replacements)
    with two_servers(delay, options.prefect) as servers, balancer.open(servers, reuse) as front:
        with Load(front.port) as load:
            for server in servers:
                _wait_for_answers(load, server)
            for number in range(options.replacements):
                server = servers[number % 2]
                assert server.supervisor
                server.supervisor.stop(timeout=delay + START_LIMIT)
                server.start().wait_for_health("/readyz", timeout=START_LIMIT)
                _wait_for_answers(load, server)
                time.sleep(_PAUSE)
            sent = load.end()
    failed = [one for one in sent if one.error]
    by_kind = Counter(one.kind.name for one in failed)
    result.requests, result.failed = len(sent), len(failed)
    result.failed_by_kind = {kind.name: by_kind[kind.name] for kind in KINDS}
    result.errors = dict(Counter(one.error for one in failed if one.error))
    result.slowest_seconds = round(max(one.took for one in sent), 3)
    return result


def _wait_for_answers(load: Load, server: BalancedServer) -> None:
    since = time.monotonic()
    wait_until(lambda: load.answers_from(server, since) >= 10, f"answers of {server.name}", START_LIMIT)


def print_table(results: list[Result]) -> None:
    columns = ["balancer", "its connections to the servers", "delay", "failed of requests"]
    columns += [*(kind.name for kind in KINDS), "how", "slowest answer"]
    print("| " + " | ".join(columns) + " |")
    print("| --- " * len(columns) + "|")
    for one in results:
        how = ", ".join(f"{count} {error}" for error, count in one.errors.items()) or "–"
        cells = [one.balancer, "kept" if one.kept_to_servers else "one per request"]
        cells += [f"{one.delay_seconds:g} s", f"**{one.failed}** of {one.requests:,}"]
        cells += [*map(str, one.failed_by_kind.values()), how, f"{one.slowest_seconds:.2f} s"]
        print("| " + " | ".join(cells) + " |")


def notes(replacements: int) -> str:
    return f"""
- Each row: {replacements} times one of two servers is stopped and started again, under {len(KINDS) * CLIENTS_PER_KIND}
  clients that ask every {EVERY * 1000:.0f} ms and never twice. "own" is a client with a connection per request; "kept"
  keeps its connection, and writes to it without a look at whether it is closed.
- HAProxy checks every {INTERVAL:g} s and takes a server out after {FALL} failures: {FALL} x {INTERVAL:g} s and one
  interval more are {ENOUGH:g} s. With kept connections it has `http-reuse always`, otherwise `http-server-close`.
- nginx has `fail_timeout={FAIL_TIMEOUT}`. It has no health checks of its own, so a delay alone changes nothing for it;
  reloaded, it is told within {INTERVAL:g} s by a script that asks /readyz. A reload closes the idle connections of
  its clients, which is what the kept ones lose."""


def _version(*command: str) -> str:
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return (told.stdout or told.stderr).splitlines()[0]


def _machine() -> dict[str, Any]:
    machine = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, kernel {platform.release()}",
        "load_before": os.getloadavg(),
        "supervisor": _version(str(BINARY), "--version"),
    }
    if HAPROXY:
        machine["haproxy"] = _version(HAPROXY, "-v")
    if NGINX:
        machine["nginx"] = _version(NGINX, "-v")
    return machine


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _delays(text: str) -> tuple[float, ...]:
    delays = tuple(float(one) for one in text.split(","))
    if not all(0 <= one <= 60 for one in delays):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seconds from 0 to 60")
    return delays


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench stop-delay", description=__doc__.partition(": ./dev")[0])
    parser.add_argument(
        "--replacements", type=_count, default=4, metavar="N", help="for each row (default: %(default)s)"
    )
    parser.add_argument(
        "--delays", type=_delays, metavar="LIST", help="seconds, with commas, for every row (default: each row's own)"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="the balancers whose row's name contains TEXT")
    parser.add_argument("--prefect", action="store_true", help="real Prefect instead of a small page; takes long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args()
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such folder")
    if not os.access(BINARY, os.X_OK):
        parser.error(f"{BINARY} is not there or not executable; build the release first")
    options.balancers = [one for one in BALANCERS if options.only in one.name]
    if not options.balancers:
        parser.error(f"--only {options.only}: none of {', '.join(one.name for one in BALANCERS)}")
    if missing := {one.name.split(",")[0].split(" ")[0] for one in options.balancers if one.program is None}:
        parser.error(f"not installed: {', '.join(sorted(missing))}; tools/install-packages.sh test installs it")
    return options


def main() -> int:
    options = read_options()
    # The program is ended as by Ctrl-C, so that every process that it started ends, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    machine = _machine()
    results: list[Result] = []
    failed = False
    try:
        for balancer in options.balancers:
            for reuse in (True, False):
                for delay in options.delays or balancer.delays:
                    kept = "kept connections" if reuse else "a connection per request"
                    print(f"bench: {balancer.name}, {kept}, delay {delay:g} s ...", file=sys.stderr, flush=True)
                    results.append(measure(balancer, reuse, delay, options))
    except (MeasurementError, EmulatorError, OSError) as error:
        # What was measured until then is shown, since it took minutes.
        print(f"bench: error: {error}", file=sys.stderr)
        failed = True
    except KeyboardInterrupt:
        return 130
    if options.json is not None:
        options.json.write_text(json.dumps({"of": machine, "found": [asdict(one) for one in results]}, indent=2) + "\n")
    print("\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in machine.items()) + "\n")
    print_table(results)
    print(notes(options.replacements))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
