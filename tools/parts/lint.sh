#!/bin/bash
# clang-tidy on all sources of the program.
set -euo pipefail

cd "$(dirname "$0")/../.."
tools/build.sh asan
# On standard error clang-tidy only counts the warnings that it does not show.
find supervisor -name '*.cpp' -print0 | xargs -0 -P "$(nproc)" -n 1 clang-tidy -p build/asan --quiet 2>.deps/log/lint.log
echo "lint: clang-tidy found nothing"
