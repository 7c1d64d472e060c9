#!/bin/bash
# Behaves as the real image's for what is used here: initdb at the first start with POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD or
# POSTGRES_HOST_AUTH_METHOD=trust, the scripts in /docker-entrypoint-initdb.d, then the server as user postgres.
set -euo pipefail
if [[ ${1:-} != postgres ]]; then
    exec "$@"
fi
if ((UID == 0)); then
    install -d -o postgres -g postgres -m 0700 "$PGDATA"
    chown postgres:postgres /var/lib/postgresql "$(dirname "$PGDATA")"
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
if [[ ! -s $PGDATA/PG_VERSION ]]; then
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [[ $method != trust && -z ${POSTGRES_PASSWORD:-} ]]; then
        echo "POSTGRES_PASSWORD is not set, and POSTGRES_HOST_AUTH_METHOD is not trust" >&2
        exit 1
    fi
    initdb --username="$user" --pwfile=<(echo "${POSTGRES_PASSWORD:-unused}") --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    echo "host all all all $method" >>"$PGDATA/pg_hba.conf"
    printf '%s\n' "listen_addresses = '*'" "unix_socket_directories = '/var/run/postgresql'" >>"$PGDATA/postgresql.conf"
    pg_ctl --silent --wait --options="-c listen_addresses=''" start
    [[ $database == postgres ]] || psql -qv ON_ERROR_STOP=1 -U "$user" -d postgres -c "CREATE DATABASE \"$database\""
    for script in /docker-entrypoint-initdb.d/*.sql; do
        [[ -e $script ]] && psql -qv ON_ERROR_STOP=1 -U "$user" -d "$database" -f "$script"
    done
    pg_ctl --silent --mode=fast --wait stop
fi
exec "$@"
