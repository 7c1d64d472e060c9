"""What the tests of docker/cloud-run share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from google_cloud import GoogleCloud  # noqa: E402
from world.client import World  # noqa: E402


@pytest.fixture
def cloud(tmp_path: Path) -> GoogleCloud:
    """An empty project. Jobs are not run."""
    return GoogleCloud(tmp_path)


@pytest.fixture(scope="module")
def database_world() -> Iterator[World]:
    with World(token_life="1h") as world:
        yield world
