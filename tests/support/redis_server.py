"""A real Redis of a test's own, on 127.0.0.1: Debian's redis-server, without the distribution's configuration or service."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from processes import MARK
from supervisor import RUN_MARK, ReservedPort, wait_until
from google_emulator.certificates import Authority, CaMode

REDIS_SERVER = shutil.which("redis-server", path="/usr/local/bin:/usr/bin:/bin")


class RedisServer:
    """It keeps its files in `folder`. With `tls` it takes no connection without TLS, and shows a certificate for the name
    `localhost` that the authority in the file `ca` has signed."""

    def __init__(self, folder: Path, *, password: str | None = None, tls: bool = False) -> None:
        self._folder = folder / "redis"
        self._password = password
        self._tls = tls
        self.ca: Path | None = None

    def __enter__(self) -> Self:
        assert REDIS_SERVER, "redis-server is not installed: tools/install-packages.sh test installs it"
        self._folder.mkdir()
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        try:
            with (self._folder / "output").open("wb") as output:
                # Its settings are its standard input, for a password does not belong on a command line.
                self._process = subprocess.Popen(
                    [REDIS_SERVER, "-"],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env={"PATH": "/usr/bin:/bin", MARK: f"{RUN_MARK}-redis"},
                    start_new_session=True,
                )
            try:
                assert self._process.stdin
                self._process.stdin.write("\n".join(self._settings()).encode())
                self._process.stdin.close()
                wait_until(self._listens, "redis-server to listen")
            except BaseException:
                self._end()
                raise
        except BaseException:
            self._reserved.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._reserved.release()
        if error is not None:
            print(f"--- redis-server\n{(self._folder / 'output').read_text(errors='replace')}")

    def environment(self) -> dict[str, str]:
        """What a user of the server's image sets for it."""
        values = {"PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1", "PREFECT_REDIS_MESSAGING_PORT": str(self.port)}
        if self._password:
            values["PREFECT_REDIS_MESSAGING_PASSWORD"] = self._password
        if self._tls:
            values |= {
                "PREFECT_REDIS_MESSAGING_HOST": "localhost",
                "PREFECT_REDIS_MESSAGING_SSL": "true",
                "REDIS_SSL_ROOT_CERT": str(self.ca),
            }
        return values

    def _settings(self) -> list[str]:
        lines = [f"dir {self._folder}", "bind 127.0.0.1", "save ''", "appendonly no"]
        if self._password:
            lines.append(f"requirepass {_quoted(self._password)}")
        if not self._tls:
            return [*lines, f"port {self.port}"]
        certificates = self._folder / "certificates"
        certificates.mkdir()
        authority = Authority(certificates)
        authority.sign_database(CaMode.SHARED, "project:instance")
        self.ca = authority.file
        files = [f"tls-cert-file {certificates}/server.pem", f"tls-key-file {certificates}/server-key.pem"]
        return [*lines, *files, f"tls-ca-cert-file {self.ca}", "tls-auth-clients no", "port 0", f"tls-port {self.port}"]

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise ChildProcessError((self._folder / "output").read_text(errors="replace"))
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            if self._tls:
                with ssl.create_default_context(cafile=self.ca).wrap_socket(connection, server_hostname="localhost"):
                    return True
            return True
        return False

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
