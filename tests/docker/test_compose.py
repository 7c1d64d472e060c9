"""docker/compose.yaml, and the tutorial's four verification steps on it, by the UI in a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from log_lines import parse_log_line
from supervisor import ReservedPort, wait_until
from google_emulator.client import World

REPOSITORY = Path(__file__).resolve().parents[2]
SCREENSHOTS = REPOSITORY / "build/screenshots"
# The longest that a page may take on a machine that is busy with the rest.
PAGE_LIMIT = 60
TOKEN_LIFE = "20s"
DEPLOYMENT = "simple-flow/cloud-run-deployment"


@dataclass(frozen=True)
class System:
    """What `docker compose up` has started."""

    command: list[str]
    environment: dict[str, str]
    ui: str
    health: str
    world: World

    def compose(self, *arguments: str) -> str:
        command = [*self.command, *arguments]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert result.returncode == 0, f"{' '.join(command)}: {result.stdout}{result.stderr}"
        return result.stdout

    def api(self, method: str, path: str, **options: Any) -> Any:
        answer = httpx.request(method, f"{self.ui}/api{path}", timeout=30, **options)
        return answer.raise_for_status().json()

    def rotations(self) -> list[datetime]:
        lines = map(parse_log_line, self.compose("logs", "--no-color", "--no-log-prefix", "server").splitlines())
        return [line.time for line in lines if line and "handed over in place" in line.message]


def compose_command() -> list[str]:
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"]


def is_ready(health: str) -> bool:
    # Docker's own end of a published port may take a connection for a server that is not there yet.
    with suppress(httpx.TransportError):
        return httpx.get(f"{health}/readyz").is_success
    return False


@pytest.fixture(scope="module")
def system(engine: docker.DockerClient) -> Iterator[System]:
    ports = {name: ReservedPort() for name in ("PREFECT_PORT", "HEALTH_PORT", "EMULATOR_PORT")}
    environment = os.environ | {name: str(port.number) for name, port in ports.items()} | {"TOKEN_LIFE": TOKEN_LIFE}
    for port in ports.values():
        port.release()
    command = [*compose_command(), "-f", str(REPOSITORY / "docker/compose.yaml"), "-p", f"test{os.getpid()}"]
    address = {name: f"http://127.0.0.1:{port.number}" for name, port in ports.items()}
    world = World.elsewhere({"control": address["EMULATOR_PORT"]})
    it = System(command, environment, address["PREFECT_PORT"], address["HEALTH_PORT"], world)
    try:
        it.compose("up", "--detach", "--no-build")
        wait_until(lambda: is_ready(it.health), "the server to be ready", 180, pause=0.5)
        yield it
    finally:
        subprocess.run([*command, "down", "--volumes", "--timeout", "10"], env=environment, capture_output=True)


class Browser:
    """Headless Chromium, which looks up no name, so that nothing of a page waits for the world outside."""

    def __init__(self, ui: str, profile: str) -> None:
        self._ui = ui
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--window-size=1400,900",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self._driver = webdriver.Chrome(options=options, service=service)

    def close(self) -> None:
        self._driver.quit()

    def open(self, path: str) -> None:
        self._driver.get(self._ui + path)

    def text(self) -> str:
        return self._driver.find_element(By.TAG_NAME, "body").text

    def wait_for_text(self, *texts: str) -> None:
        def there(_: object) -> bool:
            body = self.text()
            return all(text in body for text in texts)

        WebDriverWait(self._driver, PAGE_LIMIT).until(there, f"{texts} on {self._driver.current_url}")

    def click(self, selector: str, text: str) -> None:
        """The element of that selector whose text is `text`."""

        def find(_: object) -> WebElement | None:
            elements = self._driver.find_elements(By.CSS_SELECTOR, selector)
            return next((element for element in elements if element.text == text), None)

        waiting = WebDriverWait(self._driver, PAGE_LIMIT)
        waiting.until(find, f"{selector} with {text!r} on {self._driver.current_url}").click()

    def keep_screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self._driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


@pytest.fixture(scope="module")
def browser(system: System) -> Iterator[Browser]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        it = Browser(system.ui, profile)
        yield it
        it.close()


def test_step_1_the_ui_shows_the_dashboard(browser: Browser) -> None:
    browser.open("/")
    browser.wait_for_text("Dashboard", "Work Pools", "Deployments")
    browser.keep_screenshot("1-dashboard")


def test_step_2_the_worker_is_online(browser: Browser) -> None:
    browser.open("/v2/work-pools/work-pool/cloud-run-pool?tab=Workers")
    browser.wait_for_text("cloud-run-pool", "ProcessWorker", "Online")
    browser.keep_screenshot("2-work-pool")


def test_step_3_the_deployment_is_there(browser: Browser) -> None:
    browser.open("/v2/deployments")
    browser.wait_for_text("simple-flow", "cloud-run-deployment")
    browser.keep_screenshot("3-deployments")


def test_step_4_a_quick_run_completes_across_a_token_rotation(system: System, browser: Browser) -> None:
    deployment = system.api("GET", f"/deployments/name/{DEPLOYMENT}")["id"]
    browser.open(f"/v2/deployments/deployment/{deployment}")
    browser.click("button", "Run")

    def rotation_is_near() -> bool:
        return float(httpx.get(f"{system.health}/status").json()["next_refresh_in_seconds"]) < 1.5

    # A run takes longer than that to its end: the worker has to find it and to start a process.
    wait_until(rotation_is_near, "a rotation to be near", 60)
    browser.click("[role=menuitem]", "Quick run")

    def runs() -> Any:
        return system.api("POST", "/flow_runs/filter", json={"deployments": {"id": {"any_": [deployment]}}})

    wait_until(lambda: [run["state_name"] for run in runs()] == ["Completed"], "the run to complete", 120, pause=0.2)
    (run,) = runs()
    history = system.api("GET", "/flow_run_states/", params={"flow_run_id": run["id"]})
    names = [state["name"] for state in history]
    assert names[0] == "Scheduled" and names[-2:] == ["Running", "Completed"], names
    started, ended = (datetime.fromisoformat(history[number]["timestamp"]) for number in (0, -1))
    assert any(started < rotation < ended for rotation in system.rotations()), "no rotation fell into the run"
    assert system.world.refused_logins() == []
    assert httpx.get(f"{system.health}/status").json()["restarts"] == 0

    said = "The worker on Cloud Run says hello"
    log = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
    # It arrives a little later, and the page of a completed run asks once.
    wait_until(lambda: said in str(system.api("POST", "/logs/filter", json=log)), "the run's log", 30, pause=0.5)
    browser.open(f"/v2/runs/flow-run/{run['id']}")
    browser.wait_for_text(run["name"], "Completed", said)
    browser.keep_screenshot("4-flow-run")
    browser.open("/v2/runs")
    browser.wait_for_text(run["name"], "Completed")
    browser.keep_screenshot("5-runs")


def test_the_verification_script_for_google_cloud_passes_here_too(system: System) -> None:
    environment = os.environ | {"SERVER_URL": system.ui}
    result = subprocess.run(
        [REPOSITORY / "deploy/cloud_run/verify"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all is well" in result.stderr
