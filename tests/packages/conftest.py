"""What the tests of the packages share."""

from __future__ import annotations

import pytest

from built_packages import Packages, make_packages, output_of, version


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    folder = tmp_path_factory.mktemp("packages")
    make_packages(folder)
    return Packages(folder, version(), output_of("dpkg", "--print-architecture").strip())
