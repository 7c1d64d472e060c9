"""What the tests of the images share. tests/docker/with-engine runs them, on the images of tests/docker/build-images."""

from __future__ import annotations

import os
from collections.abc import Iterator

import docker
import pytest

from containers import Google


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = os.environ.get("DOCKER_MISSING")
    if missing is None and not os.environ.get("OWN_ENGINE"):
        missing = "no Docker engine of its own: ./dev test docker starts one"
    if missing:
        for item in items:
            if "engine" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env(version="auto", timeout=120)
    yield client
    client.close()


@pytest.fixture(scope="module")
def google(engine: docker.DockerClient) -> Iterator[Google]:
    """A network with PostgreSQL 18 and the stand-in for Google, whose next token is made by the test."""
    with Google(engine, token_life="1h") as it:
        yield it
