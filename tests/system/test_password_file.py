"""The password file of `--rotation in-place`: its second directory, and the drivers that read it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivered import delivered_token
from processes import find_process
from supervisor import Supervisor, wait_until
from google_emulator.client import GoogleEmulator

PGX_LOGIN = Path(__file__).parent / "clients/pgx_login"

READ_ONLY = 'mount -t tmpfs -o ro none /dev/shm && exec "$0" "$@"'
# A /dev of its own without the folder `shm`. The standard descriptors are open already.
ABSENT = (
    'mount -t tmpfs none "$DEV" && for name in null urandom; do : >"$DEV/$name"; mount --bind "/dev/$name" '
    '"$DEV/$name" || exit; done && mount --rbind "$DEV" /dev && exec "$0" "$@"'
)


def can_mount() -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/dev/shm"]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="only root may give the program a /dev/shm of its own")
@pytest.mark.parametrize("mounts", [READ_ONLY, ABSENT], ids=["read-only", "absent"])
@pytest.mark.parametrize("named", [True, False], ids=["TMPDIR", "no TMPDIR"])
def test_the_temporary_directory_is_the_second_choice(mounts: str, named: bool, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {"DEV": str(tmp_path / "dev"), "TMPDIR": str(temporary) if named else None}
    with (
        GoogleEmulator(postgres=False, token_life="1h", cache_model="none") as emulator,
        Supervisor(
            *("--rotation", "in-place", "--refresh-interval", "2s"),
            emulator=emulator,
            environment=environment,
            command=["sleep", "600"],
            through=["unshare", "--mount", "sh", "-c", mounts],
        ) as supervisor,
    ):
        supervisor.wait_for_log("child: started")
        process = find_process(supervisor.child_pid)
        assert process
        file = Path(process.environment["PGPASSFILE"])
        assert file.parents[1] == (temporary if named else Path("/tmp"))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        first = delivered_token(supervisor)
        assert first == emulator.tokens()[0].text
        # It is replaced there as well.
        supervisor.wait_for_log("rotation: fresh token handed over in place")
        assert delivered_token(supervisor) in [token.text for token in emulator.tokens()[1:]]
        assert supervisor.stop() == 143
        assert not file.parent.exists()
        assert not any(line.severity in ("WARNING", "ERROR") for line in supervisor.log)


def test_a_directory_that_somebody_removes_is_there_again_long_before_the_next_token() -> None:
    with (
        GoogleEmulator(postgres=False, token_life="1h") as emulator,
        Supervisor("--rotation", "in-place", emulator=emulator, command=["sleep", "600"]) as supervisor,
    ):
        supervisor.wait_for_log("child: started")
        process = find_process(supervisor.child_pid)
        assert process
        file = Path(process.environment["PGPASSFILE"])
        shutil.rmtree(file.parent)
        # The program looks at it at least every 30 s.
        wait_until(file.exists, "the password file to be there again", 120)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        (token,) = emulator.tokens()
        assert delivered_token(supervisor) == token.text
        line = supervisor.wait_for_log("rotation: the password file was removed, writing it again")
        assert line.fields["path"] == str(file)
        assert supervisor.stop() == 143
        assert not file.parent.exists()


@pytest.fixture(scope="module")
def pgx_login(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    assert go, f"no `go` on the PATH to build {PGX_LOGIN}"
    program = tmp_path_factory.mktemp("pgx") / "pgx-login"
    build = subprocess.run(
        [go, "build", "-o", program, "."], cwd=PGX_LOGIN, capture_output=True, text=True, timeout=900
    )
    assert build.returncode == 0, build.stderr
    return program


@pytest.fixture(params=["libpq", "pgx"])
def client(request: pytest.FixtureRequest) -> list[str]:
    """A command that logs in as the PG* variables say and prints the user, and never asks for a password."""
    if request.param == "libpq":
        return ["psql", "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "-c", "SELECT current_user"]
    return [str(request.getfixturevalue("pgx_login"))]


@pytest.fixture
def world_with_database() -> Iterator[GoogleEmulator]:
    with GoogleEmulator(token_life="1h", cache_model="none") as emulator:
        yield emulator


def test_libpq_and_pgx_read_the_token_from_the_file(client: list[str], world_with_database: GoogleEmulator) -> None:
    """libpq: libpq-pgpass in PostgreSQL's documentation; pgx: pgconn.ParseConfig."""
    emulator = world_with_database
    with Supervisor(
        "--rotation", "in-place", "--refresh-interval", "10s", emulator=emulator, command=["sleep", "600"]
    ) as supervisor:
        supervisor.wait_for_log("child: started")
        process = find_process(supervisor.child_pid)
        assert process
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "PGPASSFILE": process.environment["PGPASSFILE"],
            "PGHOST": emulator.db_host,
            "PGPORT": str(emulator.db_port),
            "PGUSER": emulator.user,
            "PGDATABASE": emulator.database_name,
            "PGSSLMODE": "disable",
        }
        assert "PGPASSWORD" not in process.environment
        used = {log_in(client, environment, emulator)}
        # The same file, and another token in it.
        wait_until(lambda: delivered_token(supervisor) not in used, "the next token in the password file")
        used.add(log_in(client, environment, emulator))
        assert len(used) == 2
        assert emulator.refused_logins() == []


def log_in(client: list[str], environment: dict[str, str], emulator: GoogleEmulator) -> str:
    """Returns the token that the client logged in with."""
    before = len(emulator.logins())
    ended = subprocess.run(client, env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout.strip()) == (0, emulator.user), ended.stderr
    (login,) = emulator.logins()[before:]
    assert login.accepted
    (token,) = (token for token in emulator.tokens() if token.hash == login.token)
    return token.text
