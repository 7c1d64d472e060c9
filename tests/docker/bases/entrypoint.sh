#!/bin/bash
# Behaves as the real image's: EXTRA_PIP_PACKAGES is installed first, and a failure of that ends the container with its code.
set -e
[[ -r ~/.bashrc ]] && . ~/.bashrc
if [[ -n ${EXTRA_PIP_PACKAGES:-} ]]; then
    # shellcheck disable=SC2086
    uv pip install --system $EXTRA_PIP_PACKAGES >/tmp/extra-pip-packages.log 2>&1 || {
        code=$?
        cat /tmp/extra-pip-packages.log
        exit "$code"
    }
fi
if (($# == 0)); then
    exec bash --login
fi
exec "$@"
