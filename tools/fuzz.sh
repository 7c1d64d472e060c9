#!/bin/bash
# Runs a fuzz target for some time, and without an argument lists them:
#
#   tools/fuzz.sh [TARGET SECONDS]
#
# What is found on the way is kept in build/fuzz/found/TARGET and begins the next run beside the corpus in tests/fuzz. An input that
# ends the target is written to build/fuzz/artifacts.
set -euo pipefail

cd "$(dirname "$0")/.."
if (($# == 0)); then
    for file in tests/fuzz/*.cpp; do
        printf '%-16s %s\n' "$(basename "$file" .cpp)" "$(sed -n '1s|^// ||p' "$file")"
    done
    exit
fi
target=$1 seconds=$2
program=build/fuzz/tests/fuzz/fuzz_$target
found=build/fuzz/found/$target
dictionary=tests/fuzz/dictionaries/$target.dict
artifacts=build/fuzz/artifacts
folders=("$found")
options=(-max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$artifacts/$target-")
[[ ! -e tests/fuzz/corpus/$target ]] || folders+=("tests/fuzz/corpus/$target")
[[ ! -e $dictionary ]] || options+=(-dict="$dictionary")
mkdir -p "$found" "$artifacts"
exec "$program" "${options[@]}" "${folders[@]}"
