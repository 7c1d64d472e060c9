"""What a real Prefect server of a test's own needs, beside the port that its supervisor gives it."""

from __future__ import annotations

from pathlib import Path

# Imports and the migrations of an empty database, on cores that other tests load as well.
START_LIMIT = 600.0


def prefect_environment(folder: Path) -> dict[str, str]:
    """For a Prefect that keeps its files in `folder`."""
    home = folder / "prefect-home"
    home.mkdir(exist_ok=True)
    return {
        "HOME": str(home),
        "PREFECT_HOME": str(home),
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_COLORS": "false",
    }
