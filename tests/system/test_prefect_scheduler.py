"""Real Prefect's scheduler works behind the supervisor.

Prefect 3.8.8 with SQLAlchemy 2.1 does not pass: it answers every request and every probe, and its scheduler fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from google_emulator.client import GoogleEmulator
from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor, wait_until

# The scheduler's own loop looks every 60 s (PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS) for deployments without enough runs, and
# every 5 s at those that were changed lately.
SCHEDULE_LIMIT = 150.0


@pytest.mark.prefect
@pytest.mark.long
def test_a_deployment_with_a_schedule_gets_its_runs(tmp_path: Path) -> None:
    with (
        GoogleEmulator(token_life="1h") as emulator,
        Supervisor("--rotation", "in-place", emulator=emulator, environment=prefect_environment(tmp_path)) as supervisor,
    ):
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        with httpx.Client(base_url=f"http://127.0.0.1:{supervisor.port}/api", timeout=45, trust_env=False) as api:

            def create(path: str, **fields: Any) -> str:
                return api.post(path, json=fields).raise_for_status().json()["id"]

            flow = create("/flows/", name="scheduled")
            schedule = {"active": True, "schedule": {"cron": "0 * * * *", "timezone": "UTC"}}
            deployment = create("/deployments/", name="every-hour", flow_id=flow, schedules=[schedule])

            def runs() -> list[dict[str, Any]]:
                of_deployment = {"deployments": {"id": {"any_": [deployment]}}}
                return api.post("/flow_runs/filter", json=of_deployment).raise_for_status().json()

            wait_until(runs, "runs of the deployment", SCHEDULE_LIMIT, pause=0.5)
            assert {run["state_type"] for run in runs()} == {"SCHEDULED"}
