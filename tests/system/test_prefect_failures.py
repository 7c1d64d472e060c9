"""Real Prefect that can't start, or loses its database: the signs that docs/operations.md lists for each fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from administrator import as_administrator
from prefect_load import HEALTH, LIST_FLOWS, READY, ask
from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor, listening, run, wait_until
from google_emulator.client import GoogleEmulator


@pytest.fixture(scope="module")
def database() -> Iterator[GoogleEmulator]:
    """Each test that uses it undoes what it did to it, and no Prefect ever gets so far as to make its tables in it."""
    with GoogleEmulator(token_life="1h", tls="on") as it:
        yield it


def check_it_ends(emulator: GoogleEmulator, folder: Path, signs: list[str], code: int = 3, **settings: str) -> None:
    ended = run(emulator=emulator, environment=prefect_environment(folder) | settings, timeout=START_LIMIT)
    assert ended.process and ended.process.returncode == code, ended.transcript()
    (line,) = (line for line in ended.log if line.message == "child: ended by itself")
    assert line.severity == "ERROR" and line.fields["code"] == code
    for sign in signs:
        assert any(sign in error for error in ended.errors), ended.transcript()


def test_a_database_user_that_is_not_there(database: GoogleEmulator, tmp_path: Path) -> None:
    sign = 'password authentication failed for user "nobody@my-project.iam"'
    check_it_ends(database, tmp_path, [sign], DB_USER="nobody@my-project.iam")


def test_an_account_that_may_not_log_in(database: GoogleEmulator, tmp_path: Path) -> None:
    database.database("refuse-logins")
    try:
        sign = "Cloud SQL IAM service account authentication failed for user"
        check_it_ends(database, tmp_path, [sign], DB_SSL="require")
    finally:
        database.database("accept-logins")


def test_an_instance_that_wants_tls(tmp_path: Path) -> None:
    with GoogleEmulator(token_life="1h", tls="required") as emulator:
        check_it_ends(emulator, tmp_path, ["pg_hba.conf rejects connection", "SSL off"], DB_SSL="disable")


@pytest.mark.parametrize(
    ("right", "sign"),
    [
        pytest.param("ALL ON SCHEMA public", "permission denied for schema public", id="schema"),
        pytest.param(
            "CREATE ON DATABASE {database}",
            'permission denied to create extension "pg_trgm"',
            id="database",
            marks=pytest.mark.thorough("a missing grant ends the server like the other one"),
        ),
    ],
)
def test_grants_that_are_missing(right: str, sign: str, tmp_path: Path) -> None:
    with GoogleEmulator(token_life="1h") as emulator:
        right = right.format(database=emulator.database_name)
        as_administrator(emulator, f'REVOKE {right} FROM "{emulator.user}" CASCADE')
        check_it_ends(emulator, tmp_path, [sign])


def test_a_database_that_is_down(database: GoogleEmulator, tmp_path: Path) -> None:
    database.database("go-down")
    try:
        # Prefect is not started while the database can't be reached, and gives up by itself without that wait.
        waited = run(emulator=database, environment=prefect_environment(tmp_path) | {"SUPERVISOR_DB_WAIT": "2s"})
        assert waited.process and waited.process.returncode == 1, waited.transcript()
        (error,) = [line for line in waited.log if line.severity == "ERROR"]
        assert "can't be reached within 2s (--db-wait)" in error.message and "Connection refused" in error.message
        assert "child: started" not in waited.messages()
        check_it_ends(database, tmp_path, ["ConnectionRefusedError"], SUPERVISOR_DB_WAIT="off")
    finally:
        database.database("come-back")


def test_a_port_that_is_taken(database: GoogleEmulator, tmp_path: Path) -> None:
    with listening(host="0.0.0.0") as taken:
        port = str(taken.getsockname()[1])
        environment = prefect_environment(tmp_path) | {"PORT": port}
        ended = run("--ready-url", "off", emulator=database, environment=environment, timeout=START_LIMIT)
    assert ended.process and ended.process.returncode == 1, ended.transcript()
    (error,) = [line for line in ended.log if line.severity == "ERROR"]
    assert error.message == f"child: can't start prefect: port {port} is in use by another program"
    assert not any("child: started" in line.message for line in ended.log)


@pytest.mark.long
def test_readiness_notices_the_loss_of_the_database_only_if_it_asks_for_it(tmp_path: Path) -> None:
    with (
        GoogleEmulator(token_life="1h") as emulator,
        Supervisor(
            *("--rotation", "in-place"),
            emulator=emulator,
            environment=prefect_environment(tmp_path),
            ready_url="http://127.0.0.1:{port}/api/ready",
        ) as supervisor,
    ):
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        emulator.database("refuse-logins")
        emulator.database("cut-sessions")
        assert supervisor.wait_for_health("/readyz", 503, timeout=START_LIMIT).body.startswith(
            "the child does not answer"
        )
        # The default question is answered all the same.
        assert ask(supervisor.port, HEALTH).error is None
        for question in (READY, LIST_FLOWS):
            assert ask(supervisor.port, question).status == 503

        emulator.database("accept-logins")
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        wait_until(lambda: ask(supervisor.port, LIST_FLOWS).answered, "an answer from the database")
        assert supervisor.status()["restarts"] == 0
