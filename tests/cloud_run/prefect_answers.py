"""A server that answers as Prefect's API does, for the script `verify`."""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DEPLOYMENT = "11111111-1111-4111-8111-111111111111"
RUN = "22222222-2222-4222-8222-222222222222"


class Prefect:
    """The answers by method and path; the states of a run grow by one with each request."""

    def __init__(self) -> None:
        self.states = ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED"]
        self.asked = 0
        self.questions: list[str] = []
        # With a password, all but the UI and the health page ask for it, as Prefect does.
        self.password = ""
        # Or the file with it, if only the script that is under way makes the password.
        self.password_file: Path | None = None
        self.answers: dict[str, Any] = {
            "GET /": "<!DOCTYPE html><html><head><title>Prefect</title></head></html>",
            "GET /api/health": True,
            "GET /api/admin/version": '"3.9.1"',
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
                question = f"{self.command} {self.path}"
                prefect.questions.append(question)
                body = prefect.answers.get(question)
                password = prefect.password_file.read_text() if prefect.password_file else prefect.password
                wanted = "Basic " + base64.b64encode(password.encode()).decode()
                open_to_all = not password or self.path in ("/", "/api/health")
                if not open_to_all and self.headers["Authorization"] != wanted:
                    self.send_response(401)
                    self.end_headers()
                    return
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
