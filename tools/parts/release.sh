#!/bin/bash
# The program that is shipped builds, and is static, stripped and small; its packages, its manual page, the shells' completions
# and what makes a release.
set -euo pipefail

cd "$(dirname "$0")/../.."
tools/build.sh release
tools/check-program.sh release
exec .deps/venv/bin/python -m pytest tests/packages -n 2 -q -ra
