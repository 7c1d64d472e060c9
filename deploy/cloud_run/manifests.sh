# shellcheck shell=bash
# The YAML that is given to gcloud; sourced by steps.sh.

# fill_in FILE: the file without its comments, and each ${NAME} replaced by the variable's value. A comment that is
# nothing but the name of a function in ${} stands for the lines that it prints, with its indentation; they may be none.
fill_in() {
    local line filled lines
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ $line =~ ^(\ *)#\ \$\{([a-z_]+)\}$ ]]; then
            lines=$("${BASH_REMATCH[2]}")
            [[ -z $lines ]] || printf '%s\n' "${BASH_REMATCH[1]}${lines//$'\n'/$'\n'"${BASH_REMATCH[1]}"}"
        elif ! [[ $line =~ ^\ *# ]]; then
            with_values "$line"
            printf '%s\n' "$filled"
        fi
    done <"$here/$1"
}

# Sets `filled`. A value is not looked at again, whatever it has in it.
with_values() {
    local rest=$1 name
    filled=
    while [[ $rest =~ \$\{([A-Z_]+)\} ]]; do
        name=${BASH_REMATCH[1]}
        [[ -v $name ]] || fail "\${$name} has no value"
        filled+=${rest%%"\${$name}"*}${!name}
        rest=${rest#*"\${$name}"}
    done
    filled+=$rest
}

# As a text of YAML, whatever characters it has.
yaml_text() { printf "'%s'" "${1//"'"/"''"}"; }

# secret_variable NAME SECRET[:VERSION]. The latest version is the one at an instance's start.
secret_variable() {
    local version=${2#*:}
    [[ $2 == *:* ]] || version=latest
    printf '%s\n' "- name: $1" "  valueFrom:" "    secretKeyRef: {name: ${2%%:*}, key: '$version'}"
}

# extra_variables SERVER or WORKER: those of the settings.
extra_variables() {
    local name
    for name in $(extra_names "$1_ENV_"); do
        printf -- '- {name: %s, value: %s}\n' "${name#"$1_ENV_"}" "$(yaml_text "${!name}")"
    done
    for name in $(extra_names "$1_SECRET_"); do
        secret_variable "${name#"$1_SECRET_"}" "${!name}"
    done
}

# The variables of a role of the server image, with SCALE=ha. The image makes all that Prefect needs of Redis's URL, which
# contains the password: hence it is a secret.
role_variables() {
    printf -- '- {name: PREFECT_ROLE, value: %s}\n' "$1"
}

redis_variables() { secret_variable PREFECT_REDIS_MESSAGING_URL "$REDIS_URL_SECRET"; }

# So that what uses Redis is known before Redis is deleted.
scale_annotation() { ! is_ha || echo 'prefect-supervisor/scale: ha'; }

# What every process of the server image has that is not in its manifest, whatever its role.
database_ca_variable() {
    if [[ $DB_SSL == verify-ca ]]; then printf -- '- {name: DB_SSL_ROOT_CERT, value: %s}\n' /etc/db-ca/server-ca.pem; fi
}

server_variables() {
    if is_ha; then role_variables api; redis_variables; fi
    common_variables
}

services_variables() {
    role_variables services
    redis_variables
    common_variables
}

migrate_variables() {
    role_variables migrate
    database_ca_variable
    extra_variables SERVER
}

# The services process has the password as well: its automations call the API within the process.
common_variables() {
    database_ca_variable
    if has_password; then secret_variable PREFECT_SERVER_API_AUTH_STRING "$AUTH_SECRET"; fi
    extra_variables SERVER
}

worker_variables() {
    if has_password; then secret_variable PREFECT_API_AUTH_STRING "$AUTH_SECRET"; fi
    extra_variables WORKER
}

server_password_of_client() {
    if has_password; then secret_variable PREFECT_API_AUTH_STRING "$AUTH_SECRET"; fi
}

grants_variables() {
    if [[ $DB_SSL == verify-ca ]]; then printf -- '- {name: PGSSLROOTCERT, value: %s}\n' /etc/db-ca/server-ca.pem; fi
}

# The certificates that are mounted: of the database's CA with DB_SSL=verify-ca, of Redis's with SCALE=ha.
db_ca_mount() { mounts_of db-ca; }
db_ca_volume() { volumes_of db-ca; }
server_mounts() { mounts_of db-ca redis-ca; }
server_volumes() { volumes_of db-ca redis-ca; }

# ca_secret NAME: the secret that it is mounted from, or nothing if it is not.
ca_secret() {
    case $1 in
        db-ca) if [[ $DB_SSL == verify-ca ]]; then echo "$DB_CA_SECRET"; fi ;;
        redis-ca) if is_ha; then echo "$REDIS_CA_SECRET"; fi ;;
    esac
}

mounts_of() {
    local each title=volumeMounts:
    for each; do
        [[ -n $(ca_secret "$each") ]] || continue
        printf '%s\n' ${title:+"$title"} "- {name: $each, mountPath: /etc/$each}"
        title=
    done
}

volumes_of() {
    local each secret title=volumes:
    for each; do
        secret=$(ca_secret "$each")
        [[ -n $secret ]] || continue
        printf '%s\n' ${title:+"$title"} "- name: $each" "  secret:" "    secretName: $secret" \
            "    items:" "    - {key: latest, path: server-ca.pem}"
        title=
    done
}
