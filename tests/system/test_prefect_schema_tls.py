"""Real Prefect with its tables in a schema of its own, over TLS that it verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_load import CREATE_FLOW, LIST_FLOWS, READY, ask
from administrator import as_administrator
from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor, run
from google_emulator.client import GoogleEmulator


def tables_by_schema(emulator: GoogleEmulator) -> dict[str, set[str]]:
    """The names of the tables in every schema but PostgreSQL's own, as its superuser sees them."""
    rows = as_administrator(
        emulator,
        "SELECT schemaname, tablename FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    tables: dict[str, set[str]] = {}
    for schema, table in rows:
        tables.setdefault(schema, set()).add(table)
    return tables


@pytest.mark.prefect
@pytest.mark.long
@pytest.mark.parametrize(
    ("rotation", "ssl", "ca_mode", "host"),
    # The certificate of an instance with an authority of its own names no host, so verify-full needs the other kind.
    [
        pytest.param(
            *("restart", "verify-full", "shared", "localhost"),
            marks=pytest.mark.thorough("in-place goes the same way, with the stricter of Cloud SQL's usual settings"),
        ),
        ("in-place", "verify-ca", "instance", "127.0.0.1"),
    ],
)
def test_prefect_works_in_its_own_schema_over_verified_tls(
    rotation: str, ssl: str, ca_mode: str, host: str, tmp_path: Path
) -> None:
    with GoogleEmulator(token_life="1h", tls="required", ca_mode=ca_mode, schema="prefect") as emulator:
        assert emulator.ca
        settings = {"DB_IP": host, "DB_SSL": ssl, "DB_SSL_ROOT_CERT": emulator.ca, "DB_SCHEMA": "prefect"}
        environment = prefect_environment(tmp_path) | settings
        with Supervisor("--rotation", rotation, emulator=emulator, environment=environment) as supervisor:
            supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
            for question in (CREATE_FLOW, LIST_FLOWS, READY):
                assert ask(supervisor.port, question).error is None

            tables = tables_by_schema(emulator)
            assert set(tables) == {"prefect"}
            assert {"flow", "flow_run", "alembic_version"} <= tables["prefect"]
            logins = emulator.logins()
            assert logins and all(login.accepted and login.tls for login in logins)


@pytest.mark.thorough("a fact of Cloud SQL's certificates, which the documents name")
@pytest.mark.long
def test_verify_full_by_address_fails_as_it_does_on_cloud_sql(tmp_path: Path) -> None:
    with GoogleEmulator(token_life="1h", tls="required") as emulator:
        assert emulator.ca
        settings = {"DB_SSL": "verify-full", "DB_SSL_ROOT_CERT": emulator.ca}
        ended = run(emulator=emulator, environment=prefect_environment(tmp_path) | settings, timeout=START_LIMIT)
        assert ended.process and ended.process.returncode == 3
        assert any("certificate verify failed" in line for line in ended.errors)
        assert emulator.logins() == []
