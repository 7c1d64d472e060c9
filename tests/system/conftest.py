"""What every test of the real program shares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from processes import kill_marked  # noqa: E402
from supervisor import RUN_MARK  # noqa: E402
from world.client import World  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: mostly waits; started first, so that the others run meanwhile")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker that crashed could not end what it had started. The controller ends when all are over."""
    if hasattr(session.config, "workerinput"):
        return
    controller = session.config.pluginmanager.getplugin("dsession")
    workers = getattr(controller, "nodemanager", None)
    kill_marked(workers.testrunuid if workers else RUN_MARK)


@pytest.fixture
def world() -> Iterator[World]:
    """A metadata server with tokens of one hour; no database."""
    with World(postgres=False, token_life="1h") as it:
        yield it
