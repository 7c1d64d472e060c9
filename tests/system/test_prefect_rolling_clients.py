"""What clients of real Prefect see of one rolling rotation: programs with and without a connection pool, websockets,
requests that are open while the old server drains, a worker with a flow run, Prefect's own clients, and a browser.

uvicorn ends its connections at SIGTERM (uvicorn/server.py, shutdown): an idle one is closed, a request that has begun
is answered, and a websocket is closed with the code 1012, which is a restart of the service (RFC 6455, registry of
close codes). What a client has not sent by then on a connection that it keeps is lost, so such a client tries again."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGTERM
from types import TracebackType
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

import prefect_visitor
from administrator import as_administrator
from browser import Browser, open_browser
from prefect_load import HEALTH, ask
from prefect_server import START_LIMIT, prefect_environment
from supervisor import LIMIT, Supervisor, wait_until
from google_emulator.client import GoogleEmulator

# The request that never ends is given up when this is over; all that is looked at while the old server drains comes
# before.
DRAIN_TIMEOUT = "20s"
REFRESH_INTERVAL = "30s"
CLIENTS = 4
POOL = "process-pool"
RESTART = 1012
FLOW = """
import time
from pathlib import Path
from prefect import flow, task

@task
def look(file):
    while not Path(file).exists():
        time.sleep(0.1)

@flow
def across(file: str):
    look(file)
"""


class Api:
    """Prefect's API, over a connection of its own for each request."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api"

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx.request(method, self._base + path, json=body, timeout=LIMIT)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def emit(self, name: str) -> None:
        event = {
            "id": str(uuid.uuid4()),
            "event": prefect_visitor.EVENTS + name,
            "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": "test"},
        }
        self("POST", "/events", [event])

    def deploy(self, folder: Path) -> str:
        (folder / "flow.py").write_text(FLOW)
        flow = self("POST", "/flows/", {"name": "across"})["id"]
        deployment = {
            "name": "across",
            "flow_id": flow,
            "entrypoint": "flow.py:across",
            "path": str(folder),
            "work_pool_name": POOL,
            "enforce_parameter_schema": False,
        }
        return self("POST", "/deployments/", deployment)["id"]

    def run(self, deployment: str, file: Path) -> dict[str, Any]:
        return self("POST", f"/deployments/{deployment}/create_flow_run", {"parameters": {"file": str(file)}})

    def state(self, run: dict[str, Any]) -> str:
        return self("GET", f"/flow_runs/{run['id']}")["state_type"]


def stored_events(emulator: GoogleEmulator) -> set[str]:
    statement = f"SELECT event FROM events WHERE event LIKE '{prefect_visitor.EVENTS}%'"
    return {row["event"] for row in as_administrator(emulator, statement)}


class Subscription:
    """A websocket that gets the two events of the test itself, also one that came before it. The many events of the
    load would fill its queue, since nobody reads it all the time, and it would answer no ping then."""

    def __init__(self, port: int) -> None:
        address = f"ws://127.0.0.1:{port}/api/events/out"
        self._socket: ClientConnection = connect(address, subprotocols=[Subprotocol("prefect")])
        self._socket.send(json.dumps({"type": "auth", "token": None}))
        assert json.loads(self._socket.recv(timeout=LIMIT))["type"] == "auth_success"
        names = [prefect_visitor.EVENTS + name for name in ("before", "after")]
        now, day = datetime.now(UTC), timedelta(days=1)
        occurred = {"since": (now - day).isoformat(), "until": (now + day).isoformat()}
        wanted = {"event": {"name": names}, "occurred": occurred}
        self._socket.send(json.dumps({"type": "filter", "filter": wanted}))

    def wait_for(self, name: str) -> None:
        while json.loads(self._socket.recv(timeout=LIMIT))["event"]["event"] != prefect_visitor.EVENTS + name:
            pass

    def close_code(self) -> int | None:
        """Waits for the server to close it."""
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                self._socket.recv(timeout=LIMIT)
        return closed.value.rcvd.code if closed.value.rcvd else None

    def close(self) -> None:
        self._socket.close()


class OpenRequest:
    """A request whose body comes later. The server is at work on it: it has asked for the body."""

    def __init__(self, port: int) -> None:
        self._body = json.dumps({"name": "open"}).encode()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
        self._connection.putrequest("POST", "/api/flows/")
        self._connection.putheader("Content-Type", "application/json")
        self._connection.putheader("Content-Length", str(len(self._body)))
        self._connection.putheader("Expect", "100-continue")
        self._connection.endheaders()
        interim = b""
        while b"\r\n\r\n" not in interim:
            interim += self._connection.sock.recv(1)
        assert interim.startswith(b"HTTP/1.1 100 ")

    def finish(self) -> None:
        self._connection.send(self._body)

    def answer(self) -> int:
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def wait_for_end(self) -> None:
        """With h11 the answer does not say that it is the last one (uvicorn/protocols/http/h11_impl.py)."""
        assert self._connection.sock.recv(1) == b""

    def close(self) -> None:
        self._connection.close()


class Load:
    """Clients that send one request after the other for as long as the block lasts, and repeat none."""

    def __init__(self, clients: list[Callable[[], object]], pause: float = 0.01) -> None:
        self._pause = pause
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=client, daemon=True) for client in enumerate(clients)]
        self.requests = 0
        self.failures: list[tuple[int, Exception]] = []
        """The client's number and what it saw."""
        self.unexpected: list[BaseException] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, send: Callable[[], object]) -> None:
        try:
            while not self._ended.wait(self._pause):
                try:
                    send()
                except (OSError, http.client.HTTPException, httpx.TransportError) as error:
                    self.failures.append((number, error))
                self.requests += 1
        except BaseException as error:
            self.unexpected.append(error)

    def summary(self) -> dict[str, object]:
        how = Counter(f"{type(error).__name__}: {error}" for _, error in self.failures)
        return {"requests": self.requests, "failed": len(self.failures), "failed_how": dict(how)}


def fresh_client(port: int) -> Callable[[], object]:
    """A connection for each request."""

    def send() -> None:
        if error := ask(port, HEALTH).error:
            raise ConnectionError(error)

    return send


def pooled_client(port: int) -> Callable[[], object]:
    """httpx looks before it uses a connection again whether the server has closed it."""
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT)
    return lambda: client.get("/api/health").raise_for_status()


def plain_client(port: int) -> Callable[[], object]:
    """http.client does not look. It connects again when the connection broke."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)

    def send() -> None:
        try:
            connection.request("GET", "/api/health")
            assert connection.getresponse().read() == b"true"
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    return send


def client_port(answer: httpx.Response) -> int:
    """Which connection the answer came by."""
    return answer.extensions["network_stream"].get_extra_info("client_addr")[1]


@contextlib.contextmanager
def program(*command: str, port: int, folder: Path) -> Iterator[Supervisor]:
    """A client of Prefect in a process of its own."""
    folder.mkdir()
    environment = prefect_environment(folder) | {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    }
    with Supervisor("--no-token", command=command, environment=environment, health=False) as supervisor:
        yield supervisor


def said(visitor: Supervisor) -> list[str]:
    lines = [line for line in visitor.output if line.startswith(prefect_visitor.SAYS)]
    return [line.removeprefix(prefect_visitor.SAYS) for line in lines]


def events_seen(visitor: Supervisor) -> set[str]:
    return {line.removeprefix("event ") for line in said(visitor) if line.startswith("event ")}


def look_around(browser: Browser, texts: dict[str, str]) -> None:
    """Goes from page to page of the UI by its links, as a user does: a page is not loaded again, but its data is."""
    for link, text in texts.items():
        browser.click("a", link)
        browser.wait_for_text(text)
        assert "Can't connect to Server API" not in browser.text()


@pytest.mark.thorough("test_prefect_rolling.py replaces Prefect under load too; this one looks at every kind of client")
@pytest.mark.prefect
@pytest.mark.long
def test_what_clients_see_of_a_rolling_rotation(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(GoogleEmulator(token_life="1h", cache_model="five-minutes"))
        supervisor = stack.enter_context(
            Supervisor(
                *("--rotation", "rolling", "--refresh-interval", REFRESH_INTERVAL),
                # On a busy machine the next server may start slowly, and must not be given up for that.
                *("--drain-timeout", DRAIN_TIMEOUT, "--start-deadline", "10m"),
                emulator=emulator,
                # As in the image: the UI asks the server that it came from.
                environment=prefect_environment(tmp_path) | {"PREFECT_UI_API_URL": "/api"},
            )
        )
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        port, api = supervisor.port, Api(supervisor.port)

        # Clients that are there before the rotation.
        start_worker = ("prefect", "worker", "start", "--pool", POOL, "--type", "process")
        worker = stack.enter_context(program(*start_worker, port=port, folder=tmp_path / "worker"))
        start_visitor = ("python", prefect_visitor.__file__)
        visitor = stack.enter_context(program(*start_visitor, port=port, folder=tmp_path / "visitor"))
        browser = stack.enter_context(open_browser(f"http://127.0.0.1:{port}"))
        visitor.wait_for_output("is subscribed", timeout=START_LIMIT)
        visitor.wait_for_output("reads", timeout=START_LIMIT)
        worker.wait_for_output("started!", timeout=START_LIMIT)
        deployment = api.deploy(tmp_path)
        may_end = tmp_path / "may-end"
        run = api.run(deployment, may_end)
        wait_until(lambda: api.state(run) == "RUNNING", "the flow run to run", START_LIMIT, pause=0.5)
        api.emit("before")
        wait_until(lambda: prefect_visitor.EVENTS + "before" in stored_events(emulator), "the event", LIMIT, pause=0.2)
        subscription = stack.enter_context(contextlib.closing(Subscription(port)))
        subscription.wait_for("before")
        browser.open("/v2/flows")
        browser.wait_for_text("across")
        idle = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT))
        first_port = client_port(idle.get("/api/health"))
        assert client_port(idle.get("/api/health")) == first_port
        unused = stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)))
        unused.connect()
        to_finish, endless = (stack.enter_context(contextlib.closing(OpenRequest(port))) for _ in range(2))

        sent: list[str] = []

        def emit_next() -> None:
            name = f"across-{len(sent):04}"
            api.emit(name)
            sent.append(prefect_visitor.EVENTS + name)

        fresh, pooled, plain = (
            Load([open_client(port) for _ in range(CLIENTS)])
            for open_client in (fresh_client, pooled_client, plain_client)
        )
        with Load([emit_next], pause=0.25) as emitter, fresh, pooled, plain:
            emulator.rotate()
            supervisor.wait_for_log("rotation: new connections go to the next child", timeout=START_LIMIT)

            # The old server drains.
            assert subscription.close_code() == RESTART
            again = stack.enter_context(contextlib.closing(Subscription(port)))
            again.wait_for("before")
            assert unused.sock.recv(1) == b""
            assert ask(port, HEALTH).answered
            assert "rotation: child drained" not in supervisor.messages()
            to_finish.finish()
            assert to_finish.answer() == 201
            to_finish.wait_for_end()
            look_around(browser, {"Work Pools": POOL})
            try:
                gave_up = f"answer {endless.answer()}"
            except (OSError, http.client.HTTPException) as error:
                gave_up = repr(error)
            drained = supervisor.wait_for_log("rotation: child drained", timeout=START_LIMIT)
            assert drained.fields["how"] == "ended by itself" and drained.fields["code"] == 128 + SIGTERM
            answered = fresh.requests
            wait_until(lambda: fresh.requests >= answered + CLIENTS, "answers of the next server alone")

        # Only the next server is left.
        api.emit("after")
        again.wait_for("after")
        answer = idle.get("/api/health")
        assert answer.status_code == 200 and client_port(answer) != first_port
        may_end.touch()
        after = api.run(deployment, may_end)
        for one in (run, after):
            ended = ("COMPLETED", "FAILED", "CRASHED")
            wait_until(lambda one=one: api.state(one) in ended, "the flow run's end", START_LIMIT, pause=0.5)
            assert api.state(one) == "COMPLETED", worker.transcript()
        assert worker.alive
        look_around(browser, {"Runs": after["name"], "Deployments": "across"})
        visitor.wait_for_output(f"event {prefect_visitor.EVENTS}after")
        kept = stored_events(emulator)
        visitor.stop()
        worker.stop()
        refused = emulator.refused_logins()

    *lines, last = said(visitor)
    numbers = {
        "a request that never ends": gave_up,
        "drain_ms": drained.fields["took_ms"],
        "a connection for each request": fresh.summary(),
        "kept connections, httpx": pooled.summary(),
        "kept connections, http.client": plain.summary(),
        "prefect's client": last,
        "events": {
            "sent": len(sent),
            "kept": len(kept.intersection(sent)),
            "seen by a subscriber": len(events_seen(visitor).intersection(sent)),
        },
        "worker's complaints": [line for line in worker.output + worker.errors if "ERROR" in line or "WARNING" in line],
    }
    record_property("clients", numbers)
    print(json.dumps(numbers, indent=2))

    assert fresh.failures == [] and emitter.failures == []
    for load in (emitter, fresh, pooled, plain):
        assert load.unexpected == []
        # A connection breaks once, and the client's next one is to the next server.
        assert all(count == 1 for count in Counter(number for number, _ in load.failures).values())
    assert [line for line in lines if "failed" in line or "ended early" in line or "any more" in line] == []
    assert refused == []
