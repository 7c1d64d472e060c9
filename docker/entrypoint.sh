#!/bin/sh
set -eu

refuse() {
    echo "prefect-entrypoint: PREFECT_SERVER_API_AUTH_STRING $1" >&2
    exit 1
}

# With an empty password Prefect's API answers 401 to everybody, and its websockets ask for nothing.
line_break='
'
case ${PREFECT_SERVER_API_AUTH_STRING-none} in
    '') refuse "is empty; leave it out for a server without a password" ;;
    *"$line_break"*) refuse "has a line break, which nobody can type into the UI; make the secret by printf, not by echo" ;;
esac

# EXTRA_PIP_PACKAGES is the base image's own feature: its entrypoint installs them. That is done once, before any child,
# and not again at a rotation. A stop during the installation ends the container at once, although PID 1 is not the
# supervisor yet.
if [ -n "${EXTRA_PIP_PACKAGES:-}" ]; then
    trap 'exit 143' TERM
    trap 'exit 130' INT
    /opt/prefect/entrypoint.sh true &
    wait "$!"
    trap - TERM INT
fi

# The server's image has roles (PREFECT_ROLE), and the worker's has none. It comes after the installation, which may have
# brought what a role needs.
role=${0%/*}/../share/prefect-supervisor/role.py
if [ -e "$role" ]; then
    exec python "$role" "$@"
fi
exec prefect-supervisor "$@"
