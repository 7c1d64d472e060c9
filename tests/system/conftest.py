"""What every test of the real program shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from google_emulator.client import GoogleEmulator


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: mostly waits; started first, so that the others run meanwhile")
    config.addinivalue_line("markers", "prefect: runs real Prefect; ./dev test system --prefect VERSION selects these")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, each followed by a short one: xdist hands them out in pairs, and two long ones in a row on one
    worker would be what everything waits for. Run it with --maxschedchunk 1."""
    long = [item for item in items if item.get_closest_marker("long")]
    short = [item for item in items if not item.get_closest_marker("long")]
    # The longest of all starts first.
    long.sort(key=lambda item: "restart" not in item.nodeid)
    pairs = [item for pair in zip(long, short) for item in pair]
    items[:] = pairs + long[len(short) :] + short[len(long) :]


@pytest.fixture
def tokens() -> Iterator[GoogleEmulator]:
    """A metadata server that gives out a new token at every request."""
    with GoogleEmulator(postgres=False, token_life="1h", cache_model="none") as it:
        yield it


@pytest.fixture
def emulator() -> Iterator[GoogleEmulator]:
    """A metadata server with tokens of one hour; no database."""
    with GoogleEmulator(postgres=False, token_life="1h") as it:
        yield it
