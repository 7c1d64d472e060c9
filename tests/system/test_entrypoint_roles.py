"""PREFECT_ROLE, as the server image's entrypoint understands it: what it refuses, and what it runs with which settings.

What stands in for `prefect` here only shows how it was started; test_prefect_roles.py runs the real one.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from google_emulator.client import GoogleEmulator
from redis_server import RedisServer
from server_image import RoleSupervisor, lay_out

SHOW = """\
#!/usr/bin/env python3
import json, os, sys

program, *words = sys.argv
print(json.dumps({"program": os.path.basename(program), "words": words, "environment": dict(os.environ)}), flush=True)
"""
HOST = "PREFECT_REDIS_MESSAGING_HOST"
URL = "PREFECT_REDIS_MESSAGING_URL"
REDIS = {HOST: "redis"}
ON_REDIS = {
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
    "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
}
NOT_ON_START = {
    "PREFECT_API_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
}
MADE_URLS = ("PREFECT_SERVER_DOCKET_URL", "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL")


def add_program(image: Path, name: str, text: str) -> None:
    (image / "bin" / name).write_text(text)
    (image / "bin" / name).chmod(0o755)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = lay_out(tmp_path / "image")
    for name in ("prefect", "uvicorn"):
        add_program(folder, name, SHOW)
    return folder


def run_role(image: Path, *arguments: str, **options: Any) -> RoleSupervisor:
    with RoleSupervisor(image, *arguments, **{"health": False, **options}) as it:
        it.wait()
    return it


def code_of(it: RoleSupervisor) -> int:
    assert it.process
    return it.process.returncode


def shown(it: RoleSupervisor) -> dict[str, Any]:
    """How the one child was started."""
    assert code_of(it) == 0, it.transcript()
    (line,) = it.output
    return json.loads(line)


def refusal(image: Path, *arguments: str, **options: Any) -> tuple[int, str]:
    """The exit code, and the one line that is all of the output."""
    it = run_role(image, *arguments, health=None, **options)
    assert it.lines == []
    (line,) = it.errors
    assert line.startswith("prefect-entrypoint: ")
    return code_of(it), line


# What is refused


@pytest.mark.parametrize("role", ["web", "API", "all,api", " "])
def test_an_unknown_role_is_refused_with_those_that_there_are(image: Path, role: str) -> None:
    code, line = refusal(image, role=role)
    assert code == 2
    assert line.endswith(f'PREFECT_ROLE is "{role}", allowed is all, api, services or migrate')


@pytest.mark.parametrize("role", ["api", "services"])
@pytest.mark.parametrize("given", [{}, {HOST: ""}, {"PREFECT_SERVER_DOCKET_URL": "redis://redis:6379/0"}, ON_REDIS])
def test_api_and_services_are_refused_without_a_redis(image: Path, role: str, given: dict[str, str]) -> None:
    code, line = refusal(image, role=role, environment=given)
    assert code == 1
    assert f"PREFECT_ROLE={role} needs Redis" in line and HOST in line and URL in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREFECT_MESSAGING_BROKER", "prefect.server.utilities.messaging.memory"),
        ("PREFECT_SERVER_EVENTS_MESSAGING_CACHE", "prefect.server.utilities.messaging.memory"),
        ("PREFECT_SERVER_EVENTS_CAUSAL_ORDERING", "prefect.server.events.ordering.memory"),
        ("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", "prefect.server.concurrency.lease_storage.memory"),
        ("PREFECT_SERVER_DOCKET_URL", "memory://"),
    ],
)
def test_a_setting_that_keeps_shared_things_in_one_process_is_refused(image: Path, name: str, value: str) -> None:
    code, line = refusal(image, role="api", environment=REDIS | {name: value})
    assert code == 1
    assert f'{name} is "{value}"' in line


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({HOST: "redis", "PREFECT_REDIS_MESSAGING_PORT": "redis"}, 'PREFECT_REDIS_MESSAGING_PORT is "redis"'),
        ({HOST: "redis", "PREFECT_REDIS_MESSAGING_SSL": "maybe"}, 'PREFECT_REDIS_MESSAGING_SSL is "maybe"'),
        ({URL: "redis:6379"}, f"{URL} has to begin with one of redis://"),
        ({URL: "redis+cluster://redis:6379"}, f"{URL} has to begin with one of redis://"),
        ({HOST: "redis", "REDIS_SSL_ROOT_CERT": "/etc/hostname"}, "Redis is reached without TLS"),
        (
            {HOST: "redis", "PREFECT_REDIS_MESSAGING_SSL": "true", "REDIS_SSL_ROOT_CERT": "/no/such/file"},
            "/no/such/file, which can't be read",
        ),
    ],
)
def test_a_redis_setting_that_can_not_work_is_refused(image: Path, given: dict[str, str], what: str) -> None:
    code, line = refusal(image, role="api", environment=given)
    assert code == 1
    assert what in line


def test_a_refusal_does_not_show_the_password(image: Path) -> None:
    _, line = refusal(image, role="api", environment={URL: "http://:hunter2@redis:6379"})
    assert "hunter2" not in line


def test_an_image_without_prefect_redis_says_how_to_get_it(image: Path) -> None:
    # The interpreter of the machine has none of the packages of the virtual environment.
    (image / "bin/python").symlink_to(os.path.realpath(sys.executable))
    code, line = refusal(image, role="api", environment=REDIS)
    assert code == 1
    assert "needs the package prefect-redis" in line and "EXTRA_PIP_PACKAGES=prefect-redis" in line


@pytest.mark.parametrize(
    ("given", "there", "missing"),
    [
        (REDIS, HOST, "PREFECT_MESSAGING_BROKER, PREFECT_MESSAGING_CACHE"),
        ({"PREFECT_SERVER_DOCKET_URL": "redis://redis:6379/0"}, "PREFECT_SERVER_DOCKET_URL", f"{HOST} or {URL}"),
        (REDIS | ON_REDIS, "PREFECT_MESSAGING_BROKER", "without PREFECT_SERVER_DOCKET_URL"),
    ],
)
def test_a_whole_server_is_refused_with_half_of_a_redis(
    image: Path, given: dict[str, str], there: str, missing: str
) -> None:
    code, line = refusal(image, environment=given)
    assert code == 1
    assert "named only in part" in line and there in line.partition(" without ")[0] and missing in line


@pytest.mark.parametrize(
    ("role", "arguments", "environment"),
    [
        ("services", [], {"SUPERVISOR_ROTATION": "rolling"}),
        ("services", ["--rotation", "rolling"], {}),
        ("migrate", ["--rotation=rolling"], {}),
        ("migrate", ["--rot", "restart"], {}),
        ("migrate", [], {"SUPERVISOR_ROTATION": "restart"}),
    ],
)
def test_a_rotation_that_does_not_fit_the_role_is_refused(
    image: Path, role: str, arguments: list[str], environment: dict[str, str]
) -> None:
    code, line = refusal(image, *arguments, role=role, environment=REDIS | environment)
    assert code == 2
    assert f"PREFECT_ROLE={role}" in line and line.endswith("use in-place")


def test_missing_settings_of_the_database_are_still_the_supervisors_to_name(image: Path) -> None:
    it = run_role(image, role="api", environment=REDIS)
    assert code_of(it) == 1
    assert "DB_USER" in "".join(it.errors + it.lines)


# What is run


@pytest.mark.parametrize("role", [None, "", "all"])
def test_the_whole_server_is_what_runs_by_default(image: Path, emulator: GoogleEmulator, role: str | None) -> None:
    it = run_role(image, role=role, emulator=emulator)
    child = shown(it)
    assert (child["program"], child["words"]) == (
        "prefect",
        ["server", "start", "--host", "0.0.0.0", "--port", str(it.port)],
    )
    assert not {*ON_REDIS, *NOT_ON_START, *MADE_URLS} & child["environment"].keys()


def test_a_whole_server_with_a_whole_redis_keeps_its_settings(image: Path, emulator: GoogleEmulator) -> None:
    given = REDIS | ON_REDIS | {"PREFECT_SERVER_DOCKET_URL": "redis://redis:6379/1"}
    child = shown(run_role(image, emulator=emulator, environment=given))
    assert child["words"][:2] == ["server", "start"] and "--no-services" not in child["words"]
    assert given.items() <= child["environment"].items()


def test_an_api_server_runs_without_services_and_shares_everything_by_redis(
    image: Path, emulator: GoogleEmulator
) -> None:
    it = run_role(image, role="api", emulator=emulator, environment=REDIS)
    child = shown(it)
    assert child["words"] == ["server", "start", "--host", "0.0.0.0", "--port", str(it.port), "--no-services"]
    assert (ON_REDIS | NOT_ON_START).items() <= child["environment"].items()
    assert [child["environment"][name] for name in MADE_URLS] == ["redis://redis:6379/0"] * 2
    # The token is in a file, so that it can be replaced in place.
    assert "PGPASSFILE" in child["environment"]


@pytest.mark.parametrize("flag", [["--port", "8123"], ["--port=8123"], ["--po", "8123"]])
def test_an_api_server_listens_on_the_port_of_the_option(
    image: Path, emulator: GoogleEmulator, flag: list[str]
) -> None:
    child = shown(run_role(image, *flag, role="api", emulator=emulator, environment=REDIS))
    assert child["words"][-3:] == ["--port", "8123", "--no-services"]


def test_an_api_server_does_not_fail_of_web_concurrency(image: Path, emulator: GoogleEmulator) -> None:
    it = run_role(image, role="api", emulator=emulator, environment=REDIS | {"WEB_CONCURRENCY": "4"})
    assert "WEB_CONCURRENCY" not in shown(it)["environment"]
    assert [line for line in it.errors if "WEB_CONCURRENCY is taken out" in line]


def test_an_api_server_in_rolling_rotation_is_told_by_prefects_own_variable(
    image: Path, emulator: GoogleEmulator
) -> None:
    child = shown(run_role(image, "--rotation", "rolling", role="api", emulator=emulator, environment=REDIS))
    assert child["program"] == "uvicorn" and "prefect.server.api.server:create_app" in child["words"]
    assert child["environment"]["PREFECT__SERVER_WEBSERVER_ONLY"] == "1"
    assert (ON_REDIS | NOT_ON_START).items() <= child["environment"].items()


def test_the_services_have_a_command_of_their_own(image: Path, emulator: GoogleEmulator) -> None:
    child = shown(run_role(image, role="services", emulator=emulator, environment=REDIS))
    assert child["words"] == ["server", "services", "start"]
    assert (ON_REDIS | NOT_ON_START).items() <= child["environment"].items()


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({HOST: "10.0.0.3", "PREFECT_REDIS_MESSAGING_PORT": "6378"}, "redis://10.0.0.3:6378/0"),
        ({HOST: "fd00::3", "PREFECT_REDIS_MESSAGING_DB": "2"}, "redis://[fd00::3]:6379/2"),
        ({HOST: "redis", "PREFECT_REDIS_MESSAGING_PASSWORD": "a/b@c:%"}, "redis://:a%2Fb%40c%3A%25@redis:6379/0"),
        (
            {
                HOST: "redis",
                "PREFECT_REDIS_MESSAGING_USERNAME": "me",
                "PREFECT_REDIS_MESSAGING_PASSWORD": "p",
                "PREFECT_REDIS_MESSAGING_SSL": "True",
            },
            "rediss://me:p@redis:6379/0",
        ),
        ({URL: "rediss://:p@redis:6378/3?ssl_check_hostname=false"},) * 2,
    ],
)
def test_redis_is_named_once(
    image: Path, emulator: GoogleEmulator, given: dict[str, str], made: str | dict[str, str]
) -> None:
    made = made if isinstance(made, str) else made[URL]
    child = shown(run_role(image, role="services", emulator=emulator, environment=given))
    assert given.items() <= child["environment"].items()
    assert [child["environment"][name] for name in MADE_URLS] == [made] * 2


def test_what_the_user_has_set_stays(image: Path, emulator: GoogleEmulator) -> None:
    given = REDIS | {
        # Two of these are Prefect's other names for the settings.
        "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "mine.messaging",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "true",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "true",
        "PREFECT_SERVER_DOCKET_URL": "redis://other:6379/1",
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_HOST": "third",
    }
    environment = shown(run_role(image, role="api", emulator=emulator, environment=given))["environment"]
    assert given.items() <= environment.items()
    for name in (
        "PREFECT_MESSAGING_BROKER",
        "PREFECT_API_DATABASE_MIGRATE_ON_START",
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL",
    ):
        assert name not in environment
    assert environment["PREFECT_MESSAGING_CACHE"] == "prefect_redis.messaging"


def test_variables_that_are_passed_on_empty_count_as_not_set(image: Path, emulator: GoogleEmulator) -> None:
    given = REDIS | dict.fromkeys([URL, "PREFECT_MESSAGING_BROKER", *MADE_URLS, *NOT_ON_START], "")
    environment = shown(run_role(image, role="api", emulator=emulator, environment=given))["environment"]
    assert (ON_REDIS | NOT_ON_START).items() <= environment.items()
    assert URL not in environment and environment[MADE_URLS[0]] == "redis://redis:6379/0"


def run_migration(image: Path, emulator: GoogleEmulator, prefect: str) -> RoleSupervisor:
    """With a shell script in the place of Prefect, and without Redis, which it does not need."""
    add_program(image, "prefect", f"#!/bin/sh\n{prefect}\n")
    (image / "share/prefect-supervisor/register_blocks.py").write_text("print('registered')\n")
    return run_role(image, role="migrate", emulator=emulator)


def test_a_migration_brings_the_database_up_to_date_then_registers_the_blocks_and_ends(
    image: Path, emulator: GoogleEmulator
) -> None:
    it = run_migration(image, emulator, 'echo prefect "$@"')
    assert code_of(it) == 0
    assert it.output == ["prefect server database upgrade -y", "registered"]


def test_a_migration_that_fails_ends_with_its_code_and_registers_nothing(
    image: Path, emulator: GoogleEmulator
) -> None:
    it = run_migration(image, emulator, "exit 3")
    assert code_of(it) == 3
    assert it.output == []


@pytest.mark.parametrize("role", ["services", "migrate"])
def test_a_role_without_a_page_is_ready_while_its_process_runs(
    image: Path, emulator: GoogleEmulator, role: str
) -> None:
    """The user's COMMAND takes the place of the role's own, and the role's settings remain."""
    command = [sys.executable, "-c", f"{SHOW}\nimport signal; signal.pause()"]
    options = {"emulator": emulator, "environment": REDIS, "command": command}
    with RoleSupervisor(image, role=role, **options) as it:
        it.wait_for_health("/readyz")
        environment = json.loads(it.wait_for_output('"program"'))["environment"]
        assert (ON_REDIS.items() <= environment.items()) == (role == "services")
        assert it.stop() == 128 + SIGTERM


def test_a_command_of_the_user_takes_the_place_of_an_api_servers(image: Path, emulator: GoogleEmulator) -> None:
    command = ["prefect", "server", "start", "--no-services", "--workers", "2"]
    child = shown(run_role(image, role="api", emulator=emulator, environment=REDIS, command=command))
    assert child["words"] == command[1:]
    assert (ON_REDIS | NOT_ON_START).items() <= child["environment"].items()


PING = """
import asyncio
from docket import Docket
from prefect.settings import get_current_settings
from prefect_redis.cleanup_queue import WorkerCleanupQueue
from prefect_redis.client import get_async_redis_client

async def main():
    print("messaging", await get_async_redis_client().ping())
    print("cleanup", await WorkerCleanupQueue()._client().ping())
    async with Docket(name="test", url=get_current_settings().server.docket.url) as docket, docket.redis() as redis:
        print("docket", await redis.ping())

asyncio.run(main())
"""


def test_a_redis_with_a_password_and_a_private_authority_is_reached_by_all_of_prefects_clients(
    image: Path, emulator: GoogleEmulator, tmp_path: Path
) -> None:
    """As Memorystore with AUTH and in-transit encryption: its authority is no public one
    (docs.cloud.google.com/memorystore/docs/redis/about-in-transit-encryption, "Certificate Authority")."""
    with RedisServer(tmp_path, password='a/b@c:d%40"e', tls=True) as redis:
        command = [sys.executable, "-c", PING]
        options = {"emulator": emulator, "environment": redis.environment(), "command": command}
        it = run_role(image, role="services", **options)
        assert it.output == ["messaging True", "cleanup True", "docket True"], it.transcript()
        assert 'a/b@c' not in "".join(line.raw for line in it.log)
