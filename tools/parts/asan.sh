#!/bin/bash
# The whole program under AddressSanitizer and UndefinedBehaviorSanitizer; the part unit runs its parts that way.
set -euo pipefail

cd "$(dirname "$0")/../.."
tools/build.sh asan
# The leak check needs to trace the program, which the program forbids.
export ASAN_OPTIONS=detect_leaks=0 PREFECT_SUPERVISOR_BINARY=$PWD/build/asan/prefect-supervisor
exec .deps/venv/bin/python -m pytest tests/system/test_{health,log,signals,orphans,check}.py -n 3 --maxschedchunk 1 -q -ra
