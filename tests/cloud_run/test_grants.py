"""The grants job, really run, against a PostgreSQL 18 whose administrator is no superuser, like Cloud SQL's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from documents import take_block
from google_cloud import LIMIT, PROJECT, GoogleCloud
from google_emulator.client import GoogleEmulator

IAM_USER = f"prefect-sa@{PROJECT}.iam"
SUPERUSER = "cloudsqladmin"
ADMINISTRATOR = "prefect-grants"
CAN_CREATE = (
    "CREATE TABLE a_table (name text);"
    " CREATE INDEX ON a_table USING gin (name gin_trgm_ops);"
    " DROP TABLE a_table"
)


class Database:
    def __init__(self, emulator: GoogleEmulator, name: str) -> None:
        self.socket_directory = emulator.socket_directory
        self.name = name

    def psql(
        self, user: str, sql: str, password: str = "none", database: str = ""
    ) -> subprocess.CompletedProcess[str]:
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.socket_directory, "-U", user]
        return subprocess.run(
            [*command, "-d", database or self.name, "-c", sql],
            env={"PATH": os.environ["PATH"], "PGPASSWORD": password},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    def as_superuser(self, sql: str, database: str = "") -> str:
        result = self.psql(SUPERUSER, sql, database=database)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    @property
    def administrators(self) -> str:
        return self.as_superuser(f"SELECT rolname, rolsuper FROM pg_roles WHERE rolname = '{ADMINISTRATOR}'")


@pytest.fixture
def database(database_emulator: GoogleEmulator, cloud: GoogleCloud) -> Iterator[Database]:
    """`setup` creates it, in a server that requires the administrator's password."""
    database = Database(database_emulator, "prefect_on_cloud_run")
    rules = Path(database_emulator.socket_directory) / "data/pg_hba.conf"
    wanted = f"local all {ADMINISTRATOR} scram-sha-256\n"
    if wanted not in rules.read_text():
        rules.write_text(wanted + rules.read_text())
        database.as_superuser("SELECT pg_reload_conf()", database="postgres")
    cloud.environment |= {"STAND_IN_POSTGRES": database.socket_directory, "DB_NAME": database.name}
    yield database
    for statement in (
        f'DROP DATABASE IF EXISTS "{database.name}" (FORCE)',
        f'DROP ROLE IF EXISTS "{IAM_USER}"',
        f'DROP ROLE IF EXISTS "{ADMINISTRATOR}"',
    ):
        database.as_superuser(statement, database="postgres")


@pytest.mark.parametrize("schema", ["public", "prefect"])
def test_the_account_may_make_tables_and_finds_pg_trgm(
    schema: str, cloud: GoogleCloud, database: Database
) -> None:
    for _ in range(2):
        cloud.succeed("setup", DB_SCHEMA=schema)
        result = database.psql(IAM_USER, f'SET search_path TO "{schema}", public; {CAN_CREATE}')
        assert result.returncode == 0, result.stderr


def test_the_statements_for_cloud_sql_studio_grant_the_same(cloud: GoogleCloud, database: Database) -> None:
    assert cloud.script("setup", STAND_IN_FAIL="each gcloud run jobs execute").returncode != 0
    # As `gcloud sql users create --type=BUILT_IN` makes it.
    rights = "LOGIN CREATEROLE CREATEDB IN ROLE cloudsqlsuperuser PASSWORD 'of-the-console'"
    database.as_superuser(f'CREATE ROLE "{ADMINISTRATOR}" {rights}', database="postgres")
    statements = take_block("docs/google-cloud.md", "SET ROLE cloudsqlsuperuser")
    statements = statements.replace("prefect-sa@my-project.iam", IAM_USER)
    granted = database.psql(ADMINISTRATOR, statements, password="of-the-console")
    assert granted.returncode == 0, granted.stderr
    result = database.psql(IAM_USER, CAN_CREATE)
    assert result.returncode == 0, result.stderr


def test_before_the_grants_the_account_may_not(cloud: GoogleCloud, database: Database) -> None:
    assert cloud.script("setup", STAND_IN_FAIL="each gcloud run jobs execute").returncode != 0
    result = database.psql(IAM_USER, CAN_CREATE)
    assert "permission denied" in result.stderr


@pytest.mark.parametrize("schema", ["public", "prefect"])
def test_the_account_has_rights_on_its_schema_alone(
    schema: str, cloud: GoogleCloud, database: Database
) -> None:
    cloud.succeed("setup", DB_SCHEMA=schema)
    assert "permission denied" in database.psql(IAM_USER, "CREATE SCHEMA another").stderr
    if schema != "public":
        assert (
            "permission denied" in database.psql(IAM_USER, "CREATE TABLE public.a_table (name text)").stderr
        )


@pytest.mark.parametrize("schema", ["public", "prefect"])
def test_prefects_migrations_need_no_more(
    schema: str, cloud: GoogleCloud, database: Database, tmp_path: Path
) -> None:
    cloud.succeed("setup", DB_SCHEMA=schema)
    url = f"postgresql+asyncpg://{IAM_USER.replace('@', '%40')}@/{database.name}?host={database.socket_directory}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": url,
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": f"{schema},public",
    }
    upgrade = [str(Path(sys.executable).with_name("prefect")), "server", "database", "upgrade", "-y"]
    result = subprocess.run(upgrade, env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert result.returncode == 0, result.stdout + result.stderr
    schemas = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('flow_run', 'alembic_version')"
    assert database.as_superuser(schemas) == schema


def test_the_administrator_who_grants_is_no_superuser_and_is_gone_afterwards(
    cloud: GoogleCloud, database: Database
) -> None:
    assert cloud.script("setup", STAND_IN_FAIL="each gcloud sql users delete").returncode != 0
    assert database.administrators == ""
    result = cloud.script("setup", STAND_IN_FAIL="kept gcloud sql users delete")
    assert result.returncode != 0 and ADMINISTRATOR in result.stderr
    assert database.administrators == f"{ADMINISTRATOR}|f"
    # It has lost its password all the same, and so its login; and it owns nothing.
    query = f"SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = '{ADMINISTRATOR}'"
    assert database.as_superuser(query) == "t"
    cloud.succeed("setup")
    assert database.administrators == "" and not cloud.leftovers


def test_the_user_postgres_keeps_its_password(cloud: GoogleCloud, database: Database) -> None:
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'"
    database.as_superuser("ALTER ROLE postgres PASSWORD 'of-the-user'", database="postgres")
    before = database.as_superuser(query, database="postgres")
    assert before.startswith("SCRAM-SHA-256")
    for _ in range(2):
        cloud.succeed("setup")
    assert cloud.script("setup", STAND_IN_FAIL="each gcloud run jobs execute").returncode != 0
    assert database.as_superuser(query, database="postgres") == before
    assert not any("set-password" in command for command in cloud.commands)


def test_each_administrator_has_a_password_of_its_own(cloud: GoogleCloud, database: Database) -> None:
    passwords = set()
    for _ in range(2):
        kept = cloud.home / "kept-secret"
        cloud.succeed("setup", STAND_IN_KEEP_SECRET=str(kept))
        assert len(kept.read_text()) >= 24
        passwords.add(kept.read_text())
    assert len(passwords) == 2


def test_a_schema_of_somebody_else_is_a_failure_and_no_warning(cloud: GoogleCloud, database: Database) -> None:
    """PostgreSQL only warns of a GRANT that has no effect; Prefect would fail at its first start."""
    assert cloud.script("setup", STAND_IN_FAIL="each gcloud run jobs execute").returncode != 0
    database.as_superuser("CREATE SCHEMA prefect; GRANT USAGE ON SCHEMA prefect TO PUBLIC")
    result = cloud.script("setup", DB_SCHEMA="prefect")
    assert result.returncode != 0
    assert "the schema belongs to somebody else" in result.stderr


def test_a_statement_that_fails_undoes_all_of_the_job(cloud: GoogleCloud, database: Database) -> None:
    assert cloud.script("setup", STAND_IN_FAIL="each gcloud run jobs execute").returncode != 0
    # An extension of which the administrator can make no use, in the way of the third statement.
    database.as_superuser(
        "CREATE FUNCTION public.show_limit() RETURNS real LANGUAGE sql AS 'SELECT 1.0::real'"
    )
    result = cloud.script("setup", DB_SCHEMA="prefect")
    assert 'failed in step "2.8 Grants"' in result.stderr
    assert database.as_superuser("SELECT count(*) FROM pg_namespace WHERE nspname = 'prefect'") == "0"
    assert not cloud.leftovers


def test_the_password_is_on_no_command_line_and_in_no_file(cloud: GoogleCloud, database: Database) -> None:
    kept = cloud.home.parent / "kept-secret"
    result = cloud.succeed("setup", STAND_IN_KEEP_SECRET=str(kept), STAND_IN_WATCH_PROCESSES="1")
    password = kept.read_text()
    assert password not in result.stdout + result.stderr
    for path in cloud.home.rglob("*"):
        if path.is_file():
            assert password.encode() not in path.read_bytes(), path
    # The searched texts are those that could contain it: the arguments and the job's definition.
    assert "BUILT_IN" in str(cloud.commands)
    assert "BUILT_IN" in (cloud.home / "processes").read_text()
    assert "PGPASSWORD" in (cloud.home / "yaml/Job").read_text()


def test_the_search_for_the_password_would_find_it_in_gclouds_log(cloud: GoogleCloud) -> None:
    """gcloud logs its flags, also those from a flags file, unless it is told not to log; so does the stand-in."""
    command = ["gcloud", "sql", "users", "create", ADMINISTRATOR, "--instance=prefect-db", "--flags-file=-"]
    environment = cloud.environment | {"CLOUDSDK_CORE_PROJECT": PROJECT}
    subprocess.run(
        command, env=environment, input='{"--password": "a-password"}', text=True, capture_output=True
    )
    assert "a-password" in (cloud.home / "logs").read_text()
