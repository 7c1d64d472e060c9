"""Links in notifications: they need PREFECT_UI_URL on the server, since nothing else tells it its own address.

Prefect makes them by `{{ flow_run|ui_url }}` in an automation's text (prefect/server/events/jinja_filters.py,
ui_url)."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor, wait_until
from google_emulator.client import GoogleEmulator

# Triggers are evaluated by a service of the server, in its own time.
NOTIFICATION_LIMIT = 120.0
OF_PREFECT_ALONE = pytest.mark.thorough("what Prefect makes of a setting that the program only passes on")
ADDRESS = "https://prefect-server-123456789012.us-central1.run.app"


@contextmanager
def mailbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a page that takes notifications, and what it got."""
    received: list[dict[str, Any]] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


class Api:
    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api"

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx.request(method, self._base + path, json=body, timeout=60)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def notify_of_failures(self, address: str) -> None:
        """An automation as the UI makes it: a failed flow run is told to a webhook."""
        kind = self("GET", "/block_types/slug/custom-webhook")["id"]
        (schema, *_) = self("POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind]}}})
        data = {"name": "mailbox", "url": address, "json_data": {"text": "{{body}}"}}
        block = {"name": "mailbox", "block_type_id": kind, "block_schema_id": schema["id"], "data": data}
        document = self("POST", "/block_documents/", block)["id"]
        trigger = {
            "type": "event",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "expect": ["prefect.flow-run.Failed"],
            "for_each": ["prefect.resource.id"],
            "posture": "Reactive",
            "threshold": 1,
            "within": 0,
        }
        action = {
            "type": "send-notification",
            "block_document_id": document,
            "subject": "A run failed",
            "body": "{{ flow_run|ui_url }}",
        }
        self("POST", "/automations/", {"name": "failures", "trigger": trigger, "actions": [action]})

    def failed_run(self) -> str:
        flow = self("POST", "/flows/", {"name": "a-flow"})["id"]
        run = self("POST", "/flow_runs/", {"flow_id": flow})["id"]
        self("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "FAILED", "name": "Failed"}, "force": True})
        return run


@pytest.mark.prefect
@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "link"),
    [
        pytest.param({}, "None", id="none", marks=OF_PREFECT_ALONE),
        pytest.param({"PREFECT_UI_URL": ADDRESS}, f"{ADDRESS}/runs/flow-run/{{run}}", id="ui"),
        # Without its own setting the UI's address follows from the API's.
        pytest.param(
            {"PREFECT_API_URL": f"{ADDRESS}/api"}, f"{ADDRESS}/runs/flow-run/{{run}}", id="api", marks=OF_PREFECT_ALONE
        ),
    ],
)
def test_a_notification_has_a_link_if_the_server_knows_its_address(
    settings: dict[str, str], link: str, tmp_path: Path
) -> None:
    with (
        mailbox() as (address, received),
        GoogleEmulator(token_life="1h") as emulator,
        Supervisor(
            *("--rotation", "in-place"), emulator=emulator, environment=prefect_environment(tmp_path) | settings
        ) as supervisor,
    ):
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        api = Api(supervisor.port)
        api.notify_of_failures(address)
        run = api.failed_run()
        wait_until(lambda: received, "the notification", NOTIFICATION_LIMIT, pause=0.2)
        assert received == [{"text": link.format(run=run)}]
