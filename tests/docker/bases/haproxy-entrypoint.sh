#!/bin/sh
# Behaves as the real image's: HAProxy runs with a master process, in the foreground.
set -eu
if [ "$1" = haproxy ]; then
    shift
    exec haproxy -W -db "$@"
fi
exec "$@"
