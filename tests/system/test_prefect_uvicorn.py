"""The server that `--rotation rolling` runs by uvicorn, beside the one of `prefect server start`, which the other
rotations run: the same application with the same settings.

The one is started as Prefect's own --background does it (prefect/cli/_server_utils.py, _run_in_background), and the
other one is its foreground (_run_in_foreground). Each has an empty database of its own."""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any, TypeVar

import httpx
import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from administrator import as_administrator
from prefect_server import START_LIMIT, prefect_environment
from processes import find_process
from supervisor import LIMIT, Supervisor, wait_until
from google_emulator.client import GoogleEmulator

View = TypeVar("View")

PASSWORD = "admin:correct horse, battery"
# A server asks these of uvicorn, and not of the application.
KEEP_ALIVE, PING_INTERVAL, PING_TIMEOUT = "2", "0.5", "0.75"
CHANGED = {
    "PREFECT_SERVER_LOGGING_LEVEL": "DEBUG",
    "PREFECT_SERVER_API_KEEPALIVE_TIMEOUT": KEEP_ALIVE,
    "PREFECT_SERVER_API_WEBSOCKET_PING_INTERVAL": PING_INTERVAL,
    "PREFECT_SERVER_API_WEBSOCKET_PING_TIMEOUT": PING_TIMEOUT,
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_API_BASE_PATH": "/prefect/api",
    "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
    # uvicorn's own, read in both (uvicorn/config.py): nobody's X-Forwarded-Proto counts then.
    "FORWARDED_ALLOW_IPS": "192.0.2.1",
}
PROFILE = f"""
active = "ours"
[profiles.ours]
PREFECT_SERVER_LOGGING_LEVEL = "INFO"
PREFECT_SERVER_API_WEBSOCKET_PING_INTERVAL = "{PING_INTERVAL}"
PREFECT_SERVER_API_WEBSOCKET_PING_TIMEOUT = "{PING_TIMEOUT}"
"""
# Of the command-line program uvicorn, which `prefect server start` does not run: it would leave out a header.
UVICORN_OPTION = {"UVICORN_SERVER_HEADER": "false"}
# The last things that a server says at its start at the level DEBUG. They come in any order.
STARTED = ("Uvicorn running on", "Reactive triggers started", "Listening on Postgres channel")

PAGE = {"Accept": "text/html"}
PREFECT_LINE = re.compile(r"[\d:.]{12} \| ")

pytestmark = pytest.mark.prefect


@dataclass(frozen=True)
class Server:
    supervisor: Supervisor
    emulator: GoogleEmulator
    home: Path

    def ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> httpx.Response:
        return httpx.request(method, f"http://127.0.0.1:{self.supervisor.port}{path}", headers=headers, timeout=LIMIT)

    def answer(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> tuple[Any, ...]:
        """What a client can see, apart from the time."""
        answer = self.ask(path, method, headers)
        named = {name: value for name, value in answer.headers.items() if name != "date"}
        return answer.status_code, named, answer.content

    def arguments(self) -> list[str]:
        process = find_process(self.supervisor.child_pid)
        assert process
        return process.arguments

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in as_administrator(self.emulator, statement)]


@contextlib.contextmanager
def server(rotation: str, home: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    home.mkdir(exist_ok=True)
    with (
        GoogleEmulator(token_life="1h") as emulator,
        Supervisor(
            *("--rotation", rotation), emulator=emulator, environment=prefect_environment(home) | dict(settings)
        ) as supervisor,
    ):
        yield Server(supervisor, emulator, home)


class Both:
    """The server of `rolling` and that of `prefect server start`."""

    def __init__(self, rolling: Server, start: Server) -> None:
        self.rolling = rolling
        self.start = start

    def same(self, view: Callable[[Server], View]) -> View:
        of_rolling, of_start = view(self.rolling), view(self.start)
        assert of_rolling == of_start
        return of_rolling


@contextlib.contextmanager
def both_servers(folder: Path, settings: Mapping[str, str]) -> Iterator[Both]:
    with (
        server("rolling", folder / "rolling", settings) as rolling,
        server("restart", folder / "start", settings) as start,
    ):
        for it in (rolling, start):
            it.supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        assert "uvicorn" in rolling.arguments()[1] and "prefect" in start.arguments()[1]
        yield Both(rolling, start)


# What is looked at


def settings_of_the_application(it: Server) -> str:
    """As the server itself shows them, secrets hidden."""
    answer = it.ask("/api/admin/settings")
    assert answer.status_code == 200
    return answer.text.replace(str(it.home), "HOME")


def schema(it: Server) -> list[tuple[Any, ...]]:
    return [
        *it.query("SELECT version_num FROM alembic_version"),
        *it.query(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY 1, 2"
        ),
        # Blocks are registered after the migrations.
        *it.query("SELECT slug FROM block_type ORDER BY 1"),
    ]


def redirection(it: Server, api: str = "/api") -> str:
    """Where a client behind a proxy is sent. What the proxy says of the client counts if its address is trusted."""
    password = "Basic " + base64.b64encode(PASSWORD.encode()).decode()
    headers = {"Host": "prefect.example", "X-Forwarded-Proto": "https", "Authorization": password}
    return it.ask(f"{api}/flows/filter/", "POST", headers).headers["location"]


def closes_an_idle_connection(it: Server) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", it.supervisor.port, timeout=LIMIT)) as connection:
        connection.request("GET", "/prefect/api/health")
        connection.getresponse().read()
        return connection.sock.recv(1) == b""


def end_of_a_silent_websocket(it: Server, path: str) -> int | None:
    """The code with which the server closes a websocket that answers no ping."""
    port = it.supervisor.port
    protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}{path}"), subprotocols=[Subprotocol("prefect")])
    protocol.send_request(protocol.connect())
    pings = 0
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        connection.sendall(b"".join(protocol.data_to_send()))
        while data := connection.recv(65536):
            # What the protocol has to say to it is never sent.
            protocol.receive_data(data)
            pings += sum(
                isinstance(event, Frame) and event.opcode is Opcode.PING for event in protocol.events_received()
            )
    protocol.receive_eof()
    assert pings == 1
    return protocol.close_code


def log_of_the_start(it: Server) -> set[str]:
    """Level, logger and text of the lines, without what is another one in each process."""
    for text in STARTED:
        wait_until(lambda text=text: any(text in line for line in it.supervisor.errors), f"{text!r} in the log")
    lines = [line.partition(" | ")[2] for line in it.supervisor.errors if PREFECT_LINE.match(line)]
    lines = [re.sub(r"unique consumer name: \S+", "unique consumer name", line) for line in lines]
    return {line for line in lines if re.search(r"[Ss]tart|[Ss]ervice|Listening", line) and "uvicorn" not in line}


def uvicorn_lines(it: Server) -> list[str]:
    return [line for line in [*it.supervisor.output, *it.supervisor.errors] if "vicorn" in line or "INFO" in line]


@pytest.mark.long
def test_it_is_the_server_of_prefect_server_start(tmp_path: Path) -> None:
    with both_servers(tmp_path, {}) as both:
        assert '"keepalive_timeout":620' in both.same(settings_of_the_application)
        arguments = both.rolling.arguments()
        assert arguments[arguments.index("--timeout-keep-alive") + 1] == "620"

        for path in ("/openapi.json", "/api/openapi.json"):
            both.same(lambda it, path=path: it.ask(path).json())
        for path in ("/docs", "/api/docs", "/api/health", "/api/ready", "/api/admin/version", "/api/nothing"):
            both.same(lambda it, path=path: it.answer(path))

        both.same(lambda it: it.answer("/", headers=PAGE))
        status, _, index = both.same(lambda it: it.answer("/v2/", headers=PAGE))
        assert status == 200
        (script, *_) = re.findall(r'src="(/v2/assets/[^"]+\.js)"', index.decode())
        assert both.same(lambda it: it.answer(script))[0] == 200
        assert both.same(lambda it: it.ask("/ui-settings").json())["api_url"]

        assert len(both.same(schema)) > 100
        # The proxy is known by its address, so uvicorn knows the addresses also on a socket that it inherited.
        assert both.same(redirection) == "https://prefect.example/api/flows/filter"
        # The level is WARNING.
        assert both.same(uvicorn_lines) == []
        assert both.same(lambda it: it.supervisor.stop()) == 128 + SIGTERM


@pytest.mark.thorough("the test before compares the same two servers with Prefect's defaults")
@pytest.mark.long
def test_settings_in_the_environment_reach_it(tmp_path: Path) -> None:
    with both_servers(tmp_path, CHANGED) as both:
        # The UI, the path of the API, and the password.
        assert both.same(lambda it: it.answer("/v2/", headers=PAGE))[0] == 404
        assert both.same(lambda it: it.answer("/api/health"))[0] == 404
        assert both.same(lambda it: it.answer("/prefect/api/health"))[0] == 200
        assert both.same(lambda it: it.answer("/prefect/api/admin/version"))[0] == 401

        arguments = both.rolling.arguments()
        for flag, value in (
            ("--timeout-keep-alive", KEEP_ALIVE),
            ("--ws-ping-interval", PING_INTERVAL),
            ("--ws-ping-timeout", PING_TIMEOUT),
            ("--log-level", "debug"),
        ):
            assert arguments[arguments.index(flag) + 1] == value
        assert both.same(closes_an_idle_connection)
        assert both.same(lambda it: end_of_a_silent_websocket(it, "/prefect/api/events/out")) == 1011
        moved = both.same(lambda it: redirection(it, "/prefect/api"))
        assert moved == "http://prefect.example/prefect/api/flows/filter"

        # The services are those that say at their start that they run.
        log = both.same(log_of_the_start)
        assert sum("Scheduling perpetual service: " in line for line in log) >= 10
        # A line of uvicorn has the form of Prefect's. With `prefect server start` the first two have uvicorn's own.
        for it in (both.rolling, both.start):
            asked = [line for line in it.supervisor.errors if '"GET /prefect/api/health HTTP/1.1" 200' in line]
            assert asked and all(PREFECT_LINE.match(line) and "| uvicorn.access - 127.0.0.1:" in line for line in asked)
            assert not [line for line in it.supervisor.output if "vicorn" in line]


@pytest.mark.thorough("the two settings for which docs/rolling.md names a difference")
@pytest.mark.long
def test_what_only_a_profile_or_uvicorns_variables_say(tmp_path: Path) -> None:
    prefect_environment(tmp_path)
    (tmp_path / "prefect-home/profiles.toml").write_text(PROFILE)
    with server("rolling", tmp_path, UVICORN_OPTION) as it:
        it.supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        # The application is made with the profile's settings, and sets the level of uvicorn's lines too.
        started = "| INFO    | uvicorn.error - Application startup complete."
        wait_until(lambda: any(started in line for line in it.supervisor.errors), "uvicorn's line")
        # The supervisor reads no file of Prefect's: what uvicorn is told comes from the environment (decision 0012).
        arguments = it.arguments()
        assert arguments[arguments.index("--ws-ping-interval") + 1] == "20"
        # The program uvicorn reads variables that `prefect server start` does not read.
        assert it.ask("/api/health").headers["server"] == "uvicorn"
