"""One server of docker/compose.yaml, or several of docker/compose.scale.yaml, and the frame of the benchmarks that
measure them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import docker
import docker.errors

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_REPOSITORY), str(_REPOSITORY / "tests/support")]

from compose import System, containers_of, is_ready, project_of, start_system  # noqa: E402
from containers import START_LIMIT  # noqa: E402
from scale import ScaledSystem, start_scaled_system  # noqa: E402
from supervisor import wait_until  # noqa: E402

DATABASE = "database"


class Subject:
    """One server, or several: what the scenarios do to it, and what they read from its database."""

    def __init__(self, name: str, system: System, engine: docker.DockerClient) -> None:
        self.name = name
        self.system = system
        self._engine = engine
        self.project = project_of(system.command)

    @property
    def is_scaled(self) -> bool:
        return isinstance(self.system, ScaledSystem)

    @property
    def port(self) -> int:
        return int(self.system.ui.rpartition(":")[2])

    def containers(self, service: str) -> list[Any]:
        return containers_of(self._engine, self.project, service)

    def servers(self) -> list[Any]:
        return self.containers("api" if self.is_scaled else "server")

    def wait_ready(self) -> None:
        if isinstance(self.system, ScaledSystem):
            self.system.wait_for_ready(len(self.servers()))
        else:
            wait_until(lambda: is_ready(self.system.health), "the server to be ready", START_LIMIT, pause=0.2)

    def rows(self, statement: str) -> list[str]:
        (database,) = self.containers(DATABASE)
        command = ["psql", "-U", "cloudsqladmin", "-d", "prefect", "-qtAc", statement]
        # The database itself may be what restarts.
        with suppress(docker.errors.APIError):
            code, output = database.exec_run(command)
            return output.decode().split("\n")[:-1] if code == 0 else []
        return []

    def memory(self) -> dict[str, float]:
        """MiB of each container that runs Prefect, less the file pages that the kernel can drop, as `docker stats` counts."""
        found = {}
        for service in ("api", "server", "services"):
            for container in self.containers(service):
                if container.status != "running":
                    continue
                stats = container.stats(stream=False)["memory_stats"]
                droppable = stats["stats"].get("inactive_file", stats["stats"].get("total_inactive_file", 0))
                found[container.name.removeprefix(f"{self.project}_")] = round((stats["usage"] - droppable) / 2**20, 1)
        return found


@contextmanager
def start(engine: docker.DockerClient, servers: int) -> Iterator[Subject]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if servers == 1:
            with start_system(Path(folder)) as system:
                yield Subject("one server", system, engine)
            return
        with start_scaled_system(engine, Path(folder), servers) as system:
            yield Subject(f"{servers} API servers", system, engine)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--servers",
        type=_numbers,
        default="1,2",
        metavar="LIST",
        help="numbers of servers; 1 is docker/compose.yaml (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")


def _numbers(text: str) -> list[int]:
    with suppress(ValueError):
        numbers = [int(one) for one in text.split(",")]
        if all(1 <= one <= 10 for one in numbers):
            return numbers
    raise argparse.ArgumentTypeError(f"{text} is not a list of numbers from 1 to 10")


def run(
    options: argparse.Namespace,
    measure: Callable[[Subject], Iterable[Any]],
    print_table: Callable[[list[Any]], None],
) -> int:
    """Measures each of the numbers of servers, and returns the exit code."""
    engine = docker.from_env(version="auto", timeout=120)
    load_before = os.getloadavg()
    results: list[Any] = []
    try:
        for number in options.servers:
            with start(engine, number) as subject:
                # One by one, so that those before an interrupt are there.
                for result in measure(subject):
                    results.append(result)
    except KeyboardInterrupt:
        return 130
    finally:
        # What was measured until then is shown, since it took minutes.
        if options.json is not None:
            options.json.write_text(json.dumps([asdict(one) for one in results], indent=2) + "\n")
        machine = f"{platform.machine()}, {os.cpu_count()} cores, kernel {platform.release()}"
        print(f"- machine: {machine}\n- load before: {load_before}\n")
        print_table(results)
        engine.close()
    return 0
