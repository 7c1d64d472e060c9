#!/bin/bash
# Builds the project's images in the engine that tests/docker/with-engine started, and measures them:
#
#   tools/bench-containers.sh PROGRAM [OPTION...]        programs: containers, scale, polling (tests/bench/PROGRAM.py)
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
program=$1
shift
[[ ! ${DOCKER_MISSING:-} ]] || { echo "bench: error: $DOCKER_MISSING" >&2; exit 1; }
"$root/tests/docker/build-images" >&2
exec "$root/.deps/venv/bin/python" "$root/tests/bench/$program.py" "$@"
