"""A deployment with a schedule in a real Prefect server, and the runs that the scheduler makes of it."""

from __future__ import annotations

from typing import Any

import httpx

from supervisor import wait_until

# The scheduler's own loop looks every 60 s (PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS) for deployments without enough runs, and
# every 5 s at those that were changed lately.
SCHEDULE_LIMIT = 600.0


def deploy_hourly(api: httpx.Client) -> str:
    """Returns the deployment's id."""

    def create(path: str, **fields: Any) -> str:
        return api.post(path, json=fields).raise_for_status().json()["id"]

    flow = create("/flows/", name="scheduled")
    schedule = {"active": True, "schedule": {"cron": "0 * * * *", "timezone": "UTC"}}
    return create("/deployments/", name="every-hour", flow_id=flow, schedules=[schedule])


def wait_for_runs(api: httpx.Client, deployment: str) -> list[dict[str, Any]]:
    def runs() -> list[dict[str, Any]]:
        of_deployment = {"deployments": {"id": {"any_": [deployment]}}}
        return api.post("/flow_runs/filter", json=of_deployment).raise_for_status().json()

    return wait_until(runs, "runs of the deployment", SCHEDULE_LIMIT, pause=0.5)
