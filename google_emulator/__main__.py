"""Puts the parts together, says where they are, and takes them down again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

# `python3 google_emulator` puts this folder on the path; its modules are a package of the folder above.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from google_emulator.certificates import Authority  # noqa: E402
from google_emulator.control import ControlServer  # noqa: E402
from google_emulator.credential_files import Identities  # noqa: E402
from google_emulator.google_apis import NAMES, GoogleApis  # noqa: E402
from google_emulator.iam_front import IamFront, TlsMode  # noqa: E402
from google_emulator.metadata import MetadataServer  # noqa: E402
from google_emulator.options import Options, parse_options  # noqa: E402
from google_emulator.postgres import Postgres, PostgresError  # noqa: E402
from google_emulator.records import Login, MetadataRequest  # noqa: E402
from google_emulator.running_postgres import RunningPostgres  # noqa: E402
from google_emulator.tokens import Mint, TokenCache  # noqa: E402


# The tutorial's name for its Cloud SQL instance.
_INSTANCE = "prefect-db"


class GoogleEmulator:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._stop = asyncio.Event()
        self._metadata: MetadataServer | None = None
        self._front: IamFront | None = None
        self._postgres: Postgres | RunningPostgres | None = None
        self._apis: GoogleApis | None = None
        self._control: ControlServer | None = None
        self._authority: Authority | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        if self._options.exit_with_stdin:
            self._watch_standard_input()
        # Only now, when a signal no longer ends us without cleaning up.
        self._state = _StateDirectory(self._options.state_dir)
        ready_file = self._options.ready_file
        try:
            ready = json.dumps(await self._start()) + "\n"
            if ready_file is not None:
                _write_whole(ready_file, ready)
            sys.stdout.write(ready)
            sys.stdout.flush()
            await self._until_stopped()
        finally:
            await self._close()
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)
            self._state.remove()

    async def _start(self) -> dict[str, Any]:
        options = self._options
        mint = Mint(options.token_life)
        cache = TokenCache(mint, options.cache_model, options.first_token_age)
        email = f"{options.iam_user}.gserviceaccount.com"
        self._metadata = MetadataServer(options.host, options.metadata_port, cache, email)
        if options.postgres:
            await self._start_database(mint)
        if options.credentials:
            self._start_apis(mint)
        self._control = ControlServer(
            options.host, options.control_port, mint, cache, self._metadata, self._front, self._postgres, self._apis
        )
        if options.verbose:
            self._metadata.watch(_say_request)
            if self._front is not None:
                self._front.watch(_say_login)
        await self._metadata.start()
        await self._control.start()
        apis = None
        if self._apis is not None:
            await self._apis.start()
            apis = {"address": self._apis.listener.address, "proxy": f"http://{self._apis.proxy.address}"}
        database = None
        if self._front is not None and self._postgres is not None:
            await self._front.start()
            database = {
                "host": options.host,
                "port": self._front.listener.port,
                # Straight to the real server, which trusts everybody there.
                "socket_directory": self._postgres.socket_directory,
            }
        return {
            "metadata": self._metadata.listener.address,
            "database": database,
            "control": f"http://{self._control.listener.address}",
            "apis": apis,
            "ca": str(self._authority.file) if self._authority else None,
            "user": options.iam_user,
            "database_name": options.database,
            "pid": os.getpid(),
        }

    async def _start_database(self, mint: Mint) -> None:
        options = self._options
        if options.postgres_socket is not None:
            self._postgres = RunningPostgres(options.postgres_socket)
        else:
            self._postgres = Postgres(options.postgres_dir, options.template_dir, self._state.path)
        context = None
        if options.tls is not TlsMode.OFF:
            project = options.iam_user.partition("@")[2].removesuffix(".iam") or "my-project"
            context = self._certificates().sign_database(options.ca_mode, f"{project}:{_INSTANCE}")
        self._front = IamFront(
            options.host,
            options.db_port,
            mint,
            options.iam_user,
            self._postgres.socket_path,
            options.tls,
            context,
        )
        await self._postgres.start()
        await self._postgres.create_database(options.iam_user, options.database, options.schema)

    def _start_apis(self, mint: Mint) -> None:
        options = self._options
        names = ",".join(f"DNS:{name}" for name in NAMES) + ",IP:127.0.0.1"
        tls = self._certificates().sign("apis", "Google's APIs", names)
        identities = Identities(options.credentials)
        self._apis = GoogleApis(options.host, options.apis_port, options.proxy_port, mint, identities, tls)

    def _certificates(self) -> Authority:
        if self._authority is None:
            self._authority = Authority(self._state.path)
        return self._authority

    async def _until_stopped(self) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        if self._postgres is None:
            await stopped
            return
        server_ended = asyncio.create_task(self._postgres.wait())
        await asyncio.wait({stopped, server_ended}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            words = self._postgres.last_words()
            raise PostgresError(f"PostgreSQL ended by itself with code {server_ended.result()}: {words}")
        server_ended.cancel()

    async def _close(self) -> None:
        for part in (self._front, self._metadata, self._apis, self._control):
            if part is not None:
                part.close()
        if self._postgres is not None:
            await self._postgres.stop()

    def _watch_standard_input(self) -> None:
        def readable() -> None:
            if not os.read(0, 4096):
                asyncio.get_running_loop().remove_reader(0)
                self._stop.set()

        try:
            asyncio.get_running_loop().add_reader(0, readable)
        except PermissionError:
            raise OSError("--exit-with-stdin: standard input is no pipe or terminal") from None


class _StateDirectory:
    def __init__(self, path: Path | None) -> None:
        self._made = path is None or not path.exists()
        if path is None:
            self.path = Path(tempfile.mkdtemp(prefix="emulator-"))
        else:
            self.path = path.absolute()
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise OSError(f"the state directory {self.path} is not empty: name a new or an empty one")
        # PostgreSQL's own user passes through; what is private in it has its own mode.
        self.path.chmod(0o711)

    def remove(self) -> None:
        for child in self.path.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        if self._made:
            self.path.rmdir()


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text)
    unfinished.rename(path)


def _say_request(entry: MetadataRequest) -> None:
    if entry.is_token_request:
        what = f"{entry.answer}, status {entry.status}, token {entry.token}, expires_in {entry.expires_in}"
        print(f"token request {entry.number}: {what}", file=sys.stderr, flush=True)


def _say_login(login: Login) -> None:
    verdict = "accepted" if login.accepted else "refused" if login.refused else "abandoned"
    what = f"{login.why}, token {login.token}, {login.token_age} s old"
    print(f"login {login.number} of {login.user} {verdict}: {what}", file=sys.stderr, flush=True)


def main() -> int:
    options = parse_options()
    try:
        asyncio.run(GoogleEmulator(options).run())
    except (OSError, PostgresError) as error:
        print(f"google_emulator: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
