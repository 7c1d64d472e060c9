"""A real PostgreSQL for one emulator: private, on a unix socket only, thrown away at the end."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import hashlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google_emulator import pg_wire
from google_emulator.pg_wire import quote_identifier

# The roles that Cloud SQL has. Only Google's own role is a superuser; `postgres` is the owner's account.
SUPERUSER = "cloudsqladmin"
_ADMINISTRATOR = "postgres"
CLOUD_SQL_ROLES = {
    "cloudsqlsuperuser": "NOLOGIN CREATEDB CREATEROLE",
    _ADMINISTRATOR: "LOGIN CREATEDB CREATEROLE IN ROLE cloudsqlsuperuser",
    "cloudsqliamserviceaccount": "NOLOGIN",
}

_INITDB = [
    f"--username={SUPERUSER}",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-locale",
    "--wal-segsize=1",
    "--no-data-checksums",
    "--no-sync",
    "--no-instructions",
]

# Nothing in it is worth keeping, so nothing waits for a disk; and it shares a small machine.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "8MB",
    "max_wal_size": "128MB",
    "shared_buffers": "32MB",
    "max_connections": "100",
    # A segment in /dev/shm would outlive a server that is killed.
    "dynamic_shared_memory_type": "mmap",
    "logging_collector": "off",
}

_PORT = 5432
# Linux allows 107 bytes for the path of a unix socket.
_LONGEST_SOCKET_PATH = 107
START_LIMIT = 300.0
_STOP_LIMIT = 10.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class PostgresError(Exception):
    """One line that says what was tried and why it failed."""


def create_roles_sql() -> str:
    return "".join(f"CREATE ROLE {name} {options};\n" for name, options in CLOUD_SQL_ROLES.items())


async def run_as(socket_path: str, user: str, database: str, statements: list[str]) -> list[str | None]:
    try:
        return await pg_wire.run_sql(socket_path, user, database, statements)
    except (pg_wire.ServerError, pg_wire.ProtocolError) as error:
        raise PostgresError(f"PostgreSQL refused to set up the database {database!r}: {error}") from None


async def create_database(socket_path: str, iam_user: str, database: str, schema: str | None) -> None:
    """Makes what the administrator makes in Cloud SQL, and grants what the IAM user is to have."""
    user_name, database_name = quote_identifier(iam_user), quote_identifier(database)
    await run_as(
        socket_path,
        SUPERUSER,
        "template1",
        [
            f"CREATE DATABASE {database_name} OWNER cloudsqlsuperuser",
            f"CREATE ROLE {user_name} LOGIN IN ROLE cloudsqliamserviceaccount",
        ],
    )
    schema_name = quote_identifier(schema or "public")
    await run_as(
        socket_path,
        _ADMINISTRATOR,
        database,
        [
            *([f"CREATE SCHEMA {schema_name}"] if schema else []),
            f"GRANT ALL ON SCHEMA {schema_name} TO {user_name}",
            f"GRANT CREATE ON DATABASE {database_name} TO {user_name}",
        ],
    )


@dataclass(frozen=True)
class Account:
    """Who runs the server. PostgreSQL refuses to run as root."""

    name: str
    uid: int
    gid: int

    def subprocess_arguments(self) -> dict[str, Any]:
        return {} if os.geteuid() != 0 else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can(self, test: str, path: Path) -> bool:
        """`test` is one of the file tests of test(1), like -r or -x."""
        command = ["test", test, str(path)]
        return subprocess.run(command, cwd="/", **self.subprocess_arguments()).returncode == 0


def unprivileged_account() -> Account:
    if os.geteuid() != 0:
        uid = os.geteuid()
        return Account(str(uid), uid, os.getegid())
    if (invoker := os.environ.get("SUDO_UID", "")).isdigit() and invoker != "0":
        with suppress(KeyError):
            entry = pwd.getpwuid(int(invoker))
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise PostgresError(
            "PostgreSQL does not run as root and there is no user nobody; run the emulator as another user"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


class Postgres:
    """Owns its folder: everything is made there and removed with it."""

    def __init__(self, distribution: Path, template_directory: Path, state_directory: Path) -> None:
        self._distribution = distribution
        self._template_directory = template_directory
        self._account = unprivileged_account()
        self._process: asyncio.subprocess.Process | None = None
        self._home = _make_home(state_directory, self._account)
        self._data = self._home / "data"
        self.log_file = state_directory / "postgres.log"

    @property
    def socket_directory(self) -> str:
        return str(self._home)

    @property
    def socket_path(self) -> str:
        return str(socket_in(self._home))

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        await asyncio.to_thread(self._prepare)
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with self.log_file.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._distribution / "bin/postgres"),
                "-D",
                str(self._data),
                f"--port={_PORT}",
                f"--unix_socket_directories={self._home}",
                *settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                start_new_session=True,
                preexec_fn=_die_with_parent,
                **self._account.subprocess_arguments(),
            )
        try:
            async with asyncio.timeout(START_LIMIT):
                await self._wait_until_it_answers()
        except TimeoutError:
            words = self.last_words()
            raise PostgresError(f"PostgreSQL did not answer within {START_LIMIT:g} s: {words}") from None

    async def create_database(self, iam_user: str, database: str, schema: str | None) -> None:
        await create_database(self.socket_path, iam_user, database, schema)

    async def wait(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Ends the server, harder each time it does not, and removes its folder."""
        process = self._process
        if process is not None:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                if process.returncode is not None:
                    break
                with suppress(ProcessLookupError):
                    process.send_signal(number)
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _STOP_LIMIT)
        self.remove()

    def remove(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)

    def last_words(self) -> str:
        with suppress(OSError):
            lines = self.log_file.read_text(errors="replace").strip().splitlines()
            telling = [line for line in lines if "FATAL" in line or "ERROR" in line or "PANIC" in line]
            return (telling or lines or [""])[-1]
        return ""

    async def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        while self._process.returncode is None:
            with suppress(OSError, pg_wire.ServerError, pg_wire.ProtocolError):
                await pg_wire.run_sql(self.socket_path, SUPERUSER, "template1", ["SELECT 1"])
                return
            await asyncio.sleep(0.02)
        raise PostgresError(f"PostgreSQL ended at its start: {self.last_words() or 'it said nothing'}")

    # Files

    def _prepare(self) -> None:
        self._distribution = _usable_distribution(self._distribution, self._home, self._account)
        template = self._template()
        shutil.copytree(template, self._data, symlinks=True)
        _give_to(self._data, self._account)

    def _template(self) -> Path:
        """A data directory as initdb leaves it, with Cloud SQL's roles; made once and then copied."""
        version = self._run_tool("postgres", "--version").strip()
        content = "\n".join([version, *_INITDB, create_roles_sql()])
        name = f"pgdata-template-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
        try:
            self._template_directory.mkdir(parents=True, exist_ok=True)
            with _locked(self._template_directory / f"{name}.lock"):
                template = self._template_directory / name
                if not template.exists():
                    # Made beside it and renamed, so that a template is always whole.
                    unfinished = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self._template_directory))
                    try:
                        shutil.copytree(self._make_data_directory(), unfinished / "data")
                        os.rename(unfinished / "data", template)
                    finally:
                        shutil.rmtree(unfinished, ignore_errors=True)
                return template
        except PermissionError:
            return self._make_data_directory()

    def _make_data_directory(self) -> Path:
        data = self._home / "template"
        shutil.rmtree(data, ignore_errors=True)
        self._run_tool("initdb", "-D", str(data), *_INITDB)
        self._run_tool("postgres", "--single", "-D", str(data), "template1", sql=create_roles_sql())
        return data

    def _run_tool(self, tool: str, *arguments: str, sql: str | None = None) -> str:
        command = [str(self._distribution / "bin" / tool), *arguments]
        result = subprocess.run(
            command,
            input=sql or "",
            capture_output=True,
            text=True,
            cwd=self._home,
            **self._account.subprocess_arguments(),
        )
        if result.returncode != 0 or "ERROR:" in result.stderr:
            reason = " ".join(result.stderr.split())
            raise PostgresError(f"{tool} of {self._distribution} failed ({result.returncode}): {reason}")
        return result.stdout


def _die_with_parent() -> None:
    # An immediate shutdown; it runs after the change of user, which would undo it.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def socket_in(directory: Path) -> Path:
    return directory / f".s.PGSQL.{_PORT}"


def _make_home(state_directory: Path, account: Account) -> Path:
    """A folder for data and socket that the account reaches and whose path fits a socket's."""
    for parent in (state_directory, Path("/tmp"), Path("/var/tmp")):
        try:
            home = Path(tempfile.mkdtemp(prefix="postgres-", dir=parent))
        except OSError:
            continue
        _give_to(home, account)
        fits = len(os.fsencode(socket_in(home))) <= _LONGEST_SOCKET_PATH
        if fits and account.can("-w", home):
            return home
        home.rmdir()
    raise PostgresError(
        f"PostgreSQL's user {account.name} reaches neither {state_directory} nor /tmp nor /var/tmp"
    )


def _usable_distribution(distribution: Path, home: Path, account: Account) -> Path:
    """The folder itself, or a copy of it where the account cannot read it or links cannot be made in it."""
    server = distribution / "bin/postgres"
    if not server.is_file():
        raise PostgresError(
            f"there is no PostgreSQL in {distribution} (no bin/postgres): name one with --postgres-dir"
        )
    with suppress(PermissionError):
        make_links(distribution)
        if account.can("-x", server):
            return distribution
    copy = home / "distribution"
    shutil.copytree(distribution, copy, symlinks=True, copy_function=_link_or_copy)
    make_links(copy)
    return copy


def _link_or_copy(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)


def make_links(distribution: Path) -> None:
    """Makes the libraries' symbolic links. npm keeps none: the package only lists them, for an install
    script that npm may not run."""
    listing = distribution / "pg-symlinks.json"
    if not listing.exists():
        return
    for link in json.loads(listing.read_text()):
        # Both are relative to the package, whose folder `native` is the distribution.
        source, target = (distribution.joinpath(*Path(link[key]).parts[1:]) for key in ("source", "target"))
        if not target.is_symlink() and not target.exists():
            with suppress(FileExistsError):
                target.symlink_to(os.path.relpath(source, target.parent))


def _give_to(path: Path, account: Account) -> None:
    if os.geteuid() != 0:
        return
    os.chown(path, account.uid, account.gid)
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            os.chown(os.path.join(folder, name), account.uid, account.gid, follow_symlinks=False)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
