"""docker/compose.yaml, and the tutorial's four verification steps on it, by the UI in a real browser."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import docker
import httpx
import pytest

from browser import Browser, open_browser
from compose import REPOSITORY, RUN_LIMIT, System, start_system
from supervisor import wait_until


@pytest.fixture(scope="module")
def system(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with start_system(tmp_path_factory.mktemp("compose")) as it:
        yield it


@pytest.fixture(scope="module")
def browser(system: System) -> Iterator[Browser]:
    with open_browser(system.ui) as it:
        yield it


def test_step_1_the_ui_shows_the_dashboard(browser: Browser) -> None:
    browser.open("/")
    browser.wait_for_text("Dashboard", "Work Pools", "Deployments")
    browser.keep_screenshot("1-dashboard")


def test_step_2_the_worker_is_online(browser: Browser) -> None:
    browser.open("/v2/work-pools/work-pool/cloud-run-pool?tab=Workers")
    browser.wait_for_text("cloud-run-pool", "ProcessWorker", "Online")
    browser.keep_screenshot("2-work-pool")


def test_step_3_the_deployment_is_there(system: System, browser: Browser) -> None:
    # The page asks for the list when it is opened, and the worker makes the deployment some time after it is online.
    system.deployment()
    browser.open("/v2/deployments")
    browser.wait_for_text("simple-flow", "cloud-run-deployment")
    browser.keep_screenshot("3-deployments")


def test_step_4_a_quick_run_completes_across_a_token_rotation(system: System, browser: Browser) -> None:
    deployment = system.deployment()["id"]
    browser.open(f"/v2/deployments/deployment/{deployment}")
    browser.click("button", "Run")
    browser.click("[role=menuitem]", "Quick run")

    def state(name: str) -> dict[str, Any] | None:
        runs = system.runs(deployment, scheduled=False)
        return runs[0] if [run["state_name"] for run in runs] == [name] else None

    wait_until(lambda: state("Running"), "the run to be Running", RUN_LIMIT, pause=0.2)
    token = system.rotate()

    def logged_in_with_it() -> bool:
        # More at once than the pool has idle connections, so that some log in. How many overlap is the machine's affair.
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: system.api("POST", "/flows/filter", json={}), range(40)))
        return any(login.accepted and login.token == token for login in system.emulator.logins())

    wait_until(logged_in_with_it, "a login with the new token", RUN_LIMIT)
    assert state("Running")
    system.let_runs_go_on()
    run = wait_until(lambda: state("Completed"), "the run to complete", RUN_LIMIT, pause=0.2)
    history = system.api("GET", "/flow_run_states/", params={"flow_run_id": run["id"]})
    names = [state["name"] for state in history]
    assert names[0] == "Scheduled" and names[-2:] == ["Running", "Completed"], names
    assert system.emulator.refused_logins() == []
    assert httpx.get(f"{system.health}/status").json()["restarts"] == 0

    said = "The worker on Cloud Run says hello"
    log = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
    # The log arrives a little later, and the page of a completed run asks for it only once.
    wait_until(lambda: said in str(system.api("POST", "/logs/filter", json=log)), "the run's log", RUN_LIMIT, pause=0.5)
    browser.open(f"/v2/runs/flow-run/{run['id']}")
    browser.wait_for_text(run["name"], "Completed", said)
    browser.keep_screenshot("4-flow-run")
    browser.open("/v2/runs")
    browser.wait_for_text(run["name"], "Completed")
    browser.keep_screenshot("5-runs")


def test_runs_are_scheduled_by_the_deployments_cron(system: System) -> None:
    """Prefect 3.8.8 with SQLAlchemy 2.1.9 made no runs, and all probes answered 200."""
    deployment = system.deployment()
    (schedule,) = deployment["schedules"]
    assert schedule["active"] and schedule["schedule"]["cron"] == "0 * * * *"
    scheduled = wait_until(
        lambda: system.runs(deployment["id"], scheduled=True), "scheduled runs", RUN_LIMIT, pause=0.5
    )
    times = [datetime.fromisoformat(run["expected_start_time"]) for run in scheduled]
    assert len(set(times)) == len(times) and all((time.minute, time.second) == (0, 0) for time in times)


def test_the_verification_script_for_google_cloud_passes_here_too(system: System) -> None:
    system.deployment()
    system.let_runs_go_on()
    environment = os.environ | {"SERVER_URL": system.ui, "VERIFY_TIMEOUT": str(RUN_LIMIT)}
    result = subprocess.run(
        [REPOSITORY / "deploy/cloud_run/verify"], env=environment, capture_output=True, text=True, timeout=4 * RUN_LIMIT
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all is well" in result.stderr
