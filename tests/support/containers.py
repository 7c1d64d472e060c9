"""Containers of the project's images, for a test: started, read, asked and removed.

    with Google(client, token_life="20s") as google, Server(google, mem_limit="512m") as server:
        server.wait_healthy()
        assert server.stop().code == 128 + signal.SIGTERM
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import docker
import httpx

from log_lines import LogLine, parse_log_line
from supervisor import ReservedPort, wait_until
from google_emulator.client import GoogleEmulator

Found = TypeVar("Found")

IAM_USER = "prefect-sa@my-project.iam"
DATABASE = "prefect"
# Prefect starts in about 8 s on a processor of its own.
START_LIMIT = 600.0
# The container has no root user, a read-only root, and the memory and processor of Cloud Run's smallest instance.
CONFINED: dict[str, Any] = {
    "user": "10001:10001",
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "mem_limit": "512m",
    "nano_cpus": 1_000_000_000,
}

_numbers = itertools.count(1)


def free_name() -> str:
    return f"test-{os.getpid()}-{next(_numbers)}"


@dataclass(frozen=True)
class Ended:
    code: int
    seconds: float


class Container:
    """One container, from its start to its removal. Options are docker-py's."""

    def __init__(
        self, client: docker.DockerClient, image: str, command: list[str] | None = None, **options: Any
    ) -> None:
        self.name = options.pop("name", None) or free_name()
        self.client = client
        # The ports are chosen here, since the engine would choose others when it starts the container a second time. They
        # stay reserved: the engine sets SO_REUSEADDR on the ports that it publishes, so it can bind them nevertheless.
        self._reserved = {port: ReservedPort() for port in options.pop("publish", ())}
        self._ports = {port: reservation.number for port, reservation in self._reserved.items()}
        published = {f"{port}/tcp": ("127.0.0.1", number) for port, number in self._ports.items()}
        self._container = client.containers.create(image, command, name=self.name, ports=published, **options)
        self._created = int(time.time())
        self.started_at = time.monotonic()
        try:
            self._container.start()
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"--- {self.name}\n{self.output()}")
        self._remove()

    def _remove(self) -> None:
        self._container.remove(force=True, v=True)
        for reservation in self._reserved.values():
            reservation.release()

    # What it writes

    def output(self) -> str:
        return self._container.logs().decode(errors="replace")

    @property
    def log(self) -> list[LogLine]:
        """The supervisor's own lines."""
        return [line for text in self.output().splitlines() if (line := parse_log_line(text))]

    def wait_for_log(self, text: str, count: int = 1, timeout: float = 60.0) -> LogLine:
        def found() -> LogLine | None:
            lines = [line for line in self.log if text in line.raw]
            return lines[count - 1] if len(lines) >= count else None

        return self._wait_for(found, f"line {count} with {text!r}", timeout)

    def wait_for_output(self, text: str, timeout: float = 60.0) -> None:
        self._wait_for(lambda: text in self.output(), repr(text), timeout)

    def _wait_for(self, condition: Callable[[], Found | None], what: str, timeout: float) -> Found:
        """Fails as soon as the container has ended before the condition became true."""

        def found() -> Found | None:
            # This is asked first, so that the last lines of its output are not missed.
            running = self.running
            if (it := condition()) or running:
                return it
            raise RuntimeError(f"{self.name} ended without {what}:\n{self.output()}")

        return wait_until(found, f"{what} from {self.name}", timeout, pause=0.2)

    # Life

    def _state(self) -> dict[str, Any]:
        self._container.reload()
        return self._container.attrs["State"]

    @property
    def running(self) -> bool:
        return bool(self._state()["Running"])

    @property
    def pid(self) -> int:
        """The pid of the container's PID 1, as the machine sees it."""
        return int(self._state()["Pid"])

    def exit_codes(self) -> list[int]:
        """The codes of all runs so far, of which a restart policy can cause more than one."""
        events = self.client.events(
            since=self._created,
            until=int(time.time()) + 1,
            filters={"container": self.name, "event": "die"},
            decode=True,
        )
        return [int(event["Actor"]["Attributes"]["exitCode"]) for event in events]

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel killed a process of the container because memory ran out."""
        return bool(self._state()["OOMKilled"])

    def wait_healthy(self, timeout: float = START_LIMIT) -> None:
        """Waits until the image's HEALTHCHECK succeeds."""
        self._wait_for(lambda: self._state()["Health"]["Status"] == "healthy", "being healthy", timeout)

    def check_health(self) -> tuple[int, str]:
        """Runs the command of HEALTHCHECK now."""
        _, *command = self._container.image.attrs["Config"]["Healthcheck"]["Test"]
        return self.run(*command)

    def wait(self, timeout: float = 60.0) -> Ended:
        code = int(self._container.wait(timeout=timeout)["StatusCode"])
        return Ended(code, time.monotonic() - self.started_at)

    def stop(self, timeout: int = 120) -> Ended:
        """Sends SIGTERM, and SIGKILL after the timeout. Cloud Run's timeout is 10 s, which a busy machine may exceed."""
        start = time.monotonic()
        self._container.stop(timeout=timeout)
        return Ended(int(self._state()["ExitCode"]), time.monotonic() - start)

    def signal(self, name: str) -> None:
        self._container.kill(signal=name)

    def restart(self) -> None:
        self._container.restart(timeout=120)

    def run(self, *command: str) -> tuple[int, str]:
        """A program in the running container: its exit code and all that it wrote."""
        code, output = self._container.exec_run(list(command))
        return code, output.decode(errors="replace")

    def processes(self) -> list[str]:
        """The command lines, PID 1 first."""
        listing = self._container.top(ps_args="-eo pid,args")
        return [line[-1] for line in sorted(listing["Processes"], key=lambda line: int(line[0]))]

    def changed_files(self) -> list[str]:
        return [change["Path"] for change in self._container.diff() or ()]

    # Its ports

    def port(self, number: int) -> int:
        """The address of a published port on this machine."""
        return self._ports[number]

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.port(number)}"


class Google:
    """A network of its own with PostgreSQL 18, the metadata server and the IAM login, by the names that compose.yaml has."""

    def __init__(self, client: docker.DockerClient, token_life: str) -> None:
        self.client = client
        self._token_life = token_life
        self._made: list[Any] = []
        self._containers: list[Container] = []

    def __enter__(self) -> Self:
        try:
            return self._start()
        except BaseException:
            for container in self._containers:
                print(f"--- {container.name}\n{container.output()}")
            self.__exit__(None, None, None)
            raise

    def _start(self) -> Self:
        name = free_name()
        self.network = self.client.networks.create(name)
        self._made.append(self.network.remove)
        sockets = self.client.volumes.create(f"{name}-sockets")
        self._made.append(lambda: sockets.remove(force=True))
        mount = {sockets.name: {"bind": "/var/run/postgresql"}}
        self._keep(
            Container(
                self.client,
                "postgres:18",
                ["postgres", "-c", "listen_addresses=", "-c", "fsync=off"],
                environment={"POSTGRES_USER": "cloudsqladmin", "POSTGRES_HOST_AUTH_METHOD": "trust"},
                volumes=mount,
                network=name,
            )
        )
        command = ["--postgres-socket", "/var/run/postgresql", "--tls", "required", "--token-life", self._token_life]
        self.container = self._keep(
            Container(
                self.client,
                "prefect-google-emulator",
                command,
                volumes=mount,
                network=name,
                publish=[8000],
            )
        )
        self.network.disconnect(self.container.name)
        self.network.connect(self.container.name, aliases=["google"])
        self.container.wait_for_output('"metadata"', timeout=START_LIMIT)
        self.emulator = GoogleEmulator.elsewhere(
            {
                "metadata": "google",
                "database": {"host": "google", "port": 5432, "socket_directory": ""},
                "control": self.container.url(8000),
                "user": IAM_USER,
                "database_name": DATABASE,
            }
        )
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as all_of_them:
            for undo in self._made:
                all_of_them.callback(undo)

    def _keep(self, container: Container) -> Container:
        self._containers.append(container)
        self._made.append(lambda: container.__exit__(None, None, None))
        return container

    def environment(self) -> dict[str, str]:
        """The variables that the tutorial sets for the server, and the address of this emulator."""
        return {
            "DB_USER": IAM_USER,
            "DB_IP": "google",
            "DB_NAME": DATABASE,
            "DB_SSL": "require",
            "GCE_METADATA_HOST": "google",
        }


class Server(Container):
    """Prefect Server under the supervisor, as `prefect-server` has it."""

    def __init__(
        self,
        google: Google,
        *arguments: str,
        image: str = "prefect-server",
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.google = google
        super().__init__(
            google.client,
            image,
            list(arguments) or None,
            environment=google.environment() | (environment or {}),
            network=google.network.name,
            publish=[8080, 8081],
            **options,
        )

    @functools.cached_property
    def api(self) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url(8080)}/api", timeout=60)

    def status(self) -> dict[str, Any]:
        return httpx.get(f"{self.url(8081)}/status", timeout=10).json()


def added_layers(client: docker.DockerClient, image: str, base: str) -> dict[str, int]:
    """The bytes of each layer of `image` that `base` does not have, by the instruction that made it."""
    of_base = {layer["Id"] for layer in client.images.get(base).history() if layer["Id"] != "<missing>"}
    layers = itertools.takewhile(lambda layer: layer["Id"] not in of_base, client.images.get(image).history())
    return {re.sub(r"\s+", " ", layer["CreatedBy"]): int(layer["Size"]) for layer in layers if layer["Size"]}
