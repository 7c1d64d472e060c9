"""What the tests of the documents share."""

from __future__ import annotations

from pathlib import Path

import pytest

from workshop import Workshop


def pytest_configure(config: pytest.Config) -> None:
    # tests/system orders the tests by it.
    config.addinivalue_line("markers", "long: mostly waits; started first, so that the others run meanwhile")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)
