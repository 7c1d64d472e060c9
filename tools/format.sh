#!/bin/bash
# Formats all C++ sources by clang-format. With --check nothing is changed: the exit code says whether all of them are formatted.
set -euo pipefail

cd "$(dirname "$0")/.."
mapfile -t files < <(find supervisor tests packaging -name '*.cpp' -o -name '*.hpp')
if [[ ${1:-} != --check ]]; then
    exec .deps/venv/bin/clang-format -i "${files[@]}"
fi
if ! .deps/venv/bin/clang-format --dry-run --Werror "${files[@]}"; then
    echo "format: some files are not formatted; ./dev format does it" >&2
    exit 1
fi
echo "format: ${#files[@]} files are formatted"
