"""The blocks of the documents that need a Docker engine, run as they stand there. tests/documents reads their words without one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest

from compose import REPOSITORY, compose_command
from documents import blocks
from supervisor import wait_until

LIMIT = 900.0
UI = "http://127.0.0.1:4200"
# An image says of which commit it is, so that a build without this argument would compile the program once more, for minutes. The
# bases are those of the tests, which no registry knows by a digest. An argument that a Dockerfile does not have is warned of.
PROGRAM = """#!{python}
import os, subprocess, sys

docker, compose, words = {docker!r}, {compose!r}, sys.argv[1:]
arguments = ["--build-arg", {commit!r}, "--build-arg", "DEBIAN_IMAGE=" + os.environ["DEBIAN_IMAGE"]]
if words[0] == "build":
    os.execv(docker, [docker, "build", *arguments, *words[1:]])
if words[0] != "compose":
    os.execv(docker, [docker, *words])
option, file, command, *rest = words[1:]
if "--build" in rest:
    subprocess.run([*compose, option, file, "build", *arguments], check=True)
    rest.remove("--build")
os.execvp(compose[0], [*compose, option, file, command, *rest])
"""


@pytest.fixture
def environment(engine: docker.DockerClient, tmp_path: Path) -> dict[str, str]:
    """`docker` is the real one; `docker compose` is docker-compose where the newer one is missing, as in ./dev up."""
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True)
    commit = f"COMMIT={head.stdout.strip() or 'unknown'}"
    program = tmp_path / "docker"
    program.write_text(
        PROGRAM.format(python=sys.executable, docker=shutil.which("docker"), compose=compose_command(), commit=commit)
    )
    program.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def block(document: str, start: str) -> str:
    """It is no other test's: tests/documents runs it, too, as far as that goes without an engine."""
    (found,) = (each.text for each in blocks() if each.document == document and each.text.startswith(start))
    return found


def shell(text: str) -> list[str]:
    return ["bash", "-euo", "pipefail", "-c", text]


def run(text: str, environment: dict[str, str]) -> str:
    result = subprocess.run(
        shell(text), cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=LIMIT
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_images_are_built_and_know_the_revision_of_their_database(environment: dict[str, str]) -> None:
    run(block("docker/README.md", "docker build -f docker/server/Dockerfile"), environment)
    printed = run(block("docker/README.md", "docker run --rm --entrypoint python prefect-server"), environment)
    assert re.fullmatch(r"[0-9a-f]{12}", printed.strip().splitlines()[-1])


@pytest.fixture(
    params=[
        pytest.param(("README.md", "docker compose -f docker/compose.yaml up"), id="as-it-is"),
        pytest.param(
            ("docker/README.md", "export PREFECT_SERVER_API_AUTH_STRING="),
            id="with-a-password",
            marks=pytest.mark.thorough("test_password.py has the same system with a password"),
        ),
    ],
)
def system(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The block's text and what runs it, in the foreground as in a terminal; then Ctrl-C."""
    text = block(*request.param)
    output = tmp_path / "output"
    down = block_of_the_end(text)
    with output.open("w") as file:
        running = subprocess.Popen(
            shell(text), cwd=REPOSITORY, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield text, running
        os.killpg(running.pid, signal.SIGINT)
        running.wait(LIMIT)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        subprocess.run(shell(down), cwd=REPOSITORY, env=environment, capture_output=True, timeout=LIMIT)
        print(output.read_text()[-4000:])


def block_of_the_end(text: str) -> str:
    (file,) = re.findall(r"docker compose -f (\S+) up", text)
    return f"docker compose -f {file} down --volumes"


def test_compose_brings_the_tutorials_system_up_at_its_address(system: tuple[str, subprocess.Popen[bytes]]) -> None:
    text, running = system
    password = re.search(r"PREFECT_API_AUTH_STRING=(\S+)", text)
    auth = tuple(password[1].split(":", 1)) if password else None

    def worker_is_online() -> bool:
        assert running.poll() is None, "docker compose has ended"
        try:
            page = httpx.get(UI, timeout=10)
            found = httpx.post(f"{UI}/api/work_pools/cloud-run-pool/workers/filter", json={}, auth=auth, timeout=10)
        except httpx.TransportError:
            return False
        return "<title>Prefect" in page.text and found.is_success and "ONLINE" in found.text

    wait_until(worker_is_online, f"a worker that is online at {UI}", LIMIT, pause=1.0)
    if password:
        assert httpx.post(f"{UI}/api/flows/filter", json={}, timeout=10).status_code == 401
