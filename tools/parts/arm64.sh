#!/bin/bash
# The program for arm64: it is static and small, and runs in an emulator. With THOROUGH=--all (./dev test --all) its unit tests do so, too;
# they take twice as long as the rest, and a workflow runs them on such a processor.
set -euo pipefail

cd "$(dirname "$0")/../.."
emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static) || { echo "arm64: qemu-aarch64 was not found" >&2; exit 1; }
[[ ${THOROUGH:-} ]] && targets=() || targets=(prefect-supervisor)
tools/build.sh arm64 "${targets[@]}"
tools/check-program.sh arm64 "ARM aarch64"
"$emulator" build/arm64/prefect-supervisor --version
# The child is a program of this machine's own processor, which the kernel executes as it always does.
"$emulator" build/arm64/prefect-supervisor --no-token --health-address off -- true
[[ ! ${THOROUGH:-} ]] || ctest --preset arm64 --parallel "$(nproc)"
