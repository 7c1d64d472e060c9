"""What all tests in Python share."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shipped: run a second time with the program that is shipped: ./dev test shipped")
    config.addinivalue_line("markers", "only_shipped(why): run with no other program than the one that is shipped")


def pytest_itemcollected(item: pytest.Item) -> None:
    for marker in item.iter_markers("only_shipped"):
        if len(marker.args) != 1 or not marker.args[0]:
            raise pytest.UsageError(f"{item.nodeid}: only_shipped needs the reason, and nothing else")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a test measured is said also when it passed."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties if report.when == "call" else ():
            terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {name}: {value}")
