"""HAProxy and nginx as load balancers in front of supervised servers, each with a configuration of the test's own.

    with BalancedServer("--no-token", command=page_command()) as one, BalancedServer(...) as other:
        one.start(), other.start()
        with HAProxy([one, other]) as balancer:
            balancer.wait_for_state(one, "UP")

Nothing of the distribution's configuration, folders or services is used. Every answer has the header X-Server, which
names the server that gave it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

from processes import MARK
from supervisor import RUN_MARK, ReservedPort, Supervisor, wait_until

_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HAPROXY = shutil.which("haproxy", path=_FOLDERS)
NGINX = shutil.which("nginx", path=_FOLDERS)


class BalancedServer:
    """A supervisor that is stopped and started again on the same ports, as a container of a fixed address is."""

    def __init__(self, *arguments: str, **options: Any) -> None:
        """They are Supervisor's, and so is `{port}` in `ready_url`."""
        self._arguments = arguments
        self._options = options
        self._reserved = [ReservedPort(), ReservedPort()]
        self.port, self.health_port = (port.number for port in self._reserved)
        self.supervisor: Supervisor | None = None

    @property
    def name(self) -> str:
        """As it is in X-Server."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.supervisor is not None:
            # An interrupt is not delayed, whatever the stop delay is.
            if self.supervisor.alive:
                with contextlib.suppress(Exception):
                    self.supervisor.stop(signal.SIGINT, timeout=10.0)
            self.supervisor.end()
            if kind is not None:
                print(self.supervisor.transcript())
        for port in self._reserved:
            port.release()

    def start(self) -> Supervisor:
        """The one before it, if there was one, has ended."""
        if self.supervisor is not None:
            self.supervisor.end()
        options = dict(self._options)
        environment = {**options.pop("environment", {}), "PORT": str(self.port)}
        if options.get("ready_url"):
            options["ready_url"] = options["ready_url"].replace("{port}", str(self.port))
        address = ("--health-address", f"127.0.0.1:{self.health_port}")
        started = Supervisor(*self._arguments, *address, environment=environment, **options)
        self.supervisor = started
        started.start()
        started.port, started.health_port = self.port, self.health_port
        return started


class _Balancer:
    """The process of a load balancer that listens on `port` of 127.0.0.1."""

    program: str | None

    def __init__(self, servers: Sequence[BalancedServer]) -> None:
        self._servers = servers

    def __enter__(self) -> Self:
        assert self.program, "it is not installed"
        with contextlib.ExitStack() as stack:
            # The name of a socket has at most 107 bytes, which the folders of pytest may exceed.
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="balancer-")))
            self.port = stack.enter_context(ReservedPort()).number
            self._configure()
            with (self._folder / "output").open("wb") as output:
                self._process = subprocess.Popen(
                    [self.program, *self._arguments()],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={"PATH": _FOLDERS, MARK: f"{RUN_MARK}-balancer"},
                    start_new_session=True,
                )
            stack.callback(self._end)
            wait_until(self._listens, f"{self.program} to listen")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        # The workers are in its session, and a worker of nginx that outlived its master would keep the port.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise ChildProcessError((self._folder / "output").read_text(errors="replace"))
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def _configure(self) -> None:
        raise NotImplementedError

    def _arguments(self) -> list[str]:
        raise NotImplementedError


class HAProxy(_Balancer):
    """It asks each server's /readyz every `interval` seconds, and takes it out after `fall` failures in a row.

    `reuse` is whether it keeps connections to the servers for requests of any client. `retries` are what it does after
    a connection that could not be made, by lines of its configuration."""

    program = HAPROXY

    def __init__(
        self,
        servers: Sequence[BalancedServer],
        *,
        interval: float = 0.2,
        fall: int = 2,
        reuse: bool = True,
        retries: Sequence[str] = (),
    ) -> None:
        super().__init__(servers)
        self._check = f"inter {interval * 1000:.0f}ms fall {fall} rise 1"
        self._lines = [*retries, "http-reuse always" if reuse else "option http-server-close"]

    def command(self, text: str) -> str:
        """Its answer to a command of its administrator."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.connect(str(self._folder / "admin"))
            connection.sendall(f"{text}\n".encode())
            return connection.makefile().read()

    def figures(self, server: BalancedServer) -> dict[str, str]:
        """Its statistics of this server, by the names in HAProxy's manual: status, scur (the requests in work)..."""
        names, *lines = self.command("show stat").removeprefix("# ").splitlines()
        found = [dict(zip(names.split(","), line.split(","))) for line in lines]
        return next(one for one in found if one.get("svname") == server.name)

    def wait_for_state(self, server: BalancedServer, state: str) -> None:
        """UP or DOWN, as a check has found it: before its first check, HAProxy takes every server as UP."""

        def seen() -> bool:
            figures = self.figures(server)
            return figures["status"].startswith(state) and (state != "UP" or figures["check_status"] == "L7OK")

        wait_until(seen, f"HAProxy to see {server.name} as {state}")

    def _arguments(self) -> list[str]:
        return ["-db", "-f", str(self._folder / "haproxy.cfg")]

    def _configure(self) -> None:
        servers = "\n".join(
            f"    server {one.name} {one.name} check port {one.health_port} {self._check}" for one in self._servers
        )
        lines = "\n".join(f"    {line}" for line in self._lines)
        (self._folder / "haproxy.cfg").write_text(f"""\
global
    nbthread 1
    stats socket {self._folder / "admin"} level admin
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
frontend front
    bind 127.0.0.1:{self.port}
    default_backend servers
backend servers
    balance roundrobin
    option httpchk GET /readyz
    http-response set-header X-Server %s
{lines}
{servers}
""")


class Nginx(_Balancer):
    """Open-source nginx checks no server: it learns from requests that fail, and sends nothing for `fail_timeout` then.

    `reuse` is whether it keeps connections to the servers; `next_upstream` is its directive proxy_next_upstream."""

    program = NGINX

    def __init__(
        self,
        servers: Sequence[BalancedServer],
        *,
        reuse: bool = True,
        next_upstream: str = "error timeout",
        fail_timeout: str = "10s",
    ) -> None:
        super().__init__(servers)
        self._reuse = reuse
        self._next_upstream = next_upstream
        self._fail_timeout = fail_timeout
        self._out: frozenset[str] = frozenset()

    def take_out(self, names: Collection[str]) -> None:
        """From now on it sends nothing to these servers, as after an administrator's edit and reload."""
        if frozenset(names) != self._out:
            self._out = frozenset(names)
            self._configure()
            self._process.send_signal(signal.SIGHUP)

    def _arguments(self) -> list[str]:
        # Before it reads its configuration, it would open the distribution's log.
        return ["-e", "stderr", "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-g", "daemon off;"]

    def _configure(self) -> None:
        servers = "\n".join(
            f"        server {one.name} fail_timeout={self._fail_timeout}{' down' if one.name in self._out else ''};"
            for one in self._servers
        )
        temporary = "\n".join(
            f"    {name}_temp_path {self._folder / name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = f"""\
{"user root;" if os.geteuid() == 0 else ""}
worker_processes 1;
pid {self._folder / "nginx.pid"};
error_log stderr crit;
events {{}}
http {{
    access_log off;
{temporary}
    upstream servers {{
{servers}
        {"keepalive 32;" if self._reuse else ""}
    }}
    server {{
        listen 127.0.0.1:{self.port};
        location / {{
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection {'""' if self._reuse else "close"};
            proxy_next_upstream {self._next_upstream};
            add_header X-Server $upstream_addr always;
        }}
    }}
}}
"""
        # It may read the file at any moment after the signal of an earlier change.
        (self._folder / "new").write_text(text)
        (self._folder / "new").rename(self._folder / "nginx.conf")
