"""Prints, for each source, how many of its lines were executed and which were not, from an LCOV file: see coverage.sh.

    tools/coverage_table.py [--least PERCENT] FILE

The exit code is 1 when fewer than PERCENT of all lines were executed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path


def counts_of(lcov: str) -> dict[Path, dict[int, int]]:
    """For each source its lines with code, and how often each was executed."""
    counts: dict[Path, dict[int, int]] = {}
    lines: dict[int, int] = {}
    for record in lcov.splitlines():
        kind, _, value = record.partition(":")
        if kind == "SF":
            lines = counts.setdefault(Path(value).resolve(), {})
        elif kind == "DA":
            number, count = (int(word) for word in value.split(",")[:2])
            lines[number] = lines.get(number, 0) + count
    return counts


def ranges(numbers: Iterable[int]) -> str:
    """`3, 7-9`: lines that follow one another are one range."""
    found = []
    for _, group in itertools.groupby(enumerate(sorted(numbers)), lambda item: item[1] - item[0]):
        members = [number for _, number in group]
        found.append(f"{members[0]}-{members[-1]}" if len(members) > 1 else str(members[0]))
    return ", ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--least", type=float, default=0.0)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    counts = {path: lines for path, lines in counts_of(options.file.read_text()).items() if lines}
    if not counts:
        print(f"coverage: error: {options.file} has no lines", file=sys.stderr)
        return 1
    root = Path.cwd() / "supervisor"
    print(f"{'file':<36} {'lines':>6} {'executed':>9}   not executed")
    all_lines = all_executed = 0
    for path, lines in sorted(counts.items()):
        missed = [number for number, count in lines.items() if count == 0]
        executed = len(lines) - len(missed)
        all_lines += len(lines)
        all_executed += executed
        name = path.relative_to(root) if path.is_relative_to(root) else path
        print(f"{name!s:<36} {len(lines):>6} {100 * executed / len(lines):>7.1f} %   {ranges(missed)}".rstrip())
    share = 100 * all_executed / all_lines
    print(f"{'all':<36} {all_lines:>6} {share:>7.1f} %   {all_lines - all_executed} lines")
    if share < options.least:
        print(f"coverage: error: {share:.1f} % of the lines were executed, which is less than {options.least:g} %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
