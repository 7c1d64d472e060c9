"""Cloud SQL's IAM login: takes a token for the password, then passes everything on to the real PostgreSQL."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from google_emulator import pg_wire
from google_emulator.listener import Listener
from google_emulator.records import Login
from google_emulator.tokens import Mint, token_hash

_LOGGED_LOGINS = 100_000

# PostgreSQL's own authentication_timeout.
_LOGIN_LIMIT = 60.0


class TlsMode(Enum):
    OFF = "off"
    ON = "on"
    REQUIRED = "required"


class _Refused(Exception):
    def __init__(self, why: str, code: str, message: str) -> None:
        super().__init__(why)
        self.why, self.code, self.message = why, code, message


class IamFront:
    def __init__(
        self,
        host: str,
        port: int,
        mint: Mint,
        iam_user: str,
        socket_path: str,
        tls_mode: TlsMode = TlsMode.OFF,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.log: deque[Login] = deque(maxlen=_LOGGED_LOGINS)
        self.connections = 0
        self.refuse_logins = False
        # Cloud SQL asks IAM at every login, which takes a moment.
        self.login_delay = 0.0
        self.listener = Listener("database", host, port, self._serve)
        self._mint = mint
        self._iam_user = iam_user
        self._socket_path = socket_path
        self._tls_mode = tls_mode
        self._tls = tls
        self._logins = 0
        # Both ends of every session that is past its login.
        self._sessions: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._open: set[asyncio.StreamWriter] = set()
        self._watchers: list[Callable[[Login], None]] = []

    def watch(self, watcher: Callable[[Login], None]) -> None:
        """Reports every login once it is decided."""
        self._watchers.append(watcher)

    async def start(self) -> None:
        await self.listener.accept()

    @property
    def open_sessions(self) -> int:
        return len(self._sessions)

    def cut_sessions(self) -> int:
        cut = len(self._sessions)
        for client, server in self._sessions.items():
            client.transport.abort()
            server.transport.abort()
        return cut

    def close(self) -> None:
        self.listener.close()
        self.cut_sessions()
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            async with asyncio.timeout(_LOGIN_LIMIT):
                startup = await self._start_up(reader, writer)
                if startup is None:
                    return
                server = await self._log_in(startup, reader, writer)
            if server is not None:
                await self._relay(reader, writer, *server)
        except (OSError, asyncio.IncompleteReadError, pg_wire.ProtocolError, TimeoutError):
            # The client broke off or spoke something else; PostgreSQL only notes that in its own log, too.
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _start_up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> pg_wire.Startup | None:
        """Settles the encryption and returns the startup message; None if there is nothing more to do."""
        while True:
            startup = await pg_wire.read_startup(reader)
            if startup.code == pg_wire.GSS_ENCRYPTION_REQUEST:
                writer.write(b"N")
            elif startup.code == pg_wire.SSL_REQUEST:
                if self._tls is None:
                    writer.write(b"N")
                else:
                    writer.write(b"S")
                    await writer.start_tls(self._tls)
            elif startup.code == pg_wire.CANCEL_REQUEST:
                await self._pass_on_cancel(startup)
                return None
            else:
                return startup

    async def _log_in(
        self, startup: pg_wire.Startup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Returns the connection to the real server, or None when the login was refused."""
        parameters = startup.parameters
        user = parameters.get("user", "")
        self._logins += 1
        login = Login(
            number=self._logins,
            time=time.time(),
            user=user,
            database=parameters.get("database", user),
            application_name=parameters.get("application_name", ""),
            tls=writer.get_extra_info("ssl_object") is not None,
            accepted=False,
            refused=False,
            why="the client left before the password",
            peer_port=writer.get_extra_info("peername")[1],
        )
        try:
            self._check_encryption(login, writer)
            writer.write(pg_wire.AUTHENTICATION_CLEARTEXT_PASSWORD)
            password = await pg_wire.read_password(reader)
            if self.login_delay:
                await asyncio.sleep(self.login_delay)
            self._check_password(login, password)
            server_reader, server = await self._connect()
            login.accepted, login.why = True, "live token"
        except _Refused as refusal:
            login.refused, login.why = True, refusal.why
            writer.write(pg_wire.error_response(refusal.code, refusal.message))
            await writer.drain()
            return None
        finally:
            # In the order in which they were decided, and before the client learns of it.
            self.log.append(login)
            for watcher in self._watchers:
                watcher(login)
        server.write(startup.packet)
        return server_reader, server

    def _check_encryption(self, login: Login, writer: asyncio.StreamWriter) -> None:
        if self._tls_mode is TlsMode.REQUIRED and not login.tls:
            host = writer.get_extra_info("peername")[0]
            raise _Refused(
                "TLS is required",
                "28000",
                f'pg_hba.conf rejects connection for host "{host}", user "{login.user}", '
                f'database "{login.database}", SSL off',
            )

    def _check_password(self, login: Login, password: str) -> None:
        now = time.time()
        token = self._mint.find(password)
        login.token = token_hash(password) if password else None
        if token is not None:
            login.token_age = round(now - token.minted_at, 3)
            login.token_left = round(token.left(now), 3)
            login.newest = token is self._mint.newest
        if login.user != self._iam_user:
            full_address = login.user == f"{self._iam_user}.gserviceaccount.com"
            fault = "the user is the full e-mail address" if full_address else "unknown user"
            raise _Refused(fault, "28P01", f'password authentication failed for user "{login.user}"')
        why: str | None = None
        if self.refuse_logins:
            why = "logins are refused by script"
        elif not password:
            why = "no password"
        elif token is None:
            why = "unknown token"
        elif token.expired(now):
            why = "expired token"
        if why is not None:
            message = f'Cloud SQL IAM service account authentication failed for user "{login.user}"'
            raise _Refused(why, "28000", message)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(self._socket_path)
        except OSError as error:
            why = f"the real PostgreSQL cannot be reached: {error.strerror}"
            raise _Refused(why, "57P03", "the database system is not accepting connections") from None

    async def _pass_on_cancel(self, startup: pg_wire.Startup) -> None:
        with suppress(OSError):
            reader, server = await asyncio.open_unix_connection(self._socket_path)
            server.write(startup.packet)
            # The server closes once it has acted.
            await reader.read()
            server.close()

    async def _relay(
        self,
        client_reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        self._sessions[client] = server
        try:
            pumps = {
                asyncio.create_task(_pump(client_reader, server)),
                asyncio.create_task(_pump(server_reader, client)),
            }
            # Either end's close ends the session.
            _, unfinished = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in unfinished:
                pump.cancel()
            await asyncio.wait(pumps)
        finally:
            del self._sessions[client]
            server.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(64 * 1024):
            sink.write(data)
            # Waits while the other side does not take it, so neither side can fill our memory.
            await sink.drain()
