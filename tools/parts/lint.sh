#!/bin/bash
# clang-tidy, with clang's static analyzer, on all sources of the program. It reads them twice, because its own checks take most of
# their time for the headers of libraries, which a unity build includes less often, and the analyzer follows the functions of the
# main file only (docs/decisions/0022-unity-builds.md).
set -euo pipefail

cd "$(dirname "$0")/../.."
log=.deps/log/lint.log
# These look at the main file only, as the analyzer does.
of_the_main_file=clang-analyzer-*,misc-unused-alias-decls,misc-unused-using-decls

# Not through a pipe: grep would end it at the first match, and clang-tidy would fail by SIGPIPE.
seeded=$(clang-tidy --quiet tests/lint/seeded.cpp -- -std=c++20 2>/dev/null) || true
if [[ $seeded == *clang-analyzer-core.NullDereference* ]]; then
    echo "lint: the analyzer finds the defect in tests/lint/seeded.cpp"
else
    echo "lint: clang-tidy does not find the defect in tests/lint/seeded.cpp, so its verdict on the program means nothing" >&2
    exit 1
fi

# Of each file in standard input. On standard error clang-tidy only counts the warnings that it does not show.
tidy() { xargs -P "$(nproc)" -n 1 clang-tidy --quiet "$@" 2>>"$log"; }

tools/build.sh asan --configure
tools/build.sh clang --configure
# The unity files, and what is compiled by itself.
sources=$(sed -n 's|^  "file": "\(.*\)",*$|\1|p' build/asan/compile_commands.json | grep -E "/supervisor_core.dir/Unity/|^$PWD/(supervisor|packaging)/")
code=0
: >"$log"
find supervisor packaging -name '*.cpp' | tidy -p build/clang --checks="-*,$of_the_main_file" || code=1
tidy -p build/asan --extra-arg=-Wno-unknown-warning-option \
    --checks="-clang-analyzer-*,-bugprone-suspicious-include" <<<"$sources" || code=1
((code)) || echo "lint: clang-tidy found nothing"
exit "$code"
