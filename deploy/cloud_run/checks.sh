# shellcheck shell=bash
# What is allowed as a setting's value, and which values go together; sourced by steps.sh. Nothing is created before all
# of this is right. The first functions look at `name` and `value` of the function `setting`.
# shellcheck disable=SC2154

matches() { [[ $value =~ $1 ]] || bad "$name is '$value'; $2"; }

one_of() {
    local allowed=$*
    [[ " $allowed " == *" $value "* ]] || bad "$name is '$value'; it is one of: ${allowed// /, }"
}

# is_name LONGEST [SHORTEST]: what nearly all of Google's services take as a name.
is_name() {
    local longest=$1 shortest=${2:-1}
    [[ $value =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] && ((${#value} >= shortest && ${#value} <= longest)) ||
        bad "$name is '$value'; a name here has $shortest to $longest lower-case letters, digits and hyphens, first a" \
            "letter"
}

is_project() { [[ -z $value ]] || is_name 30 6; }

is_secret() { matches '^[A-Za-z0-9_-]{1,255}$' "a secret's name has letters, digits, hyphens and underscores"; }

is_secret_version() {
    matches '^[A-Za-z0-9_-]{1,255}(:(latest|[1-9][0-9]*))?$' "a secret is given as SECRET or SECRET:VERSION"
}

is_number() { matches '^(0|[1-9][0-9]{0,5})$' "a number such as 10 is needed"; }

# Everything but what would end the line of YAML that it becomes a part of.
is_text() { [[ ! $value =~ [[:cntrl:]] ]] || bad "$name has a control character in its value"; }

is_memory() {
    if ! [[ $value =~ ^([1-9][0-9]{0,4})(Mi|Gi)$ ]]; then
        bad "$name is '$value'; an amount of memory is such as 512Mi or 2Gi"
    elif [[ ${BASH_REMATCH[2]} == Mi ]] && ((BASH_REMATCH[1] < 512)); then
        bad "$name is '$value'; the second generation of Cloud Run's environment needs 512Mi or more"
    fi
}

is_access() {
    if [[ $value == private ]]; then
        bad "ACCESS is 'private', which is no more: the worker could not reach such a server. ACCESS=internal lets only" \
            "your network in, IAP=yes only people whom you name, and ACCESS=password, the default, who has the password"
    else
        one_of password public internal
    fi
}

# An address as a number; fails for what is none.
as_number() {
    local part
    local number=0
    [[ $1 =~ ^([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})$ ]] || return 1
    for part in "${BASH_REMATCH[@]:1}"; do
        ((10#$part < 256)) || return 1
        number=$((number * 256 + 10#$part))
    done
    echo "$number"
}

is_address() { as_number "$value" >/dev/null || bad "$name is '$value'; an address is such as 10.0.0.5"; }

# Direct VPC egress needs a subnet of /26 or larger.
is_range() {
    local first bits=${value#*/}
    if ! first=$(as_number "${value%/*}") || ! [[ $value == */* && $bits =~ ^[0-9]{1,2}$ ]] ||
        ((10#$bits < 8 || 10#$bits > 26)); then
        bad "$name is '$value'; a range is such as 10.0.0.0/24, with 8 to 26 after the slash"
    elif ((first % (1 << (32 - 10#$bits)) != 0)); then
        bad "$name is '$value', which does not begin at a multiple of its size"
    fi
}

# Google keeps the first two and the last two addresses of a subnet for itself. A wrong range is reported already.
is_free_in_range() {
    local address=$1 first size bits=${2#*/}
    address=$(as_number "$address") && first=$(as_number "${2%/*}") || return 0
    size=$((1 << (32 - 10#$bits)))
    ((first % size == 0)) || return 0
    ((address >= first + 2 && address <= first + size - 3))
}

check_combinations() {
    local name
    if [[ $NETWORK == existing ]]; then
        for name in PSC_NETWORK_NAME SUBNET DB_IP; do
            [[ -v is_given[$name] ]] || bad "NETWORK=existing needs $name, since its default is only right for a new network"
        done
    else
        is_free_in_range "$DB_IP" "$SUBNET_RANGE" ||
            bad "DB_IP is '$DB_IP', which is no free address of SUBNET_RANGE ($SUBNET_RANGE): Google keeps the first two" \
                "and the last two"
        [[ ${NETWORK_PROJECT:-$PROJECT_ID} == "$PROJECT_ID" ]] ||
            bad "NETWORK_PROJECT is '$NETWORK_PROJECT': a network of another project (Shared VPC) needs NETWORK=existing"
    fi
    if [[ $DB_INSTANCE == existing ]]; then
        for name in DB_INSTANCE_NAME DB_NAME; do
            [[ -v is_given[$name] ]] || bad "DB_INSTANCE=existing needs $name, so that no database is shared by accident"
        done
    fi
    if [[ $DB_EDITION == ENTERPRISE_PLUS && $DB_TIER =~ ^db-(f1-micro|g1-small|custom-.*)$ ]]; then
        bad "DB_TIER is '$DB_TIER', which ENTERPRISE_PLUS does not have; it is such as db-perf-optimized-N-2"
    elif [[ $DB_EDITION == ENTERPRISE && $DB_TIER == db-perf-optimized-* ]]; then
        bad "DB_TIER is '$DB_TIER', which needs DB_EDITION=ENTERPRISE_PLUS"
    fi
    for name in DB_HIGH_AVAILABILITY DB_POINT_IN_TIME_RECOVERY; do
        [[ ${!name} == no || $DB_BACKUPS == yes ]] || bad "$name=yes needs DB_BACKUPS=yes"
    done
    if [[ $IAP == yes ]]; then
        [[ $ACCESS == public ]] ||
            bad "IAP=yes needs ACCESS=public, not $ACCESS: IAP reads the header that has Prefect's password in it, and" \
                "ACCESS=internal keeps out the users on the internet whom IAP is for. IAP then is the login"
        [[ $WORKER_COUNT == 0 ]] ||
            bad "IAP=yes needs WORKER_COUNT=0: a worker sends no token of IAP, so it would not reach the server"
    fi
    for name in SERVER WORKER; do check_variables "$name"; done
    if is_ha; then
        check_ha
    else
        for name in API_INSTANCES API_MAX_INSTANCES REDIS_TIER REDIS_SIZE DB_MAX_CONNECTIONS; do
            [[ ! -v is_given[$name] ]] || bad "$name needs SCALE=ha"
        done
    fi
}

check_ha() {
    # What is compared and counted are numbers.
    ((${#wrong[@]} == 0)) || return 0
    if ((API_INSTANCES < 2)); then
        bad "API_INSTANCES is '$API_INSTANCES': with SCALE=ha there are two or more; SCALE=single has one"
    elif ((API_MAX_INSTANCES < API_INSTANCES)); then
        bad "API_MAX_INSTANCES is '$API_MAX_INSTANCES', which is less than API_INSTANCES ($API_INSTANCES)"
    fi
    if ((${#wrong[@]} == 0)) && [[ $program == setup || $program == deploy ]]; then
        check_connections_of_the_settings
    fi
}

# check_variables SERVER or WORKER: a variable has one value.
check_variables() {
    local name
    for name in $(extra_names "$1_ENV_"); do
        [[ -z $(extra_names "$1_SECRET_${name#"$1_ENV_"}" | grep -x "$1_SECRET_${name#"$1_ENV_"}") ]] ||
            bad "$name and $1_SECRET_${name#"$1_ENV_"} are the same variable"
    done
}

# is_of_the_manifest VARIABLE PREFIX: the manifests name the variables that are theirs.
is_of_the_manifest() {
    local manifest=service.yaml
    if [[ $2 == WORKER_* ]]; then manifest=worker-pool.yaml; fi
    if is_ha && [[ $2 == SERVER_* && $1 =~ ^(PREFECT_ROLE|PREFECT_SERVER_DOCKET_URL|PREFECT_REDIS_MESSAGING_.*)$ ]]; then return; fi
    [[ $1 =~ ^(PORT|K_SERVICE|K_REVISION|K_CONFIGURATION|DB_SSL_ROOT_CERT|.*_API_AUTH_STRING)$ ]] ||
        grep -q "name: $1, value:" "$here/$manifest"
}

report_wrong_settings() {
    ((${#wrong[@]} > 0)) || return 0
    local each
    for each in "${wrong[@]}"; do echo "$program: error: $each" >&2; done
    exit 2
}
