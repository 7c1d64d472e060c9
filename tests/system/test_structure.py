"""The rules of the folders of `supervisor/`, read from the include lines: docs/design.md gives the reasons."""

from __future__ import annotations

import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SUPERVISOR = REPOSITORY / "supervisor"
DOCUMENT = REPOSITORY / "docs/design.md"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)

# A folder may include its own files and those of the folders in the rows below its own, never those beside it.
ROWS = [["wiring"], ["token", "delivery", "database", "child", "health"], ["config", "http"], ["base"]]
MOST_LINES = 350


def sources() -> list[Path]:
    return sorted(path for path in SUPERVISOR.rglob("*") if path.suffix in (".cpp", ".hpp"))


def folder_of(path: Path) -> str:
    """The files directly in `supervisor/` wire the folders together."""
    return path.parent.name if path.parent != SUPERVISOR else "wiring"


def included_by(path: Path) -> list[Path]:
    return [SUPERVISOR / name for name in INCLUDE.findall(path.read_text())]


def row_of(folder: str) -> int:
    (row,) = [number for number, folders in enumerate(ROWS) if folder in folders]
    return row


def arrows() -> Counter[tuple[str, str]]:
    """How many files of one folder include one of another; wiring is counted only as the one that includes."""
    return Counter(
        (folder_of(path), folder_of(included))
        for path in sources()
        for included in included_by(path)
        if folder_of(path) != folder_of(included)
    )


def table() -> str:
    """The table of docs/design.md: a row for each folder that includes, a column for each that is included."""
    folders = [folder for row in ROWS for folder in row]
    found = arrows()
    lines = ["| | " + " | ".join(folders[1:]) + " |", "| --- |" + " --- |" * (len(folders) - 1)]
    for one in folders[:-1]:
        lines.append(f"| {one} | " + " | ".join(str(found[one, other] or "") for other in folders[1:]) + " |")
    return "\n".join(lines)


def test_every_include_of_ours_names_a_file_by_its_path_in_supervisor() -> None:
    missing = [f"{path}: {included}" for path in sources() for included in included_by(path) if not included.exists()]
    assert len(sources()) > 50
    assert missing == []


@pytest.mark.parametrize("folder", [folder for row in ROWS for folder in row])
def test_a_folder_includes_only_folders_below_it(folder: str) -> None:
    others = {other for one, other in arrows() if one == folder}
    assert {other for other in others if row_of(other) <= row_of(folder)} == set()


def test_every_folder_has_a_row() -> None:
    assert {folder_of(path) for path in sources()} == {folder for row in ROWS for folder in row}


def test_no_header_includes_itself_by_way_of_others() -> None:
    headers = {path: included_by(path) for path in sources() if path.suffix == ".hpp"}
    # It raises CycleError with the files of the cycle.
    assert len(list(TopologicalSorter(headers).static_order())) == len(headers)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(SUPERVISOR)))
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_the_table_of_the_document_is_that_of_the_code() -> None:
    assert table() in DOCUMENT.read_text(), f"{DOCUMENT.name} needs this table:\n{table()}"
