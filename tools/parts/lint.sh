#!/bin/bash
# clang-tidy, with clang's static analyzer, on all sources of the program.
set -euo pipefail

cd "$(dirname "$0")/../.."
# Not through a pipe: grep would end it at the first match, and clang-tidy would fail by SIGPIPE.
seeded=$(clang-tidy --quiet tests/lint/seeded.cpp -- -std=c++20 2>/dev/null) || true
if [[ $seeded == *clang-analyzer-core.NullDereference* ]]; then
    echo "lint: the analyzer finds the defect in tests/lint/seeded.cpp"
else
    echo "lint: clang-tidy does not find the defect in tests/lint/seeded.cpp, so its verdict on the program means nothing" >&2
    exit 1
fi
tools/build.sh asan
# On standard error clang-tidy only counts the warnings that it does not show.
find supervisor packaging -name '*.cpp' -print0 | xargs -0 -P "$(nproc)" -n 1 clang-tidy -p build/asan --quiet 2>.deps/log/lint.log
echo "lint: clang-tidy found nothing"
