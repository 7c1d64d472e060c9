"""What all tests in Python share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Where the package `world` is.
sys.path.insert(0, str(Path(__file__).resolve().parent))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a test measured is said also when it passed."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties if report.when == "call" else ():
            terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {name}: {value}")
