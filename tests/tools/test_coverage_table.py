"""The table of ./dev coverage and its verdict, from a count that is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Of the nine lines of two sources, six were executed. A source may be counted more than once.
COUNT = f"""SF:{REPOSITORY}/supervisor/base/clock.cpp
DA:3,1
DA:4,0
DA:7,0
end_of_record
SF:{REPOSITORY}/supervisor/supervisor.cpp
DA:1,5
DA:2,5
DA:3,5
DA:7,0
DA:8,0
DA:9,0
end_of_record
SF:{REPOSITORY}/supervisor/base/clock.cpp
DA:3,0
DA:4,2
DA:7,1
end_of_record
"""


def table(folder: Path, count: str, least: str) -> subprocess.CompletedProcess[str]:
    file = folder / "coverage.lcov"
    file.write_text(count)
    command = [sys.executable, "tools/coverage_table.py", "--least", least, str(file)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_it_shows_for_each_source_what_was_not_executed(tmp_path: Path) -> None:
    shown = table(tmp_path, COUNT, "66")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [line.split() for line in shown.stdout.splitlines()[1:]] == [
        ["base/clock.cpp", "3", "100.0", "%"],
        ["supervisor.cpp", "6", "50.0", "%", "7-9"],
        ["all", "9", "66.7", "%", "3", "lines"],
    ]


def test_it_fails_below_the_limit(tmp_path: Path) -> None:
    shown = table(tmp_path, COUNT, "67")
    assert shown.returncode == 1
    assert shown.stderr == "coverage: error: 66.7 % of the lines were executed, which is less than 67 %\n"


def test_a_count_without_a_line_is_no_success(tmp_path: Path) -> None:
    assert table(tmp_path, "", "0").returncode == 1
