"""What the stand-in for gcloud keeps between its commands: in marshal's form, which Python reads without importing a module. To
import json takes as long as all the rest of a command, and there are some ten thousand of them in the tests."""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def load(path: str | Path) -> dict[str, Any]:
    """Without the file, nothing."""
    if not os.path.exists(path):
        return {}
    with open(path, "rb") as file:
        return dict(marshal.load(file))


def save(path: str | Path, value: dict[str, Any]) -> None:
    with open(path, "wb") as file:
        marshal.dump(value, file)


def append(path: str | Path, record: list[str]) -> None:
    with open(path, "ab") as file:
        marshal.dump(record, file)


def records(path: str | Path) -> list[list[str]]:
    """All that were appended."""
    found: list[list[str]] = []
    if os.path.exists(path):
        with open(path, "rb") as file:
            while True:
                try:
                    found.append(marshal.load(file))
                except EOFError:
                    break
    return found
