#!/bin/bash
# Counts which lines of supervisor/ the tests execute, and fails when they are too few: ./dev coverage
#
#   tools/coverage.sh [--report]        --report: no tests, only the table of what was counted last
#
# The build is clang's, whose counters are in a file that is mapped into memory: so a program that is killed, that ends by _exit,
# and a child between fork and exec are counted too, and the program is that of every other build (docs/coverage.md).
set -euo pipefail

cd "$(dirname "$0")/.."
least=90
build=build/coverage
counters=$build/counters
export PREFECT_SUPERVISOR_BINARY=$PWD/$build/prefect-supervisor

if [[ ${1:-} != --report ]]; then
    tools/build.sh coverage
    rm -rf "$counters"
    # A few tests run the program as another user.
    install -d -m a=rwx "$counters"
    umask 0
    ctest --preset coverage --parallel "$(nproc)" --quiet --output-log "$build/unit-tests.log" ||
        { tail -n 40 "$build/unit-tests.log" >&2; exit 1; }
    # Without those that run real Prefect: they execute the same lines, and take most of the time.
    .deps/venv/bin/python -m pytest tests/system -m "not prefect and not only_shipped" -n 6 --maxschedchunk 1 -q
fi

llvm-profdata merge --sparse "$counters"/*.profraw -o "$build/counters.profdata"
llvm-cov export "$PREFECT_SUPERVISOR_BINARY" --instr-profile "$build/counters.profdata" --format lcov supervisor >"$build/coverage.lcov"
exec .deps/venv/bin/python tools/coverage_table.py --least "$least" "$build/coverage.lcov"
