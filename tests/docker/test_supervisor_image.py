"""The image prefect-supervisor, which has the program alone, and the README's migration by it; the labels of all images."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import docker
import pytest

from containers import Container, free_name

REPOSITORY = Path(__file__).resolve().parents[2]
LIST = REPOSITORY / "docker/base-images"
IMAGES = ("prefect-supervisor", "prefect-server", "prefect-worker")
LABEL = "org.opencontainers.image."


def text_of(image: str) -> str:
    return (REPOSITORY / "docker" / image.removeprefix("prefect-") / "Dockerfile").read_text()


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.M | re.S)
    assert match, pattern
    return match[1]


def version() -> str:
    return found(r"^project\(prefect-supervisor VERSION (\S+)", (REPOSITORY / "CMakeLists.txt").read_text())


def prefect_image() -> str:
    return found(r"^PREFECT_IMAGE=([^@\s]+)", LIST.read_text())


def three_lines(document: str) -> list[str]:
    """What the document's migration adds to the tutorial's Dockerfile."""
    difference = found(r"```diff\n(.*?)\n```", (REPOSITORY / document).read_text())
    return re.findall(r"^\+(.*)$", difference, re.M)


def test_all_dockerfiles_build_the_program_by_the_same_lines() -> None:
    stages = {found(r"^(FROM \$\{DEBIAN_IMAGE\} AS build\n.*?)\n\n", text_of(image)) for image in IMAGES}
    assert len(stages) == 1
    # What .dockerignore keeps back can't be copied.
    admitted = (REPOSITORY / ".dockerignore").read_text()
    for folder in re.findall(r"^COPY (\w+)/ ", stages.pop(), re.M):
        assert f"!{folder}\n" in admitted


@pytest.mark.parametrize("image", IMAGES)
def test_the_dockerfile_names_the_version_of_the_program(image: str) -> None:
    assert re.findall(r"^ARG VERSION=(.*)$", text_of(image), re.M) == [version()]


def test_the_migration_is_three_lines_and_the_same_in_both_documents() -> None:
    lines = three_lines("README.md")
    assert len(lines) == 3 and lines[0].startswith("COPY --from=prefect-supervisor ")
    assert three_lines("docs/migrating.md") == lines


@pytest.mark.parametrize("image", IMAGES)
def test_the_labels_say_what_the_image_is_and_what_it_was_made_of(engine: docker.DockerClient, image: str) -> None:
    labels = engine.images.get(image).labels
    commit = subprocess.check_output(["git", "-C", REPOSITORY, "rev-parse", "--short=12", "HEAD"], text=True).strip()
    assert labels[f"{LABEL}version"] == version() and labels[f"{LABEL}revision"] == commit
    assert labels[f"{LABEL}title"] and labels[f"{LABEL}description"]
    assert labels.get(f"{LABEL}base.name") == (None if image == "prefect-supervisor" else prefect_image())


def test_the_image_has_the_program_and_the_notices_and_nothing_else(engine: docker.DockerClient) -> None:
    container = engine.containers.create("prefect-supervisor")
    try:
        parts: Any = container.export()
        content = io.BytesIO(b"".join(parts))
    finally:
        container.remove()
    with tarfile.open(fileobj=content) as tar:
        # The engine adds empty files for what it mounts.
        files = {one.name: one.mode & 0o777 for one in tar if one.isfile() and one.size}
    documents = "usr/share/doc/prefect-supervisor"
    assert files == {
        "usr/local/bin/prefect-supervisor": 0o755,
        f"{documents}/LICENSE": 0o644,
        f"{documents}/THIRD_PARTY_NOTICES": 0o644,
        f"{documents}/prefect-supervisor.spdx.json": 0o644,
    }


def test_the_image_runs_by_itself(engine: docker.DockerClient) -> None:
    with Container(engine, "prefect-supervisor", ["--version"], network_mode="none") as container:
        assert container.wait().code == 0
        assert container.output().startswith(f"prefect-supervisor {version()} (commit ")


def test_an_image_made_by_the_three_lines_runs_the_program_as_pid_1(engine: docker.DockerClient) -> None:
    name = free_name()
    dockerfile = "\n".join([f"FROM {prefect_image()}", *three_lines("README.md"), ""])
    engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=name, rm=True)
    try:
        with Container(engine, name) as container:
            assert container.wait().code == 1
            (line,) = container.output().splitlines()
            assert all(variable in line for variable in ("DB_USER", "DB_IP", "DB_NAME"))
        with Container(engine, name, ["--no-token", "--health-address", "off", "--", "sleep", "60"]) as container:
            container.wait_for_log("child: started")
            assert container.processes()[0].startswith("prefect-supervisor --no-token")
    finally:
        engine.images.remove(name, force=True)
