"""If a system call is missing or forbidden, the program works, or it logs the reason in one line and leaves nothing behind.

Each call of the table in docs/system-calls.md fails in runs of the real program; what it did is the call's line.
"""

from __future__ import annotations

import pytest

from injection import require, why_no_injection
from system_calls import DOCUMENT, PURPOSES, row, rows_of_document
from google_emulator.client import GoogleEmulator


def test_the_document_has_a_line_for_each_call() -> None:
    assert list(rows_of_document()) == list(PURPOSES)


@pytest.mark.only_shipped("the document says what the static program calls; a sanitizer has calls of its own")
@require(why_no_injection)
@pytest.mark.parametrize("call", PURPOSES)
def test_a_failing_call_does_what_the_document_says(call: str, emulator: GoogleEmulator) -> None:
    line, faults = row(call, emulator)
    assert faults == []
    assert line == rows_of_document()[call], f"system_calls.py --write rewrites {DOCUMENT.name}"
