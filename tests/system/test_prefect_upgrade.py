"""The way back from a newer Prefect, as docker/README.md has it: the newer image undoes its migrations first."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from administrator import as_administrator
from documents import take_block
from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor, run
from google_emulator.client import GoogleEmulator

UNKNOWN = "0123456789ab"


def revision(emulator: GoogleEmulator) -> str:
    ((version,),) = as_administrator(emulator, "SELECT version_num FROM alembic_version")
    return str(version)


def start_once(emulator: GoogleEmulator, folder: Path) -> None:
    with Supervisor(
        *("--rotation", "in-place"), emulator=emulator, environment=prefect_environment(folder)
    ) as supervisor:
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)


def revision_by_the_document() -> str:
    """What the document's program for it prints, without Docker."""
    words = shlex.split(take_block("docker/README.md", "docker run --rm --entrypoint python prefect-server"))
    assert words[-2] == "-c"
    result = subprocess.run([sys.executable, *words[-2:]], capture_output=True, text=True, timeout=START_LIMIT)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def way_back_by_the_document(revision: str) -> tuple[list[str], list[str]]:
    """The supervisor's options, and the command."""
    words = shlex.split(take_block("docker/README.md", "prefect-supervisor --ready-url off").replace("REVISION", revision))
    assert words[0] == "prefect-supervisor"
    return words[1 : words.index("--")], words[words.index("--") + 1 :]


@pytest.mark.thorough("what Prefect's own commands do, which docker/README.md names")
@pytest.mark.prefect
@pytest.mark.long
def test_a_newer_database_is_refused_and_goes_back_by_the_newer_images_command(tmp_path: Path) -> None:
    with GoogleEmulator(token_life="1h") as emulator:
        start_once(emulator, tmp_path)
        newest = revision(emulator)
        assert revision_by_the_document() == newest

        # To an older Prefect the database's revision is one that it does not know.
        as_administrator(emulator, f"UPDATE alembic_version SET version_num = '{UNKNOWN}'")
        refused = run(emulator=emulator, environment=prefect_environment(tmp_path), timeout=START_LIMIT)
        assert refused.process and refused.process.returncode == 3, refused.transcript()
        assert any(f"Can't locate revision identified by '{UNKNOWN}'" in line for line in refused.errors)
        assert revision(emulator) == UNKNOWN
        as_administrator(emulator, f"UPDATE alembic_version SET version_num = '{newest}'")

        # The supervisor logs it in, as it does the server. The image's rotation is in place.
        options, command = way_back_by_the_document("-1")
        back = run(
            *("--rotation", "in-place", *options),
            command=command,
            emulator=emulator,
            environment=prefect_environment(tmp_path),
            timeout=START_LIMIT,
        )
        assert back.process and back.process.returncode == 0, back.transcript()
        assert revision(emulator) not in (newest, UNKNOWN)

        start_once(emulator, tmp_path)
        assert revision(emulator) == newest
