#!/bin/bash
# clang-tidy, with clang's static analyzer, on all sources of the program. It reads them twice, because its own checks take most of
# their time for the headers of libraries, which a unity build includes less often, and the analyzer follows the functions of the
# main file only (docs/decisions/0022-unity-builds.md).
set -euo pipefail

cd "$(dirname "$0")/../.."
log=.deps/log/lint.log
# The analyzer, two checks that look at the main file only as well, and one that takes a unity file for a mistake.
of_the_main_file=clang-analyzer-*,misc-unused-alias-decls,misc-unused-using-decls,bugprone-suspicious-include
not_of_unity_files=-clang-analyzer-*,-bugprone-suspicious-include

# Fails unless clang-tidy says CHECK of FILE when it reads SOURCE.
require_finding() {
    local check=$1 file=$2 source=$3 said
    # Not through a pipe: grep would end it at the first match, and clang-tidy would fail by SIGPIPE.
    said=$(clang-tidy --quiet "${@:4}" "$source" -- -std=c++20 2>/dev/null) || true
    [[ $said == *"$file:"*"$check"* ]] && return
    echo "lint: clang-tidy does not find the defect in $file, so its verdict on the program means nothing" >&2
    exit 1
}
require_finding clang-analyzer-core.NullDereference tests/lint/seeded.cpp tests/lint/seeded.cpp
require_finding modernize-use-nullptr tests/lint/supervisor/seeded_source.cpp tests/lint/seeded_unity.cpp --checks="$not_of_unity_files"
echo "lint: clang-tidy finds the defects in tests/lint"

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
    --checks="$not_of_unity_files" <<<"$sources" || code=1
((code)) || echo "lint: clang-tidy found nothing"
exit "$code"
