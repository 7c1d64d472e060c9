#!/bin/bash
# The whole program, the emulator of Google, and the scripts for Google Cloud. If PREFECT_VERSION is set, only the tests with
# real Prefect are run, against that version (setup.sh has installed it).
set -euo pipefail

cd "$(dirname "$0")/../.."
tools/build.sh release
# Most of these tests wait, so there are more of them at a time than processors.
options=(-n 6 --maxschedchunk 1 -q -ra --durations=10)
if [[ ${PREFECT_VERSION:-} ]]; then
    exec ".deps/prefect-$PREFECT_VERSION/bin/python" -m pytest tests/system -m prefect "${options[@]}"
fi
exec .deps/venv/bin/python -m pytest tests/system tests/cloud_run tests/terraform google_emulator/tests "${options[@]}"
