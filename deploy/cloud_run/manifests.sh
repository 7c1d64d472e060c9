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

server_variables() {
    if [[ $DB_SSL == verify-ca ]]; then printf -- '- {name: DB_SSL_ROOT_CERT, value: %s}\n' /etc/db-ca/server-ca.pem; fi
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

db_ca_mount() {
    [[ $DB_SSL != verify-ca ]] || printf '%s\n' "volumeMounts:" "- {name: db-ca, mountPath: /etc/db-ca}"
}

db_ca_volume() {
    [[ $DB_SSL != verify-ca ]] ||
        printf '%s\n' "volumes:" "- name: db-ca" "  secret:" "    secretName: $DB_CA_SECRET" \
            "    items:" "    - {key: latest, path: server-ca.pem}"
}
