#!/bin/bash
# Every reader of what comes from outside, under libFuzzer for half a minute, two at a time. ./dev fuzz TARGET takes longer.
# With a TARGET, that one alone, which must be built.
set -euo pipefail

cd "$(dirname "$0")/../.."
if (($# == 0)); then
    tools/build.sh fuzz
    tools/fuzz.sh | cut -d ' ' -f 1 | xargs -P 2 -n 1 tools/parts/fuzz.sh
    exit
fi
target=$1 log=build/fuzz/log/$1.log
mkdir -p build/fuzz/log
if ! tools/fuzz.sh "$target" 30 >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "fuzz: $target: FAILED; build/fuzz/tests/fuzz/fuzz_$target FILE repeats it, with the file of the line above"
    exit 1
fi
echo "fuzz: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, and nothing found"
