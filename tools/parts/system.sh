#!/bin/bash
# The whole program under AddressSanitizer and UndefinedBehaviorSanitizer, the emulator of Google, the documents, and the tools that judge
# the tests.
# What can only be asked of the program that is shipped is left to the part shipped. If PREFECT_VERSION is set, only the tests with
# real Prefect are run, against that version (setup.sh has installed it). With THOROUGH=--all nothing is left out (./dev test --all).
set -euo pipefail

cd "$(dirname "$0")/../.."
source tools/use-sanitized-program.sh
# Most of these tests wait, so there are more of them at a time than processors.
options=(-n 6 --maxschedchunk 1 -q -ra --durations=10 ${THOROUGH:-})
if [[ ${PREFECT_VERSION:-} ]]; then
    exec ".deps/prefect-$PREFECT_VERSION/bin/python" -m pytest tests/system -m "prefect and not only_shipped" "${options[@]}"
fi
exec .deps/venv/bin/python -m pytest tests/system tests/documents tests/mutation tests/tools google_emulator/tests -m "not only_shipped" "${options[@]}"
