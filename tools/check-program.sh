#!/bin/bash
# Checks that the program that a preset built is fit to be shipped: static, stripped, small, and for PROCESSOR if one is named.
#
#   tools/check-program.sh PRESET [PROCESSOR]        PROCESSOR: a part of what file(1) says, such as "ARM aarch64"
set -euo pipefail

cd "$(dirname "$0")/.."
program=build/$1/prefect-supervisor
processor=${2:-}
largest=3145728

kind=$(file --brief "$program")
size=$(stat -c %s "$program")
if [[ $kind != *"$processor"*"statically linked"* || $kind != *", stripped"* ]]; then
    echo "check-program: $program is not static, stripped${processor:+ and for $processor}, but: $kind" >&2
    exit 1
fi
if ((size > largest)); then
    echo "check-program: $program has $size bytes, more than $largest" >&2
    exit 1
fi
echo "$program: static, stripped, $size bytes"
