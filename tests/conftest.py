"""What all tests in Python share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from processes import kill_marked
from supervisor import RUN_MARK


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests that are marked `thorough`, too, and each to its end")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shipped: run a second time with the program that is shipped: ./dev test shipped")
    config.addinivalue_line("markers", "only_shipped(why): run with no other program than the one that is shipped")
    config.addinivalue_line(
        "markers", "thorough(why): run by ./dev test --all alone; a shorter test shows the main case, or it is a fact of Prefect or Google"
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    for name in ("only_shipped", "thorough"):
        for marker in item.iter_markers(name):
            if len(marker.args) != 1 or not marker.args[0]:
                raise pytest.UsageError(f"{item.nodeid}: {name} needs the reason, and nothing else")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    left_out = [item for item in items if item.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("thorough")]


@pytest.fixture
def some_of(request: pytest.FixtureRequest) -> Callable[[Sequence[object]], list[object]]:
    """Of many cases that differ little, the first, the one in the middle and the last. With --all, every one."""
    if request.config.getoption("--all"):
        return list
    return lambda cases: [cases[at] for at in sorted({0, len(cases) // 2, len(cases) - 1}) if cases]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker that crashed could not end what it had started. The controller ends when all are over."""
    if hasattr(session.config, "workerinput"):
        return
    controller = session.config.pluginmanager.getplugin("dsession")
    workers = getattr(controller, "nodemanager", None)
    kill_marked(workers.testrunuid if workers else RUN_MARK)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a test measured is said also when it passed."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties if report.when == "call" else ():
            terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {name}: {value}")
