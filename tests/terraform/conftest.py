"""What the tests of deploy/terraform share."""

from __future__ import annotations

from pathlib import Path

import pytest

from terraform import Terraform, build_providers


@pytest.fixture(scope="session")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("providers")
    build_providers(folder)
    return folder


@pytest.fixture
def terraform(tmp_path: Path, providers: Path) -> Terraform:
    return Terraform(tmp_path, providers)
