#!/bin/sh
# EXTRA_PIP_PACKAGES is the base image's own feature: its entrypoint installs them. That is done once, before any child,
# and not again at a rotation. A stop during the installation ends the container at once, although PID 1 is not the
# supervisor yet.
set -eu

if [ -n "${EXTRA_PIP_PACKAGES:-}" ]; then
    trap 'exit 143' TERM
    trap 'exit 130' INT
    /opt/prefect/entrypoint.sh true &
    wait "$!"
    trap - TERM INT
fi
exec prefect-supervisor "$@"
