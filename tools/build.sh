#!/bin/bash
# Configures and builds a preset of CMakePresets.json, or some targets of it, or with --configure builds nothing:
#
#   tools/build.sh PRESET [--configure | TARGET...]
#
# Two of these may be started for one preset at the same time: the second waits for the first.
# CMake's output, with all its checks, goes to .deps/log; on a terminal ninja shows its progress, elsewhere only its errors.
set -euo pipefail

cd "$(dirname "$0")/.."
preset=$1
shift
log=.deps/log/configure-$preset.log
mkdir -p "$(dirname "$log")" build
exec {lock}>"build/$preset.lock"
flock "$lock"

ninja_file=build/$preset/build.ninja
if [[ ! -e $ninja_file ]] || [[ $(find CMakeLists.txt CMakePresets.json cmake packaging/CMakeLists.txt tests/{unit,fuzz}/CMakeLists.txt -newer "$ninja_file") ]]; then
    echo "build: configuring $preset (output: $log)"
    cmake --preset "$preset" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        echo "build: error: CMake failed to configure $preset; its whole output is in $log" >&2
        exit 1
    }
fi
[[ ${1:-} != --configure ]] || exit 0
note=''
case $preset in release | arm64) note=" (the linker's warning of getaddrinfo is expected: docs/decisions/0004-static-glibc.md)" ;; esac
echo "build: compiling $preset$note"
[[ -t 1 ]] && quiet=() || quiet=(--quiet)
exec cmake --build --preset "$preset" ${1:+--target "$@"} -- "${quiet[@]}"
