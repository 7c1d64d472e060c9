"""docker/compose.scale.yaml: two API servers behind HAProxy, the services, the migration and a worker, all of them real.

Requests go through HAProxy, are never repeated by their client, and must all be answered.
"""

from __future__ import annotations

import json
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import docker
import httpx
import pytest
import yaml

from browser import Browser, open_browser
from compose import REPOSITORY, RUN_LIMIT
from containers import START_LIMIT
from prefect_load import PrefectLoad
from scale import ScaledSystem, log_of, start_scaled_system
from supervisor import wait_until

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker/compose.scale.yaml").read_text())["services"]
SEEN_EVENT = "test.seen-by-a-browser"
STOP_DELAY = float(COMPOSE["api"]["environment"]["SUPERVISOR_STOP_DELAY"].removesuffix("s"))


def test_what_both_compose_files_have_is_the_same() -> None:
    """docker-compose 1.29 extends no service that depends on another, so some of it is there twice."""
    single: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker/compose.yaml").read_text())["services"]
    assert COMPOSE["google"] == single["google"]
    worker = single["worker"]
    address = {"PREFECT_API_URL": "http://balancer:4200/api"}
    assert COMPOSE["worker"] == worker | {"depends_on": ["balancer"], "environment": worker["environment"] | address}
    same = ("image", "build", "mem_limit", "cpus", "user", "read_only", "tmpfs")
    for role in ("api", "services", "migrate"):
        assert [COMPOSE[role][key] for key in same] == [single["server"][key] for key in same]
        assert COMPOSE[role]["environment"].items() >= {
            name: value for name, value in single["server"]["environment"].items() if value is not None
        }.items()


def test_the_stop_delay_is_as_long_as_haproxys_check_needs() -> None:
    """The first check that fails may come a whole interval after SIGTERM, and one interval more is for the answers' time."""
    found = re.search(r"inter (\d+)ms fall (\d+)", (REPOSITORY / "docker/balancer/haproxy.cfg").read_text())
    assert found
    assert STOP_DELAY * 1000 == int(found[1]) * (int(found[2]) + 1)
    # The delay, and the supervisor's own 8 s from TERM to KILL.
    assert float(COMPOSE["api"]["stop_grace_period"].removesuffix("s")) > STOP_DELAY + 8


@pytest.fixture(scope="module")
def system(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScaledSystem]:
    with start_scaled_system(engine, tmp_path_factory.mktemp("scale")) as it:
        yield it


def load_on(system: ScaledSystem, **options: Any) -> PrefectLoad:
    return PrefectLoad(int(system.ui.rpartition(":")[2]), **options)


def test_the_migration_has_ended_before_the_servers_and_the_services_start(system: ScaledSystem) -> None:
    def when(container: Any, what: str) -> datetime:
        # The engine writes nanoseconds, which datetime does not read.
        return datetime.fromisoformat(container.attrs["State"][what][:26].rstrip("Z") + "+00:00")

    (migration,) = system.containers("migrate")
    assert migration.attrs["State"]["ExitCode"] == 0
    assert "migrate: the database is up to date, and the blocks are registered" in migration.logs().decode()
    servers, services = system.containers("api"), system.containers("services")
    assert (len(servers), len(services)) == (2, 1)
    for one in (*servers, *services):
        assert when(one, "StartedAt") >= when(migration, "FinishedAt")
        wait_until(
            lambda: system.engine.containers.get(one.id).attrs["State"]["Health"]["Status"] == "healthy",
            f"{one.name} to be healthy",
            START_LIMIT,
            pause=0.5,
        )
    assert all("--no-services" in str(server.top()["Processes"]) for server in servers)
    assert "services start" in str(services[0].top()["Processes"])


def test_a_run_of_the_worker_completes_and_the_services_schedule_others(system: ScaledSystem) -> None:
    deployment = system.deployment()["id"]
    system.let_runs_go_on()
    run = system.api("POST", f"/deployments/{deployment}/create_flow_run", json={"state": {"type": "SCHEDULED"}})
    wait_until(
        lambda: system.api("GET", f"/flow_runs/{run['id']}")["state_name"] == "Completed",
        "the run to complete",
        RUN_LIMIT,
        pause=0.5,
    )
    wait_until(lambda: system.runs(deployment, scheduled=True), "scheduled runs", RUN_LIMIT, pause=0.5)
    # The run's events came in at the API servers, and the services have stored them.
    of_run = {"filter": {"resource": {"id": [f"prefect.flow-run.{run['id']}"]}}}
    wait_until(
        lambda: any(
            event["event"] == "prefect.flow-run.Completed"
            for event in system.api("POST", "/events/filter", json=of_run)["events"]
        ),
        "the run's last event",
        RUN_LIMIT,
        pause=0.5,
    )


def test_tokens_rotate_in_place_in_all_servers_and_no_request_fails(
    system: ScaledSystem, record_property: Callable[[str, object], None]
) -> None:
    # More at once than the pools have idle connections, so that some log in.
    with load_on(system, burst=24, burst_every=3.0) as load:
        for _ in range(3):
            token = system.rotate()
            wait_until(
                lambda: any(login.accepted and login.token == token for login in system.emulator.logins()),
                "a login with the new token",
                RUN_LIMIT,
                pause=0.2,
            )
            system.wait_for_requests(20)
            load.wait_for_answers(20, time.time(), limit=RUN_LIMIT)
    record_property("rotations in place", load.summary())
    assert load.failed == []
    assert system.emulator.refused_logins() == []
    for container in system.of_the_database():
        assert [line.fields["restarts"] for line in log_of(container) if line.message == "child: started"] == [0]


def test_an_api_server_is_stopped_and_started_again_and_no_request_fails(
    system: ScaledSystem, record_property: Callable[[str, object], None]
) -> None:
    first, _ = system.containers("api")
    with load_on(system) as load:
        system.wait_for_requests(10)
        first.stop(timeout=120)
        system.wait_for_ready(1)
        load.wait_for_answers(20, time.time(), limit=RUN_LIMIT)
        first.start()
        system.wait_for_ready(2)
        system.wait_for_requests(20)
    record_property("one stopped and started again", load.summary())
    assert load.failed == []
    log = log_of(first)
    (asked,) = (line for line in log if line.message.startswith("stop: asked to end, not ready from now on"))
    told = next(line for line in log if line.message == "stop: asked to end, forwarding" and line.time > asked.time)
    assert asked.fields["stop_delay_ms"] == STOP_DELAY * 1000
    assert (told.time - asked.time).total_seconds() >= STOP_DELAY - 0.01
    assert [line.fields["code"] for line in log if line.message == "stopped"] == [128 + signal.SIGTERM]


def test_a_new_api_server_takes_the_place_of_an_old_one_and_no_request_fails(
    system: ScaledSystem, record_property: Callable[[str, object], None]
) -> None:
    """As docs/scaling.md replaces servers by those of a new image."""
    oldest, other = system.containers("api")
    with load_on(system) as load:
        arguments = ("--detach", "--no-build", "--no-deps", "--no-recreate")
        system.compose("up", *arguments, "--scale", "api=3", "api")
        system.wait_for_ready(3)
        system.wait_for_requests(10)
        oldest.stop(timeout=120)
        oldest.remove(v=True)
        system.wait_for_ready(2)
        system.wait_for_requests(20)
    record_property("a new one for an old one", load.summary())
    assert load.failed == []
    first, second = system.containers("api")
    assert first.id == other.id and second.id != oldest.id


def emit(system: ScaledSystem, name: str) -> None:
    """An event, which comes into the database by way of the services."""
    event = {
        "id": str(uuid.uuid4()),
        # The UI's range ends with the last full minute, so an event of the last minute is not shown yet.
        "occurred": (datetime.now().astimezone() - timedelta(minutes=2)).isoformat(),
        "event": SEEN_EVENT,
        "resource": {"prefect.resource.id": f"test.{name}", "prefect.resource.name": name},
    }
    httpx.post(f"{system.ui}/api/events", json=[event], timeout=30).raise_for_status()
    of_name = {"filter": {"resource": {"id": [f"test.{name}"]}}}
    wait_until(
        lambda: system.api("POST", "/events/filter", json=of_name)["events"], "the event to be stored", RUN_LIMIT, pause=0.5
    )


def see_event(browser: Browser, name: str) -> None:
    """The page is not loaded again: a user leaves the event feed by one of the UI's links, and goes back."""
    browser.click("a", "Deployments")
    browser.wait_for_text("cloud-run-deployment")
    browser.go_back()
    browser.wait_for_text(name)
    assert "connect to" not in browser.text()


@pytest.mark.thorough("the tests before it replace the servers too; this one looks at it in a browser")
def test_the_ui_and_its_event_feed_go_on_while_each_api_server_is_replaced(system: ScaledSystem) -> None:
    with open_browser(system.ui) as browser:
        emit(system, "before-the-replacement")
        # Of this name alone: the feed has pages, and there are many events.
        browser.open("/v2/events?" + urlencode({"events": json.dumps([SEEN_EVENT])}))
        browser.wait_for_text("before-the-replacement")
        for number, server in enumerate(system.containers("api")):
            server.stop(timeout=120)
            system.wait_for_ready(1)
            emit(system, f"without-server-{number}")
            see_event(browser, f"without-server-{number}")
            server.start()
            system.wait_for_ready(2)
        # The open page asks once a minute by itself.
        emit(system, "after-the-replacement")
        browser.wait_for_text("after-the-replacement")
        assert "connect to" not in browser.text()
        browser.keep_screenshot("scale-event-feed")


def test_what_happens_while_the_services_are_away_is_stored_when_they_are_back(system: ScaledSystem) -> None:
    (services,) = system.containers("services")
    services.stop(timeout=120)
    services.reload()
    assert services.attrs["State"]["ExitCode"] == 128 + signal.SIGTERM
    event = {
        "occurred": datetime.now().astimezone().isoformat(),
        "event": "test.while-the-services-are-away",
        "resource": {"prefect.resource.id": "test"},
        "id": "22222222-2222-4222-8222-222222222222",
    }
    httpx.post(f"{system.ui}/api/events", json=[event], timeout=30).raise_for_status()
    services.start()
    of_name = {"filter": {"event": {"name": [event["event"]]}}}
    wait_until(
        lambda: system.api("POST", "/events/filter", json=of_name)["events"],
        "the event in the database",
        RUN_LIMIT,
        pause=0.5,
    )
