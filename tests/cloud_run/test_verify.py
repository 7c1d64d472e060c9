"""verify is run against a server that answers as Prefect's API does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from google_cloud import GoogleCloud

DEPLOYMENT = "11111111-1111-4111-8111-111111111111"
RUN = "22222222-2222-4222-8222-222222222222"


class Prefect:
    """The answers by method and path; the states of a run grow by one with each request."""

    def __init__(self) -> None:
        self.states = ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED"]
        self.asked = 0
        self.tokens: set[str | None] = set()
        self.answers: dict[str, Any] = {
            "GET /": "<!DOCTYPE html><html><head><title>Prefect</title></head></html>",
            "GET /api/health": True,
            "POST /api/work_pools/cloud-run-pool/workers/filter": [
                {"id": RUN, "name": "worker", "status": "ONLINE"}
            ],
            "GET /api/deployments/name/simple-flow/cloud-run-deployment": {"id": DEPLOYMENT, "flow_id": RUN},
            f"POST /api/deployments/{DEPLOYMENT}/create_flow_run": {"id": RUN, "deployment_id": DEPLOYMENT},
        }
        prefect = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer()

            def answer(self) -> None:
                prefect.tokens.add(self.headers["Authorization"])
                question = f"{self.command} {self.path}"
                body = prefect.answers.get(question)
                if question == f"GET /api/flow_run_states/?flow_run_id={RUN}":
                    prefect.asked += 1
                    body = [{"id": DEPLOYMENT, "type": state} for state in prefect.states[: prefect.asked]]
                self.send_response(200 if body is not None else 404)
                self.end_headers()
                self.wfile.write(
                    (body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))).encode()
                )

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def prefect() -> Iterator[Prefect]:
    prefect = Prefect()
    threading.Thread(target=prefect.server.serve_forever, daemon=True).start()
    yield prefect
    prefect.server.shutdown()
    prefect.server.server_close()


def test_a_run_is_followed_until_it_completes(cloud: GoogleCloud, prefect: Prefect) -> None:
    result = cloud.succeed("verify", SERVER_URL=prefect.url + "/")
    said = result.stderr.splitlines()
    assert [line for line in said if "the run is" in line] == [
        f"verify: the run is {state}" for state in ("scheduled", "pending", "running", "completed")
    ]
    assert said[-1] == "verify: all is well"
    # A URL is sufficient: gcloud is not asked.
    assert cloud.commands == []


@pytest.mark.parametrize(
    ("question", "answer", "step"),
    [
        ("GET /", "<title>Welcome to nginx!</title>", "1 UI"),
        ("GET /api/health", False, "1 UI"),
        ("POST /api/work_pools/cloud-run-pool/workers/filter", [{"status": "OFFLINE"}], "2 Worker"),
        ("POST /api/work_pools/cloud-run-pool/workers/filter", [], "2 Worker"),
        ("GET /api/deployments/name/simple-flow/cloud-run-deployment", None, "3 Deployment"),
        (f"POST /api/deployments/{DEPLOYMENT}/create_flow_run", None, "4 Run"),
    ],
)
def test_what_is_not_there_is_named(
    question: str, answer: Any, step: str, cloud: GoogleCloud, prefect: Prefect
) -> None:
    prefect.answers[question] = answer
    result = cloud.script("verify", SERVER_URL=prefect.url, VERIFY_TIMEOUT="0")
    assert result.returncode == 1
    assert f'step "{step}"' in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("state", ["FAILED", "CRASHED", "CANCELLED"])
def test_a_run_that_does_not_complete_is_a_failure(state: str, cloud: GoogleCloud, prefect: Prefect) -> None:
    prefect.states[-1] = state
    result = cloud.script("verify", SERVER_URL=prefect.url)
    assert result.returncode == 1
    assert f"the run is {state.lower()}" in result.stderr and f"/runs/flow-run/{RUN}" in result.stderr


def test_a_run_that_goes_on_and_on_is_a_failure(cloud: GoogleCloud, prefect: Prefect) -> None:
    prefect.states = ["SCHEDULED"]
    result = cloud.script("verify", SERVER_URL=prefect.url, VERIFY_TIMEOUT="1")
    assert result.returncode == 1 and "has not completed within 1 s" in result.stderr


def test_a_private_server_gets_an_identity_token(cloud: GoogleCloud, prefect: Prefect) -> None:
    cloud.succeed("setup")
    cloud.succeed("deploy")
    cloud.succeed("verify", ACCESS="private", STAND_IN_SERVICE_URL=prefect.url)
    assert prefect.tokens == {"Bearer an-identity-token"}
