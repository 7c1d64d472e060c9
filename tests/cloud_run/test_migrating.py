"""docs/migrating.md, the way from a static password: its SQL, taken from the document and run in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from documents import take_block
from google_cloud import LIMIT, REPOSITORY
from google_emulator.client import GoogleEmulator

DOCUMENT = REPOSITORY / "docs/migrating.md"
OLD = "old"


def section() -> str:
    text = DOCUMENT.read_text().partition("\n## From a static password\n")[2]
    return text.replace("PROJECT", "my-project")


def sql_blocks() -> list[str]:
    """In the document's order."""
    blocks = [
        take_block("docs/migrating.md", "CREATE ROLE prefect_owner"),
        take_block("docs/migrating.md", "REASSIGN OWNED BY old"),
        take_block("docs/migrating.md", "SELECT tableowner"),
        take_block("docs/migrating.md", 'REASSIGN OWNED BY "prefect-sa@PROJECT.iam"'),
    ]
    return [block.replace("PROJECT", "my-project") for block in blocks]


def refused_statements() -> list[tuple[str, str]]:
    """The rows of the table of statements that do not work: the role and the statement."""
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \| (.+) \|$", section(), re.MULTILINE)
    return [(user, statement) for user, statement, answer in rows if "works" not in answer.partition("(")[0]]


@dataclass(frozen=True)
class Database:
    emulator: GoogleEmulator
    folder: Path

    def psql(self, user: str, sql: str) -> subprocess.CompletedProcess[str]:
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.emulator.socket_directory, "-U", user]
        return subprocess.run(
            [*command, "-d", self.emulator.database_name],
            input=sql,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    def run(self, user: str, sql: str) -> str:
        result = self.psql(user, sql)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def prefect(self, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`prefect server database`, as that user."""
        name = user.replace("@", "%40")
        url = f"postgresql+asyncpg://{name}@/{self.emulator.database_name}?host={self.emulator.socket_directory}"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PREFECT_HOME": str(self.folder),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": url,
        }
        command = [str(Path(sys.executable).with_name("prefect")), "server", "database", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * LIMIT)

    def migrate(self, user: str, *arguments: str) -> None:
        result = self.prefect(user, *arguments)
        assert result.returncode == 0, result.stdout + result.stderr

    def owners(self) -> set[str]:
        rows = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        return set(self.run("cloudsqladmin", rows).splitlines())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Prefect's tables are those of a user with a password, and the IAM user has no grants yet."""
    with GoogleEmulator(token_life="1h") as emulator:
        database = Database(emulator, tmp_path)
        database.run(
            "cloudsqladmin",
            f"CREATE ROLE {OLD} LOGIN;"
            f" GRANT ALL ON SCHEMA public TO {OLD};"
            f' GRANT CREATE ON DATABASE "{emulator.database_name}" TO {OLD};'
            f' REVOKE ALL ON SCHEMA public FROM "{emulator.user}" CASCADE;'
            f' REVOKE CREATE ON DATABASE "{emulator.database_name}" FROM "{emulator.user}" CASCADE',
        )
        database.migrate(OLD, "upgrade", "-y")
        yield database


def test_the_way_from_a_static_password(database: Database) -> None:
    iam_user = database.emulator.user
    assert database.owners() == {OLD}
    refused = refused_statements()
    assert len(refused) == 4
    for user, statement in refused:
        result = database.psql(user, statement)
        assert result.returncode != 0 and re.search("permission denied|must be able to SET ROLE", result.stderr)

    as_postgres, as_old, look, way_back = sql_blocks()
    database.run("postgres", as_postgres)
    database.run(OLD, as_old)
    assert [row.partition("|")[0] for row in database.run(OLD, look).splitlines()] == ["prefect_owner"]

    # The old user keeps its rights, and the IAM user has the same rights, including those for migrations.
    for user in (OLD, iam_user):
        database.run(user, "SELECT count(*) FROM flow_run; ALTER TABLE flow_run SET (fillfactor = 100)")
    database.migrate(iam_user, "downgrade", "-y", "-r", "-3")
    database.migrate(iam_user, "upgrade", "-y")

    # The tables that a migration made in the meantime belong to the IAM user until the way back.
    database.run(iam_user, "CREATE TABLE made_by_a_migration (name text)")
    assert database.owners() == {"prefect_owner", iam_user}
    assert "permission denied" in database.psql(OLD, "SELECT count(*) FROM made_by_a_migration").stderr
    database.run(iam_user, way_back)
    assert database.owners() == {"prefect_owner"}
    database.run(OLD, "SELECT count(*) FROM made_by_a_migration")
    database.migrate(OLD, "downgrade", "-y", "-r", "-1")
