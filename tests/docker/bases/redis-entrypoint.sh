#!/bin/sh
# Behaves as the real image's for what is used here: the server runs as user redis, which owns the data, and without the
# protected mode, which would refuse clients from other containers.
set -eu
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    chown -R redis:redis .
    exec setpriv --reuid redis --regid redis --init-groups -- "$0" "$@"
fi
if [ "$1" = redis-server ]; then
    exec "$@" --protected-mode no
fi
exec "$@"
