"""Real Prefect's scheduler works behind the supervisor.

Prefect 3.8.8 with SQLAlchemy 2.1 does not pass: it answers every request and every probe, and its scheduler fails.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from google_emulator.client import GoogleEmulator
from prefect_server import START_LIMIT, prefect_environment
from scheduled_runs import deploy_hourly, wait_for_runs
from supervisor import Supervisor


@pytest.mark.prefect
@pytest.mark.long
def test_a_deployment_with_a_schedule_gets_its_runs(tmp_path: Path) -> None:
    with (
        GoogleEmulator(token_life="1h") as emulator,
        Supervisor("--rotation", "in-place", emulator=emulator, environment=prefect_environment(tmp_path)) as supervisor,
    ):
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        with httpx.Client(base_url=f"http://127.0.0.1:{supervisor.port}/api", timeout=45, trust_env=False) as api:
            runs = wait_for_runs(api, deploy_hourly(api))
            assert {run["state_type"] for run in runs} == {"SCHEDULED"}
