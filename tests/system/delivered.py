"""Which token the supervised child would log in with now, in either rotation mode."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from processes import find_process
from supervisor import Supervisor

both_modes = pytest.mark.parametrize("mode", ["in-place", "restart"])


def delivered_token(supervisor: Supervisor) -> str | None:
    """The text of the token: from the password file of the newest child, or from the URL in its environment. None
    while that child is being replaced."""
    process = find_process(supervisor.child_pid)
    environment = process.environment if process else {}
    if "PGPASSFILE" in environment:
        # The path as the child sees it, which may have another /dev/shm than the test.
        file = Path(f"{process.directory}/root{environment['PGPASSFILE']}")
        return file.read_text().removeprefix("*:*:*:*:").rstrip("\n")
    if url := environment.get("PREFECT_API_DATABASE_CONNECTION_URL"):
        return unquote(urlsplit(url).password or "")
    return None
