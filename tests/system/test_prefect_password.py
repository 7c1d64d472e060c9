"""Prefect's own basic authentication, with real Prefect: the server asks for the password, the probes need none, and
the worker of docker/worker has it.

Prefect 3.9.1 lets GET /api/health and GET /api/ready pass without it (prefect/server/api/server.py, token_validation
in create_api_app), and asks for it at each websocket (prefect/server/utilities/subscriptions.py,
accept_prefect_socket)."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from prefect_server import START_LIMIT, prefect_environment
from refusing_front import RefusingFront
from supervisor import BINARY, REPOSITORY, ReservedPort, Supervisor, wait_until
from google_emulator.client import GoogleEmulator

PASSWORD = "admin:correct horse, battery"
WRONG = "admin:wrong horse"
POOL = "cloud-run-pool"
DEPLOYMENT = "simple-flow/cloud-run-deployment"
# The longest that the worker's programs may take on a busy machine, in seconds.
WORKER_LIMIT = 600.0

pytestmark = pytest.mark.prefect


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(password.encode()).decode()}


@dataclass(frozen=True)
class Server:
    supervisor: Supervisor

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.supervisor.port}"

    def status(self, method: str, path: str, password: str | None = None) -> int:
        headers = basic(password) if password is not None else {}
        body = {} if method == "POST" else None
        return httpx.request(method, self.address + path, json=body, headers=headers, timeout=60).status_code

    def api(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx.request(method, f"{self.address}/api{path}", json=body, headers=basic(PASSWORD), timeout=60)
        return answer.raise_for_status().json()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = prefect_environment(tmp_path_factory.mktemp("server")) | {"PREFECT_SERVER_API_AUTH_STRING": PASSWORD}
    with (
        GoogleEmulator(token_life="1h") as emulator,
        Supervisor(*("--rotation", "in-place"), emulator=emulator, environment=environment) as supervisor,
    ):
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        yield Server(supervisor)


@contextmanager
def worker(folder: Path, address: str, environment: Mapping[str, str]) -> Iterator[Supervisor]:
    """As docker/worker/Dockerfile starts it."""
    with ReservedPort("127.0.0.1") as page:
        values = prefect_environment(folder) | {
            "PREFECT_API_URL": f"{address}/api",
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_WEBSERVER_PORT": str(page.number),
        }
        with Supervisor(
            *("--no-token", "--ready-url", f"http://127.0.0.1:{page.number}/health"),
            command=["python", "start.py"],
            environment=values | environment,
            directory=REPOSITORY / "docker/worker",
        ) as supervisor:
            yield supervisor


def said(supervisor: Supervisor, *texts: str) -> list[str]:
    """The worker's own lines that contain one of the texts. Python ends with its last words on standard error."""
    lines = [*supervisor.output, *supervisor.errors]
    return [line for line in lines if line.startswith("worker: ") and any(text in line for text in texts)]


def is_on_a_command_line(text: str) -> bool:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may end meanwhile.
        with suppress(OSError):
            found.append(text in file.read_text(errors="replace"))
    assert found
    return any(found)


def check_it_is_refused(supervisor: Supervisor, answer: str, why: str) -> None:
    assert supervisor.wait(timeout=WORKER_LIMIT) == 1, supervisor.transcript()
    begin, end = said(supervisor, "refuses this worker")
    assert answer in begin and "for 2 s (ACCESS_WAIT)" in begin
    assert f"{answer}, after 2 s too: " in end and why in end
    assert "Traceback" not in supervisor.transcript()
    for password in (PASSWORD, WRONG):
        assert password not in supervisor.transcript()


def test_the_api_asks_for_the_password_and_the_probes_need_none(server: Server) -> None:
    supervisor = server.supervisor
    assert supervisor.health("/readyz").status == 200
    probe = [str(BINARY), "--probe", f"http://127.0.0.1:{supervisor.health_port}/readyz"]
    assert subprocess.run(probe, timeout=60).returncode == 0

    for path in ("/api/health", "/api/ready"):
        assert server.status("GET", path) == 200
    for method, path in (
        ("POST", "/api/flows/filter"),
        ("POST", "/api/block_documents/filter"),
        ("GET", "/api/admin/settings"),
        ("GET", "/api/docs"),
        ("POST", "/api/health"),
        ("GET", "/api/variables/name/health"),
    ):
        assert server.status(method, path) == 401, path
        assert server.status(method, path, WRONG) == 401, path
        # It is not a matter of the password any more.
        assert server.status(method, path, PASSWORD) != 401, path
    assert server.status("POST", "/api/flows/filter", PASSWORD) == 200
    # The page that asks for the password is there without it, and knows that it has to ask.
    assert httpx.get(f"{server.address}/ui-settings").json()["auth"] == "BASIC"

    assert not is_on_a_command_line(PASSWORD)
    assert PASSWORD not in supervisor.transcript()


def test_the_websockets_ask_for_the_password(server: Server) -> None:
    address = server.address.replace("http:", "ws:") + "/api/events/in"

    def first_answer(token: str | None) -> dict[str, str]:
        with connect(address, subprotocols=["prefect"]) as socket:  # type: ignore[list-item]
            socket.send(json.dumps({"type": "auth", "token": token}))
            return json.loads(socket.recv(timeout=60))

    assert first_answer(PASSWORD)["type"] == "auth_success"
    for token in (None, WRONG):
        with pytest.raises(ConnectionClosed) as closed:
            first_answer(token)
        assert closed.value.rcvd and closed.value.rcvd.code == 1008


@pytest.mark.long
def test_a_worker_with_the_password_registers_and_runs_a_flow(server: Server, tmp_path: Path) -> None:
    with worker(tmp_path, server.address, {"PREFECT_API_AUTH_STRING": PASSWORD}) as supervisor:
        supervisor.wait_for_health("/readyz", timeout=WORKER_LIMIT)
        assert said(supervisor, "refuses", "lets this worker in") == []
        deployment = server.api("GET", f"/deployments/name/{DEPLOYMENT}")["id"]
        run = server.api("POST", f"/deployments/{deployment}/create_flow_run", {})["id"]

        def state() -> str:
            return server.api("GET", f"/flow_runs/{run}")["state_type"]

        wait_until(lambda: state() in ("COMPLETED", "FAILED", "CRASHED"), "the run's end", WORKER_LIMIT, pause=0.5)
        assert state() == "COMPLETED", supervisor.transcript()
        # Its log is sent by another client, and its events by a websocket.
        log = {"logs": {"flow_run_id": {"any_": [run]}}}
        text = "The worker on Cloud Run says hello"
        wait_until(lambda: text in str(server.api("POST", "/logs/filter", log)), "the log", WORKER_LIMIT, pause=0.5)
        events = {"filter": {"resource": {"id": [f"prefect.flow-run.{run}"]}}}
        wait_until(
            lambda: "prefect.flow-run.Completed" in str(server.api("POST", "/events/filter", events)),
            "the event",
            WORKER_LIMIT,
            pause=0.5,
        )
        assert not is_on_a_command_line(PASSWORD)
        assert PASSWORD not in supervisor.transcript()


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        pytest.param(
            {"PREFECT_API_AUTH_STRING": WRONG},
            "PREFECT_API_AUTH_STRING is not the value of the server's PREFECT_SERVER_API_AUTH_STRING",
            id="wrong",
        ),
        pytest.param(
            {},
            "set PREFECT_API_AUTH_STRING to the value of the server's PREFECT_SERVER_API_AUTH_STRING",
            id="none",
            marks=pytest.mark.thorough("a wrong password is refused the same way"),
        ),
    ],
)
def test_a_worker_without_the_password_waits_and_then_ends_with_one_line(
    server: Server, tmp_path: Path, environment: dict[str, str], why: str
) -> None:
    with worker(tmp_path, server.address, environment | {"ACCESS_WAIT": "2"}) as supervisor:
        check_it_is_refused(supervisor, "401 Unauthorized", why)


@pytest.mark.long
def test_a_worker_waits_until_access_has_propagated(server: Server, tmp_path: Path) -> None:
    with (
        RefusingFront(("127.0.0.1", server.supervisor.port)) as front,
        worker(tmp_path, front.address, {"PREFECT_API_AUTH_STRING": PASSWORD}) as supervisor,
    ):
        wait_until(lambda: front.refused >= 3 or not supervisor.alive, "three refusals", WORKER_LIMIT, pause=0.2)
        assert supervisor.alive, supervisor.transcript()
        (begin,) = said(supervisor, "refuses this worker", "is not ready")
        assert "403 Forbidden" in begin and "for 600 s (ACCESS_WAIT)" in begin
        front.let_in()
        supervisor.wait_for_health("/readyz", timeout=WORKER_LIMIT)
        # One line when the wait begins, and one when it ends.
        assert len(said(supervisor, "refuses", "lets this worker in", "is not ready")) == 2
        assert said(supervisor, "lets this worker in after")


def test_a_refusal_by_something_before_prefect_is_told_as_such(server: Server, tmp_path: Path) -> None:
    with (
        RefusingFront(("127.0.0.1", server.supervisor.port)) as front,
        worker(
            tmp_path, front.address, {"PREFECT_API_AUTH_STRING": PASSWORD, "ACCESS_WAIT": "2"}
        ) as supervisor,
    ):
        check_it_is_refused(supervisor, "403 Forbidden", "it is not Prefect that refuses, but something before it")


def test_a_wait_that_is_no_number_is_refused_in_one_line(tmp_path: Path) -> None:
    with worker(tmp_path, "http://127.0.0.1:9", {"ACCESS_WAIT": "ten minutes"}) as supervisor:
        assert supervisor.wait(timeout=WORKER_LIMIT) == 1
        assert said(supervisor, "") == [
            'worker: ACCESS_WAIT is "ten minutes", allowed is a number of seconds, such as 600'
        ]
