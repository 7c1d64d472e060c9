#!/bin/bash
# The program that is shipped builds, and is static, stripped and small.
set -euo pipefail

cd "$(dirname "$0")/../.."
tools/build.sh release
exec tools/check-program.sh release
