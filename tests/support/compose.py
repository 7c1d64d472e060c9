"""The project's compose files, started for a test: what they share, and docker/compose.yaml."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx

from log_lines import parse_log_line
from supervisor import ReservedPort, wait_until
from google_emulator.client import GoogleEmulator

REPOSITORY = Path(__file__).resolve().parents[2]
# The longest that a step of a run may take on a busy machine, in seconds.
RUN_LIMIT = 600
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
    password: str | None

    def compose(self, *arguments: str) -> str:
        command = [*self.command, *arguments]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert result.returncode == 0, f"{' '.join(command)}: {result.stdout}{result.stderr}"
        return result.stdout

    def api(self, method: str, path: str, **options: Any) -> Any:
        auth = tuple(self.password.split(":", 1)) if self.password else None
        answer = httpx.request(method, f"{self.ui}/api{path}", timeout=30, auth=auth, **options)
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


def waiting_flow(folder: Path) -> Path:
    """The worker's flow, whose runs wait for let_runs_go_on()."""
    flow = (REPOSITORY / "docker/worker/flow.py").read_text()
    assert flow.count(LOG_CALL) == 1
    flow = flow.replace("@task\n", f"{WAIT}\n@task\n").replace(LOG_CALL, f"wait_for_permission()\n    {LOG_CALL}")
    (folder / "flow.py").write_text(flow)
    (folder / "flow.py").chmod(0o644)
    return folder / "flow.py"


def containers_of(engine: docker.DockerClient, project: str, service: str) -> list[Any]:
    """Those that run and those that have ended, in the order of their numbers."""
    labels = [f"com.docker.compose.project={project}", f"com.docker.compose.service={service}"]
    found = engine.containers.list(all=True, filters={"label": labels})
    return sorted(found, key=lambda one: int(one.labels["com.docker.compose.container-number"]))


def project_of(command: Sequence[str]) -> str:
    return command[command.index("-p") + 1]


@dataclass(frozen=True)
class Project:
    """A compose file with an override of its own, and ports and a name that nobody else has."""

    command: list[str]
    environment: dict[str, str]
    address: dict[str, str]
    """By the variable that names the port."""

    @property
    def emulator(self) -> GoogleEmulator:
        return GoogleEmulator.elsewhere({"control": self.address["EMULATOR_PORT"]})


@contextmanager
def compose_project(
    folder: Path, file: str, override: str, ports: Sequence[str], variables: Mapping[str, str]
) -> Iterator[Project]:
    """All that it has started is removed at the end."""
    # The engine sets SO_REUSEADDR on the ports that it publishes, so it takes them although they are reserved.
    reserved = {name: ReservedPort() for name in (*ports, "EMULATOR_PORT")}
    environment = os.environ | {name: str(port.number) for name, port in reserved.items()} | {"TOKEN_LIFE": "1h"}
    (folder / "override.yaml").write_text(override.format(flow=waiting_flow(folder)))
    files = ["-f", str(REPOSITORY / "docker" / file), "-f", str(folder / "override.yaml")]
    it = Project(
        [*compose_command(), *files, "-p", f"test{os.getpid()}"],
        environment | dict(variables),
        {name: f"http://127.0.0.1:{port.number}" for name, port in reserved.items()},
    )
    try:
        yield it
    finally:
        subprocess.run([*it.command, "down", "--volumes", "--timeout", "10"], env=it.environment, capture_output=True)
        for port in reserved.values():
            port.release()


@contextmanager
def start_system(folder: Path, password: str | None = None) -> Iterator[System]:
    names = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
    variables = dict.fromkeys(names, password) if password else {}
    with compose_project(folder, "compose.yaml", OVERRIDE, ("PREFECT_PORT", "HEALTH_PORT"), variables) as project:
        address = project.address
        it = System(
            project.command,
            project.environment,
            address["PREFECT_PORT"],
            address["HEALTH_PORT"],
            project.emulator,
            password,
        )
        it.compose("up", "--detach", "--no-build")
        wait_until(lambda: is_ready(it.health), "the server to be ready", 300, pause=0.5)
        yield it
