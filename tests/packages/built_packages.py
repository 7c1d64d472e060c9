"""The packages that tools/package.sh makes of the build whose program is tested."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor import BINARY, REPOSITORY

# A moment that no clock of this machine shows.
EPOCH = 1_700_000_000


def output_of(*command: object, **options: Any) -> str:
    return str(subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, **options).stdout)


def version() -> str:
    found = re.search(r"^project\(prefect-supervisor VERSION (\S+) ", (REPOSITORY / "CMakeLists.txt").read_text(), re.M)
    assert found
    return found[1]


def make_packages(folder: Path, **environment: str) -> None:
    settings = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)} | environment
    subprocess.run([REPOSITORY / "tools/package.sh", BINARY.parent, folder], check=True, env=settings)


@dataclass(frozen=True)
class Packages:
    folder: Path
    version: str
    architecture: str

    @property
    def deb(self) -> Path:
        return self.folder / f"prefect-supervisor_{self.version}_{self.architecture}.deb"

    @property
    def name(self) -> str:
        return f"prefect-supervisor-{self.version}-linux-{self.architecture}"

    @property
    def tarball(self) -> Path:
        return self.folder / f"{self.name}.tar.gz"
