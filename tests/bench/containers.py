"""Measures Prefect Server in a real container as PID 1 sees it, under Cloud Run's limits: ./dev bench containers

One processor, 512 MiB, `docker stop` with 10 s. Two Markdown tables: the supervisor by either rotation, and the tutorial's script
beside it if --against names one; then what each start-up setting of the image is worth.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_REPOSITORY), str(_REPOSITORY / "tests/support")]

from background import Background  # noqa: E402
from containers import CONFINED, START_LIMIT, Google, Server  # noqa: E402
from prefect_load import HEALTH, PrefectLoad, ask  # noqa: E402
from supervisor import wait_until  # noqa: E402

_NONE = "–"
# The script refreshes by a timer alone; near the end of a token it gets a new one, as it would after 55 minutes.
_TOKEN_LIFE = 45
_INTERVAL = 42
_LIMITS = {name: CONFINED[name] for name in ("mem_limit", "nano_cpus")}
# Too little for Prefect.
_TOO_LITTLE = "140m"
# The load runs before and after a rotation, so that the whole time without an answer is seen.
_MARGIN = 3.0

_SCRIPT_IMAGE = "bench-tutorial"
_SCRIPT_DOCKERFILE = """\
FROM prefecthq/prefect:3-python3.11
WORKDIR /app
RUN pip install --no-cache-dir --quiet google-auth google-auth-httplib2 asyncpg
COPY entrypoint.py .
ENV PREFECT_SERVER_API_HOST=0.0.0.0 PREFECT_SERVER_API_PORT=8080
CMD ["python", "entrypoint.py"]
"""


@dataclass(frozen=True)
class Subject:
    name: str
    start: Callable[..., Server]
    # What its log says when a rotation begins.
    rotates: str
    # Whether it goes on, or the platform has to start a new container.
    lives_on: bool = True


class Memory(Background):
    """The container's peak: what it uses less the file pages that the kernel can drop, as `docker stats` counts."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._read = _memory_reader(pid)
        self._peak = 0

    @property
    def peak(self) -> int:
        return self._peak

    def _work(self) -> None:
        while not self._over.wait(0.1):
            # It goes with the container.
            with suppress(OSError):
                self._peak = max(self._peak, self._read())


def _memory_reader(pid: int) -> Callable[[], int]:
    groups = Path(f"/proc/{pid}/cgroup").read_text()
    if version_1 := re.search(r"^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$", groups, re.M):
        folder = Path("/sys/fs/cgroup/memory") / version_1[1].lstrip("/")
        used, droppable = folder / "memory.usage_in_bytes", "total_inactive_file"
    else:
        folder = Path("/sys/fs/cgroup") / groups.strip().rpartition("::")[2].lstrip("/")
        used, droppable = folder / "memory.current", "inactive_file"

    def read() -> int:
        found = re.search(rf"^{droppable} (\d+)$", (folder / "memory.stat").read_text(), re.M)
        return int(used.read_text()) - int(found[1] if found else 0)

    return read


def until_ready(server: Server) -> float:
    """Seconds from the container's start to Prefect's first answer."""
    port = server.port(8080)
    wait_until(lambda: ask(port, HEALTH, limit=5).answered, "Prefect to answer", START_LIMIT, pause=0.05)
    return time.monotonic() - server.started_at


@dataclass(frozen=True)
class RotationSeen:
    requests: int
    failed: int
    silence: float
    peak: int
    ended_with: int | None


def watch_rotation(subject: Subject, server: Server) -> RotationSeen:
    until_ready(server)
    with Memory(server.pid) as memory, PrefectLoad(server.port(8080)) as load:
        server.wait_for_output(subject.rotates, timeout=120)
        rotated_at = time.time()
        if not subject.lives_on:
            wait_until(server.exit_codes, "the container to end and to be started anew", 60)

        def answered_again() -> bool:
            answers = [request for request in load.requests if request.answered]
            return bool(answers) and answers[-1].finished > rotated_at + _MARGIN

        wait_until(answered_again, "an answer after the rotation", START_LIMIT, pause=0.2)
        time.sleep(_MARGIN)
    answers = sorted(request.finished for request in load.requests if request.answered)
    silence = max(later - earlier for earlier, later in zip(answers, answers[1:]))
    codes = server.exit_codes()
    return RotationSeen(len(load.requests), len(load.failed), silence, memory.peak, codes[0] if codes else None)


def watch_stop(server: Server) -> tuple[float, str]:
    """`docker stop` under load: seconds, and how it ended. Only the supervisor's log tells of a drain."""
    until_ready(server)
    with PrefectLoad(server.port(8080)):
        time.sleep(2)
        ended = server.stop(timeout=10)
    output = server.output()
    drained = "child: stopped" in output and "killing it" not in output
    return ended.seconds, f"{'drained, ' if drained else ''}code {ended.code}"


def subjects(google: Google, with_script: bool) -> list[Subject]:
    def ours(rotation: str) -> Callable[..., Server]:
        return lambda **options: Server(google, environment={"SUPERVISOR_ROTATION": rotation}, **(CONFINED | options))

    def script(**options: Any) -> Server:
        # Google's library looks for the metadata server by its address first.
        return Server(
            google,
            image=_SCRIPT_IMAGE,
            environment={"GCE_METADATA_IP": "google"},
            restart_policy={"Name": "always"} if "mem_limit" not in options else None,
            **(_LIMITS | options),
        )

    found = [
        Subject("in-place", ours("in-place"), "handed over in place"),
        Subject("restart", ours("restart"), "rotation: draining the child"),
    ]
    if with_script:
        found.append(Subject("the tutorial's script", script, "Sending SIGTERM to Prefect Server", lives_on=False))
    return found


def measure(google: Google, subject: Subject, runs: int) -> dict[str, str]:
    def say(what: str) -> None:
        print(f"bench: {subject.name}: {what} ...", file=sys.stderr, flush=True)

    row: dict[str, str] = {}
    say("start and stop")
    starts, stops, endings = [], [], set()
    for _ in range(runs):
        with subject.start() as server:
            starts.append(until_ready(server))
        with subject.start() as server:
            seconds, ending = watch_stop(server)
            stops.append(seconds)
            endings.add(ending)
    row["start to ready"] = f"{statistics.median(starts):.1f} s"
    say("a rotation under load")
    google.emulator.rotate()
    with subject.start() as server:
        seen = watch_rotation(subject, server)
    row["a rotation under load: requests failed"] = f"{seen.failed} of {seen.requests}"
    row["longest time without an answer"] = f"{seen.silence:.1f} s"
    row["peak memory of the container"] = f"{seen.peak / 2**20:.0f} MiB"
    row["container after the rotation"] = "runs on" if seen.ended_with is None else f"ended with code {seen.ended_with}"
    row["docker stop under load"] = f"{statistics.median(stops):.1f} s, {' or '.join(sorted(endings))}"
    say("out of memory")
    with subject.start(mem_limit=_TOO_LITTLE) as server:
        ended = server.wait(timeout=120)
        killed = "killed by the kernel, " if server.out_of_memory else ""
        row["Prefect out of memory"] = f"{killed}container ends with code {ended.code}"
    return row


_SETTINGS: dict[str, dict[str, str]] = {
    "the image as it is": {},
    "UI files not prepared": {"PREFECT_SERVER_UI_STATIC_DIRECTORY": "/tmp/ui"},
    "analytics on, Prefect's default": {"PREFECT_SERVER_ANALYTICS_ENABLED": "true"},
    "no memo of registered blocks": {"PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false"},
    "blocks not registered at all (not done: new block types would be missing)": {
        "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    },
    "no look at migrations (not done: an upgrade needs it)": {"PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false"},
}


def measure_settings(google: Google, runs: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in _SETTINGS}
    for number in range(runs):
        print(f"bench: start-up settings, round {number + 1} of {runs} ...", file=sys.stderr, flush=True)
        for name, environment in _SETTINGS.items():
            with Server(google, environment=environment, **CONFINED) as server:
                seconds[name].append(until_ready(server))
    return seconds


def build_script_image(client: docker.DockerClient, script: Path) -> None:
    """The tutorial's image with that script, whose refresh interval alone is changed."""
    interval = f"TOKEN_REFRESH_INTERVAL_SECONDS = {_INTERVAL}"
    text, changed = re.subn(r"^TOKEN_REFRESH_INTERVAL_SECONDS = .*$", interval, script.read_text(), flags=re.M)
    if changed != 1:
        raise SystemExit(f"bench: error: {script} has no TOKEN_REFRESH_INTERVAL_SECONDS to shorten")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder, "entrypoint.py").write_text(text)
        Path(folder, "Dockerfile").write_text(_SCRIPT_DOCKERFILE)
        client.images.build(path=folder, tag=_SCRIPT_IMAGE, rm=True)


def print_table(columns: dict[str, dict[str, str]]) -> None:
    rows = list(next(iter(columns.values())))
    print("| | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for row in rows:
        print(f"| {row} | " + " | ".join(values.get(row, _NONE) for values in columns.values()) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench containers", description=__doc__.partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="SCRIPT", help="the tutorial's entrypoint.py, to compare with")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="starts and stops of each (default: %(default)s)")
    parser.add_argument("--no-settings", action="store_true", help="leave the start-up settings out")
    options = parser.parse_args()
    client = docker.from_env(version="auto", timeout=300)
    if options.against is not None:
        build_script_image(client, options.against)
    with Google(client, token_life=f"{_TOKEN_LIFE}s") as google:
        # The tables are made once; no start below pays for it.
        with Server(google, **CONFINED) as server:
            first = until_ready(server)
        columns = {
            subject.name: measure(google, subject, options.runs) for subject in subjects(google, options.against is not None)
        }
        print(f"{platform.machine()}, {platform.release()}, Docker {client.version()['Version']}; first start, with migrations: {first:.1f} s\n")
        print_table(columns)
        if not options.no_settings:
            seconds = measure_settings(google, options.runs)
            base = statistics.median(seconds["the image as it is"])
            print("\n| start to ready | median | difference |\n| --- | --- | --- |")
            for name, values in seconds.items():
                median = statistics.median(values)
                print(f"| {name} | {median:.2f} s | {median - base:+.2f} s |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
