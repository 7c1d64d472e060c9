"""What the tests of deploy/cloud_run share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from google_cloud import GoogleCloud
from google_emulator.client import GoogleEmulator


@pytest.fixture
def cloud(tmp_path: Path) -> GoogleCloud:
    """An empty project. Jobs are not run."""
    return GoogleCloud(tmp_path)


@pytest.fixture(scope="module")
def database_emulator() -> Iterator[GoogleEmulator]:
    with GoogleEmulator(token_life="1h") as emulator:
        yield emulator
