"""A test that passes in spite of a sanitizer's report would hide it, so the report itself fails the test."""

from __future__ import annotations

import pytest

from supervisor import run

# As AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer of GCC 12 print them.
REPORTS = [
    "==4711==ERROR: AddressSanitizer: heap-use-after-free on address 0x602000000010 at pc 0x000000401136",
    "==4711==ERROR: LeakSanitizer: detected memory leaks",
    "supervisor/child/child.cpp:12:34: runtime error: signed integer overflow: 2147483647 + 1 cannot be represented in type 'int'",
]


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_on_standard_error_fails_the_test(report: str) -> None:
    through = ["sh", "-c", 'echo "$0" >&2; exec "$@"', report]
    with pytest.raises(pytest.fail.Exception) as failed:
        run("--no-token", command=["true"], through=through)
    assert str(failed.value).startswith(report)


def test_another_line_on_standard_error_is_none() -> None:
    run("--no-token", command=["sh", "-c", "echo 'an error at runtime' >&2"])
