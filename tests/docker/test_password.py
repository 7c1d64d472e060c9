"""docker/compose.yaml with a password: the UI asks for it in a real browser, the worker has it, and a run completes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import docker
import httpx
import pytest

from browser import Browser, open_browser
from compose import RUN_LIMIT, System, start_system
from supervisor import wait_until

PASSWORD = "admin:correct horse, battery"
FIELD = "input[type=password]"


@pytest.fixture(scope="module")
def system(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with start_system(tmp_path_factory.mktemp("password"), PASSWORD) as it:
        yield it


@pytest.fixture(scope="module")
def browser(system: System) -> Iterator[Browser]:
    with open_browser(system.ui) as it:
        yield it


def test_the_ui_asks_for_the_password_and_works_with_it(system: System, browser: Browser) -> None:
    deployment = system.deployment()["id"]
    browser.open("/v2/deployments")
    browser.wait_for_text("Login")
    assert "cloud-run-deployment" not in browser.text()
    browser.keep_screenshot("password-1-login")

    browser.type_into(FIELD, "admin:wrong")
    browser.click("button", "Login")
    browser.wait_for_text("Invalid credentials")
    browser.keep_screenshot("password-2-wrong")

    browser.type_into(FIELD, PASSWORD)
    browser.click("button", "Login")
    # It goes on to the page that was asked for.
    browser.wait_for_text("simple-flow", "cloud-run-deployment")
    browser.keep_screenshot("password-3-deployments")
    browser.open(f"/v2/deployments/deployment/{deployment}")
    browser.click("button", "Run")
    browser.click("[role=menuitem]", "Quick run")

    def completed() -> dict[str, Any] | None:
        runs = system.runs(deployment, scheduled=False)
        return next((run for run in runs if run["state_name"] == "Completed"), None)

    wait_until(lambda: system.runs(deployment, scheduled=False), "the run", RUN_LIMIT, pause=0.2)
    system.let_runs_go_on()
    run = wait_until(completed, "the run to complete", RUN_LIMIT, pause=0.5)
    browser.open(f"/v2/runs/flow-run/{run['id']}")
    browser.wait_for_text(run["name"], "Completed")
    browser.keep_screenshot("password-4-flow-run")
    browser.open("/v2/work-pools/work-pool/cloud-run-pool?tab=Workers")
    browser.wait_for_text("cloud-run-pool", "ProcessWorker", "Online")


def test_without_the_password_only_the_probes_are_answered(system: System) -> None:
    assert httpx.post(f"{system.ui}/api/flows/filter", json={}).status_code == 401
    assert httpx.get(f"{system.ui}/api/health").status_code == 200
    assert httpx.get(f"{system.health}/readyz").status_code == 200
    system.compose("exec", "-T", "server", "prefect-supervisor", "--probe", "http://127.0.0.1:8081/readyz")
    assert PASSWORD not in system.compose("logs", "--no-color")
