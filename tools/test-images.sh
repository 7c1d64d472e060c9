#!/bin/bash
# Builds the project's images in the engine that tests/docker/with-engine started, and tests them. Without an engine only the tests
# that need none are run, and what they say is no verdict on the images: the exit code is then 77 (see run-tests.sh).
set -euo pipefail

cd "$(dirname "$0")/.."
pytest=(.deps/venv/bin/python -m pytest tests/docker -n 2 --dist loadfile -q -ra --durations=10 ${THOROUGH:-})

if [[ ! ${DOCKER_MISSING:-} ]]; then
    tests/docker/build-images
    exec "${pytest[@]}"
fi
"${pytest[@]}"
echo "$DOCKER_MISSING" >"${SKIP_REASON:-/dev/stderr}"
exit 77
