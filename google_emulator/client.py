"""Starts an emulator for a test or a local run, and talks to its control port.

with GoogleEmulator(token_life="60s", cache_model="gke") as emulator:
    subprocess.run(["prefect-supervisor"], env=os.environ | emulator.environment())
    emulator.script({"answer": "status", "status": 503, "times": 3}, {"answer": "hang"})
    assert all(login.accepted for login in emulator.logins())
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from google_emulator.records import ApiRequest, Login, MetadataRequest, MintedToken

Found = TypeVar("Found")

_PROGRAM = Path(__file__).resolve().parent
_STOP_LIMIT = 30.0


class EmulatorError(Exception):
    """The emulator could not be started, or did not do what it was asked."""


class GoogleEmulator:
    """A running emulator. Every argument has the meaning and the default of the option of its name."""

    def __init__(
        self,
        *,
        token_life: str = "60s",
        cache_model: str = "five-minutes",
        first_token_age: str | None = None,
        iam_user: str | None = None,
        database: str | None = None,
        schema: str | None = None,
        tls: str | None = None,
        ca_mode: str | None = None,
        postgres: bool = True,
        host: str | None = None,
        metadata_port: int | None = None,
        db_port: int | None = None,
        control_port: int | None = None,
        credentials: Sequence[str | Path] = (),
        postgres_dir: str | Path | None = None,
        template_dir: str | Path | None = None,
        python: str = sys.executable,
        start_timeout: float = 120.0,
    ) -> None:
        options = {
            "--token-life": token_life,
            "--cache-model": cache_model,
            "--first-token-age": first_token_age,
            "--iam-user": iam_user,
            "--database": database,
            "--schema": schema,
            "--tls": tls,
            "--ca-mode": ca_mode,
            "--host": host,
            "--metadata-port": metadata_port,
            "--db-port": db_port,
            "--control-port": control_port,
            "--postgres-dir": postgres_dir,
            "--template-dir": template_dir,
        }
        self._command = [python, str(_PROGRAM), "--exit-with-stdin"]
        for name, value in options.items():
            if value is not None:
                self._command += [name, str(value)]
        for file in credentials:
            self._command += ["--credentials", str(file)]
        if not postgres:
            self._command.append("--no-postgres")
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[str] | None = None
        self._state_directory: str | None = None
        self._ready: dict[str, Any] = {}

    @classmethod
    def elsewhere(cls, ready: dict[str, Any]) -> GoogleEmulator:
        """An emulator that somebody else started and will end, known by its ready line."""
        emulator = cls()
        emulator._ready = ready
        return emulator

    # Life

    def __enter__(self) -> GoogleEmulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> GoogleEmulator:
        # The folder is made here, so that it can be removed here even when the emulator was killed.
        self._state_directory = tempfile.mkdtemp(prefix="emulator-")
        self._process = subprocess.Popen(
            [*self._command, "--state-dir", self._state_directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C must reach only the caller, which stops the emulator when everything that uses it has ended.
            start_new_session=True,
        )
        try:
            self._ready = self._read_ready_line()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the emulator and everything it started. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin and process.stdout
            process.stdin.close()
            process.stdout.close()
        if self._state_directory is not None:
            shutil.rmtree(self._state_directory, ignore_errors=True)
            self._state_directory = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return int(self._ready["pid"])

    # Where everything is

    @property
    def metadata(self) -> str:
        """HOST:PORT, as GCE_METADATA_HOST wants it."""
        return str(self._ready["metadata"])

    @property
    def control_url(self) -> str:
        return str(self._ready["control"])

    @property
    def db_host(self) -> str:
        return str(self._database["host"])

    @property
    def db_port(self) -> int:
        return int(self._database["port"])

    @property
    def socket_directory(self) -> str:
        """The folder of the real server's socket, where every role logs in without a password."""
        return str(self._database["socket_directory"])

    @property
    def user(self) -> str:
        return str(self._ready["user"])

    @property
    def database_name(self) -> str:
        return str(self._ready["database_name"])

    @property
    def ca(self) -> str | None:
        """The certificate of the authority that signed the database's, or None without TLS."""
        return self._ready["ca"]

    @property
    def _database(self) -> dict[str, Any]:
        if self._ready["database"] is None:
            raise EmulatorError("this emulator was started without a database")
        return self._ready["database"]

    def environment(self) -> dict[str, str]:
        """What the supervisor, and Google's clients, need to find the emulator."""
        values = {"GCE_METADATA_HOST": self.metadata, "GCE_METADATA_IP": self.metadata}
        if self._ready["database"] is not None:
            values |= {
                "DB_USER": self.user,
                "DB_IP": self.db_host,
                "DB_PORT": str(self.db_port),
                "DB_NAME": self.database_name,
            }
        return values

    def https_environment(self) -> dict[str, str]:
        """What a program needs to find Google's APIs here: the proxy and the authority, each under the names that Google's
        clients and the supervisor read."""
        if self._ready["apis"] is None or self.ca is None:
            raise EmulatorError("this emulator was started without credentials")
        proxy = self._ready["apis"]["proxy"]
        return {"https_proxy": proxy, "SSL_CERT_FILE": self.ca, "REQUESTS_CA_BUNDLE": self.ca}

    @property
    def apis(self) -> str:
        """HOST:PORT of the token endpoint and of IAM."""
        return str(self._ready["apis"]["address"])

    def database_url(self, token: str, scheme: str = "postgresql") -> str:
        user, password = quote(self.user, safe=""), quote(token, safe="")
        return f"{scheme}://{user}:{password}@{self.db_host}:{self.db_port}/{self.database_name}"

    # Tokens

    def fetch_token(self, timeout: float = 30.0) -> tuple[str, int]:
        """Asks the metadata server as a client would. Returns the token and its seconds left."""
        url = f"http://{self.metadata}/computeMetadata/v1/instance/service-accounts/default/token"
        answer = _call(url, headers={"Metadata-Flavor": "Google"}, timeout=timeout)
        return answer["access_token"], answer["expires_in"]

    def tokens(self) -> list[MintedToken]:
        """All tokens that were ever minted, the oldest first."""
        return [MintedToken(**token) for token in self._get("/tokens")]

    def current_token(self) -> MintedToken | None:
        current = self.status()["tokens"]["current"]
        return MintedToken(**current) if current else None

    def rotate(self) -> MintedToken:
        """Mints a token now; the metadata server answers with it from here on."""
        return MintedToken(**self._post("/tokens/rotate"))

    def expire(self) -> None:
        """Ends the life of every token minted so far. Who holds one is not told."""
        self._post("/tokens/expire")

    def settings(self, **values: Any) -> dict[str, Any]:
        """Sets `life`, `cache_model` or `padded` for the tokens that are minted from now on."""
        return self._post("/tokens/settings", values)

    # Metadata server

    def script(self, *steps: Mapping[str, Any]) -> None:
        """Queues answers for the next token requests; README.md lists what a step can be."""
        self._post("/metadata/script", {"steps": list(steps)})

    def clear(self) -> None:
        """Forgets the steps still queued."""
        self._post("/metadata/clear")

    def log(self, since: int = 0, tokens_only: bool = False) -> list[MetadataRequest]:
        """The metadata server's requests with a number above `since`."""
        query = urlencode({"since": since, "tokens": int(tokens_only)})
        return [MetadataRequest(**entry) for entry in self._get(f"/metadata/log?{query}")]

    def token_requests(self, since: int = 0) -> list[MetadataRequest]:
        return self.log(since, tokens_only=True)

    # Database

    def logins(self, since: int = 0) -> list[Login]:
        return [Login(**login) for login in self._get(f"/database/log?since={since}")]

    def refused_logins(self, since: int = 0) -> list[Login]:
        return [login for login in self.logins(since) if login.refused]

    def database(self, action: str, seconds: float | str | None = None) -> dict[str, Any]:
        """refuse-logins, accept-logins, go-down, come-back, delay-logins or cut-sessions."""
        order = {"action": action} if seconds is None else {"action": action, "seconds": seconds}
        return self._post("/database/script", order)

    # Google's APIs

    def api_requests(self, since: int = 0) -> list[ApiRequest]:
        return [ApiRequest(**entry) for entry in self._get(f"/apis/log?since={since}")["requests"]]

    def tunnels(self) -> list[str]:
        """What the proxy was asked for: `CONNECT oauth2.googleapis.com:443`."""
        return list(self._get("/apis/log")["tunnels"])

    def apis_script(self, **values: Any) -> None:
        """What goes wrong from now on, in place of what did before: `answers`, `revoked`, `clock_offset`, `proxy_status`."""
        self._post("/apis/script", values)

    # The rest

    def status(self) -> dict[str, Any]:
        return self._get("/status")

    def wait_for(self, condition: Callable[[], Found], what: str, timeout: float = 60.0) -> Found:
        """Returns the condition's first true value; raises a EmulatorError that names `what` if there is none in time."""
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise EmulatorError(f"waited {timeout:g} s for {what}")
            time.sleep(0.05)
        return found

    def _get(self, path: str) -> Any:
        return _call(self.control_url + path)

    def _post(self, path: str, value: Any = None) -> Any:
        return _call(self.control_url + path, json.dumps(value or {}).encode())

    def _read_ready_line(self) -> dict[str, Any]:
        process = self._process
        assert process and process.stdout
        too_late = threading.Event()

        def give_up() -> None:
            too_late.set()
            os.kill(process.pid, signal.SIGTERM)

        timer = threading.Timer(self._start_timeout, give_up)
        timer.start()
        try:
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if too_late.is_set():
            raise EmulatorError(f"the emulator was not ready after {self._start_timeout:g} s")
        if not line:
            raise EmulatorError(f"the emulator ended at its start with code {process.wait()}; its error is above")
        return json.loads(line)


# A proxy of the machine must not be asked for a loopback address.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _call(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float = 30.0
) -> Any:
    request = urllib.request.Request(url, body, dict(headers or {}))
    try:
        with _opener.open(request, timeout=timeout) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf-8", "replace").strip()
        raise EmulatorError(f"{request.get_method()} {url} was answered {error.code}: {text}") from None
    except (urllib.error.URLError, ValueError, OSError) as error:
        raise EmulatorError(f"{request.get_method()} {url} failed: {error}") from None
