"""`prefect-worker` against the real server: it waits, can be started again without harm, and ends by itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import CONFINED, START_LIMIT, Container, Google, Server, free_name
from supervisor import wait_until

POOL = "cloud-run-pool"
DEPLOYMENT = "simple-flow/cloud-run-deployment"
LONG_FLOW = """
import time
from pathlib import Path
from prefect import flow

@flow
def simple_flow():
    print("the long flow runs", flush=True)
    time.sleep(300)

def deploy(work_pool):
    simple_flow.from_source(source="/app", entrypoint="flow.py:simple_flow").deploy(
        name="cloud-run-deployment", work_pool_name=work_pool, print_next_steps=False)
"""


def worker(google: Google, server_name: str, **options: object) -> Container:
    return Container(
        google.client,
        "prefect-worker",
        # The stop timeout is longer than an end by itself takes on any machine.
        environment={"PREFECT_API_URL": f"http://{server_name}:8080/api", "SUPERVISOR_STOP_TIMEOUT": "100s"},
        network=google.network.name,
        **(CONFINED | options),
    )


@pytest.fixture(scope="module")
def waiting(google: Google) -> Iterator[tuple[Container, str]]:
    """A worker that starts before its server, and the name under which it looks for the server."""
    name = free_name()
    with worker(google, name) as it:
        yield it, name


@pytest.fixture(scope="module")
def server(google: Google, waiting: tuple[Container, str]) -> Iterator[Server]:
    container, name = waiting
    container.wait_for_output("is not ready", timeout=START_LIMIT)
    assert container.check_health()[0] == 1
    with Server(google, name=name) as it:
        yield it


def workers_online(server: Server) -> int:
    workers = server.api.post(f"/work_pools/{POOL}/workers/filter", json={}).json()
    return sum(one["status"] == "ONLINE" for one in workers)


def test_it_waits_for_a_server_that_is_not_up_and_repeats_itself_without_harm(
    waiting: tuple[Container, str], server: Server
) -> None:
    container, _ = waiting
    container.wait_healthy()
    output = container.output()
    assert output.index(f"made the work pool {POOL}") < output.index("worker: starting")
    wait_until(lambda: workers_online(server) == 1, "the worker to be online", START_LIMIT)

    container.restart()
    container.wait_for_log("child: ready", count=2, timeout=START_LIMIT)
    assert f"the work pool {POOL} is there" in container.output()
    pools = server.api.post("/work_pools/filter", json={}).json()
    assert [pool["name"] for pool in pools] == [POOL]
    (deployment,) = server.api.post("/deployments/filter", json={}).json()
    assert deployment["name"] == "cloud-run-deployment"
    assert [schedule["schedule"]["cron"] for schedule in deployment["schedules"]] == ["0 * * * *"]

    # The health page answers before the worker handles SIGTERM; with this line it does.
    wait_until(lambda: container.output().count("started!") == 2, "the worker to have started again", START_LIMIT)
    assert container.stop().code == 0, container.output()
    assert "killing it" not in container.output()


def test_a_stop_ends_a_worker_with_a_running_flow(server: Server, tmp_path: Path) -> None:
    flow = tmp_path / "flow.py"
    flow.write_text(LONG_FLOW)
    flow.chmod(0o644)
    with worker(server.google, server.name, volumes={str(flow): {"bind": "/app/flow.py", "mode": "ro"}}) as container:
        container.wait_for_log("child: ready", timeout=START_LIMIT)
        deployment = server.api.get(f"/deployments/name/{DEPLOYMENT}").json()
        server.api.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).raise_for_status()
        container.wait_for_output("the long flow runs", timeout=START_LIMIT)
        assert any("prefect.engine" in process or "prefect._" in process for process in container.processes()[2:])
        ended = container.stop()
        assert "killing" not in container.output()
        assert "stopped!" in container.output(), "the worker did not hear of it"
        assert ended.code == 0, container.output()


def test_an_address_that_is_no_prefect_api_ends_it_with_one_line(server: Server) -> None:
    container = Container(
        server.client,
        "prefect-worker",
        environment={"PREFECT_API_URL": f"http://{server.name}:8080/nothing"},
        network=server.google.network.name,
    )
    with container:
        assert container.wait(timeout=START_LIMIT).code == 1
        assert "Traceback" not in container.output()
        assert f"http://{server.name}:8080/nothing" in container.output()
