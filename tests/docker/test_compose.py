"""docker/compose.yaml, and the tutorial's four verification steps on it, by the UI in a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from google_emulator.client import GoogleEmulator

REPOSITORY = Path(__file__).resolve().parents[2]
SCREENSHOTS = REPOSITORY / "build/screenshots"
# The longest that a page and a step of a run may take on a busy machine, in seconds.
PAGE_LIMIT = 120
RUN_LIMIT = 180
DEPLOYMENT = "simple-flow/cloud-run-deployment"
# The flow's run waits for it, so that a test can have something happen while the run is Running.
PERMISSION = "/tmp/may-go-on"
LOG_CALL = "get_run_logger().info("
WAIT = f"""
def wait_for_permission() -> None:
    import os, time

    while not os.path.exists({PERMISSION!r}):
        time.sleep(0.1)

"""
# The metadata server gives out the same token until the test has the next one made. The supervisor's refresh interval is
# so short that a new token is always due.
OVERRIDE = """
services:
  server:
    environment:
      SUPERVISOR_REFRESH_INTERVAL: 1s
  worker:
    volumes: ["{flow}:/app/flow.py:ro"]
"""


@dataclass(frozen=True)
class System:
    """What `docker compose up` has started."""

    command: list[str]
    environment: dict[str, str]
    ui: str
    health: str
    emulator: GoogleEmulator

    def compose(self, *arguments: str) -> str:
        command = [*self.command, *arguments]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert result.returncode == 0, f"{' '.join(command)}: {result.stdout}{result.stderr}"
        return result.stdout

    def api(self, method: str, path: str, **options: Any) -> Any:
        answer = httpx.request(method, f"{self.ui}/api{path}", timeout=30, **options)
        return answer.raise_for_status().json()

    def rotate(self) -> str:
        """Makes the server get a new token, and returns the token's hash once it is handed over."""
        token = self.emulator.rotate().hash
        # As after a thaw, the supervisor looks at once whether a new token is due.
        self.compose("kill", "--signal", "CONT", "server")
        wait_until(lambda: token in self.handed_over(), "the new token to be handed over", RUN_LIMIT, pause=0.5)
        return token

    def handed_over(self) -> list[str]:
        lines = map(parse_log_line, self.compose("logs", "--no-color", "--no-log-prefix", "server").splitlines())
        return [line.fields["hash"] for line in lines if line and "handed over in place" in line.message]

    def let_runs_go_on(self) -> None:
        self.compose("exec", "-T", "worker", "touch", PERMISSION)

    def runs(self, deployment: str, *, scheduled: bool) -> list[dict[str, Any]]:
        """The runs that Prefect's scheduler made, or those that a client requested."""
        runs = self.api("POST", "/flow_runs/filter", json={"deployments": {"id": {"any_": [deployment]}}})
        return [run for run in runs if run["auto_scheduled"] == scheduled]

    def deployment(self) -> dict[str, Any]:
        """The deployment, once the worker has made it."""

        def made() -> dict[str, Any] | None:
            with suppress(httpx.HTTPStatusError):
                return self.api("GET", f"/deployments/name/{DEPLOYMENT}")
            return None

        return wait_until(made, DEPLOYMENT, RUN_LIMIT, pause=0.5)


def compose_command() -> list[str]:
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"]


def is_ready(health: str) -> bool:
    # Docker itself may accept a connection to a published port although no server listens in the container yet.
    with suppress(httpx.TransportError):
        return httpx.get(f"{health}/readyz").is_success
    return False


@pytest.fixture(scope="module")
def system(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    # The engine sets SO_REUSEADDR on the ports that it publishes, so it takes them although they are reserved.
    ports = {name: ReservedPort() for name in ("PREFECT_PORT", "HEALTH_PORT", "EMULATOR_PORT")}
    environment = os.environ | {name: str(port.number) for name, port in ports.items()} | {"TOKEN_LIFE": "1h"}
    flow = (REPOSITORY / "docker/worker/flow.py").read_text()
    assert flow.count(LOG_CALL) == 1
    folder = tmp_path_factory.mktemp("compose")
    flow = flow.replace("@task\n", f"{WAIT}\n@task\n").replace(LOG_CALL, f"wait_for_permission()\n    {LOG_CALL}")
    (folder / "flow.py").write_text(flow)
    (folder / "flow.py").chmod(0o644)
    (folder / "override.yaml").write_text(OVERRIDE.format(flow=folder / "flow.py"))
    files = ["-f", str(REPOSITORY / "docker/compose.yaml"), "-f", str(folder / "override.yaml")]
    command = [*compose_command(), *files, "-p", f"test{os.getpid()}"]
    address = {name: f"http://127.0.0.1:{port.number}" for name, port in ports.items()}
    emulator = GoogleEmulator.elsewhere({"control": address["EMULATOR_PORT"]})
    it = System(command, environment, address["PREFECT_PORT"], address["HEALTH_PORT"], emulator)
    try:
        it.compose("up", "--detach", "--no-build")
        wait_until(lambda: is_ready(it.health), "the server to be ready", 300, pause=0.5)
        yield it
    finally:
        subprocess.run([*command, "down", "--volumes", "--timeout", "10"], env=environment, capture_output=True)
        for port in ports.values():
            port.release()


class Browser:
    """Headless Chromium, which looks up no name, so that no part of a page waits for the internet."""

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
