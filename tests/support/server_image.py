"""The server image's entrypoint and roles without a container: its files at the same places under a folder of the test.

    with RoleSupervisor(lay_out(tmp_path), role="api", environment={"PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1"}) as it:
        it.wait_for_health("/readyz")
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor import BINARY, REPOSITORY, Supervisor

DOCKER = REPOSITORY / "docker"


def lay_out(folder: Path) -> Path:
    """As docker/server/Dockerfile has it under /usr/local. A program that a test adds to bin comes before all others."""
    programs, share = folder / "bin", folder / "share/prefect-supervisor"
    programs.mkdir(parents=True)
    share.mkdir(parents=True)
    shutil.copy(DOCKER / "entrypoint.sh", programs / "prefect-entrypoint")
    (programs / "prefect-entrypoint").chmod(0o755)
    (programs / "prefect-supervisor").symlink_to(BINARY)
    for name in ("role.py", "register_blocks.py"):
        shutil.copy(DOCKER / "server" / name, share)
    return folder


class RoleSupervisor(Supervisor):
    """A supervisor that the entrypoint has started. Its arguments are the words after the image's name."""

    def __init__(
        self,
        image: Path,
        *arguments: str,
        role: str | None = None,
        environment: Mapping[str, str | None] | None = None,
        **options: Any,
    ) -> None:
        self._image = image
        # As the image sets it.
        own = {"SUPERVISOR_ROTATION": "in-place", "PREFECT_ROLE": role}
        super().__init__(*arguments, environment=own | dict(environment or {}), **options)

    def command_line(self) -> list[str]:
        return [str(self._image / "bin/prefect-entrypoint"), *super().command_line()[1:]]

    def environment(self) -> dict[str, str]:
        values = super().environment()
        return values | {"PATH": f"{self._image / 'bin'}:{values['PATH']}"}
