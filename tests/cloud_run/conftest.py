"""What the tests of deploy/cloud_run share."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from google_cloud import GoogleCloud, Prepare
from prefect_answers import Prefect
from google_emulator.client import GoogleEmulator


@pytest.fixture
def cloud(tmp_path: Path) -> GoogleCloud:
    """An empty project. Jobs are not run."""
    return GoogleCloud(tmp_path)


BEFORE: dict[str, list[str]] = {
    "setup": [],
    "deploy": ["setup"],
    "verify": ["setup", "deploy"],
    "cleanup": ["setup", "deploy"],
}
_prepared: dict[tuple[str, ...], Path] = {}


@pytest.fixture
def prepare(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Makes a project in which a script is the next to run, with these settings. What the scripts before it make is
    made once and copied."""

    def prepare(script: str, **settings: str) -> GoogleCloud:
        key = (*BEFORE[script], *(f"{name}={value}" for name, value in sorted(settings.items())))
        if key not in _prepared:
            _prepared[key] = tmp_path_factory.mktemp("prepared")
            original = GoogleCloud(_prepared[key])
            for earlier in BEFORE[script]:
                original.succeed(earlier, **settings)
            original.forget_commands()
        folder = tmp_path / f"project-{len(list(tmp_path.glob('project-*')))}"
        folder.mkdir()
        cloud = GoogleCloud(folder)
        cloud.environment |= settings
        shutil.copytree(_prepared[key] / "cloud", cloud.home, dirs_exist_ok=True)
        return cloud

    return prepare


@pytest.fixture
def prefect() -> Iterator[Prefect]:
    prefect = Prefect()
    thread = threading.Thread(target=prefect.server.serve_forever, daemon=True)
    thread.start()
    yield prefect
    prefect.server.shutdown()
    prefect.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def database_emulator() -> Iterator[GoogleEmulator]:
    with GoogleEmulator(token_life="1h") as emulator:
        yield emulator
