# shellcheck shell=bash
# The database's connections with SCALE=ha: how many the processes may open in all, and how many the instance allows.
# Sourced by steps.sh.

# A Prefect process opens up to its pool, its overflow, and two more beside them: one that listens for changed
# automations, and one that removes old data (tests/system/test_prefect_connections.py).
connections_beside_the_pool=2
# Cloud SQL keeps this many of max_connections for its own administrators
# (cloud.google.com/sql/docs/postgres/quotas, "Cloud SQL for PostgreSQL connection limits").
connections_of_cloud_sql=6

# connections_of TIER: max_connections of an instance whose flag of that name is not set, which depends on its memory
# (docs.cloud.google.com/sql/docs/postgres/flags, max_connections). Nothing for a tier whose memory is not known here.
# Exactly at a limit the lower number is taken.
connections_of() {
    local megabytes limit
    case $1 in
        db-f1-micro) echo 25; return ;;
        db-g1-small) echo 50; return ;;
        db-custom-*) if [[ $1 =~ ^db-custom-[0-9]+-([0-9]+)$ ]]; then megabytes=${BASH_REMATCH[1]}; fi ;;
        # 8 GB for each CPU (docs.cloud.google.com/sql/docs/postgres/machine-series-overview).
        db-perf-optimized-N-*)
            if [[ $1 =~ ^db-perf-optimized-N-([0-9]+)$ ]]; then megabytes=$((BASH_REMATCH[1] * 8192)); fi
            ;;
    esac
    [[ -n ${megabytes:-} ]] || return 0
    # Up to so many megabytes: so many connections.
    for limit in 6144:100 7680:200 15360:400 30720:500 61440:600 122880:800; do
        if ((megabytes <= ${limit%:*})); then
            echo "${limit#*:}"
            return
        fi
    done
    echo 1000
}

# connections_in FLAGS: max_connections among an instance's flags (NAME=VALUE,...), or nothing.
connections_in() { if [[ ,$1, =~ ,max_connections=([0-9]+), ]]; then echo "${BASH_REMATCH[1]}"; fi; }

# Sets `connections_of_a_process` and `connections_needed`. They are those of a rollout, in which two revisions run: a
# revision's instances get no fewer while the other one's still run.
count_connections() {
    local pool=$SERVER_ENV_PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE
    local overflow=$SERVER_ENV_PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW
    connections_of_a_process=$((pool + overflow + connections_beside_the_pool))
    connections_needed=$(((2 * API_MAX_INSTANCES + 2 + 1) * connections_of_a_process + connections_of_cloud_sql))
}

# A pool without a limit, or one whose size is no number, cannot be counted.
check_pool() {
    local name
    for name in POOL_SIZE MAX_OVERFLOW; do
        name=SERVER_ENV_PREFECT_SERVER_DATABASE_SQLALCHEMY_$name
        if ! [[ ${!name} =~ ^(0|[1-9][0-9]{0,3})$ ]]; then
            bad "$name is '${!name}'; with SCALE=ha it is a number such as 5, since all connections are counted" \
                "(-1 would be no limit)"
            return 1
        fi
    done
}

# print_connections ALLOWED WHO: on the error output, in a dry run too.
print_connections() {
    local each=$connections_of_a_process
    {
        echo "$program: database connections of $NAME with SCALE=ha, while a new revision takes the place of another:"
        printf '%s:   %-52s %3s x %-3s %5s\n' \
            "$program" "API servers, up to $API_MAX_INSTANCES in each of two revisions" $((2 * API_MAX_INSTANCES)) \
            "$each" $((2 * API_MAX_INSTANCES * each)) \
            "$program" "services process, in each of two revisions" 2 "$each" $((2 * each)) \
            "$program" "migration job" 1 "$each" "$each"
        printf '%s:   %-52s %9s %5s\n' \
            "$program" "kept by Cloud SQL for its administrators" "" "$connections_of_cloud_sql" \
            "$program" "together" "" "$connections_needed" \
            "$program" "allowed by $2" "" "${1:-?}"
    } >&2
}

# why_not ALLOWED WHO: what is wrong with that number, and what to do; nothing if all fit.
why_not() {
    local tier
    if [[ -z $1 ]]; then
        echo "SCALE=ha needs $connections_needed database connections, and how many $2 allows is not known here: say it by" \
            "DB_MAX_CONNECTIONS (of an existing instance: by its flag max_connections)"
    elif (($1 < connections_needed)); then
        for tier in db-g1-small db-custom-1-3840 db-custom-2-7680 db-custom-4-15360 ''; do
            if [[ -n $tier ]] && (($(connections_of "$tier") >= connections_needed)); then break; fi
        done
        echo "SCALE=ha needs $connections_needed database connections, and $2 allows $1: take a larger tier" \
            "${tier:+(such as $tier)}, or fewer API_MAX_INSTANCES, or a smaller pool" \
            "(SERVER_ENV_PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE)" | tr -s ' '
    fi
}

# Of an instance that setup makes: by the settings alone, before the first command.
check_connections_of_the_settings() {
    local allowed who="DB_TIER=$DB_TIER" why
    check_pool || return 0
    count_connections
    [[ $DB_INSTANCE == new ]] || return 0
    allowed=$(connections_of "$DB_TIER")
    if [[ -n $DB_MAX_CONNECTIONS ]]; then allowed=$DB_MAX_CONNECTIONS who="DB_MAX_CONNECTIONS=$DB_MAX_CONNECTIONS"; fi
    why=$(why_not "$allowed" "$who")
    print_connections "$allowed" "$who"
    [[ -z $why ]] || bad "$why"
}

# Of the instance that is there, whose tier and flags may be others than those of the settings.
check_connections_of_the_instance() {
    local allowed who why
    ask_unless_missing INSTANCE_TIER gcloud sql instances describe "$DB_INSTANCE_NAME" --format='value(settings.tier)'
    ask_unless_missing INSTANCE_FLAGS gcloud sql instances describe "$DB_INSTANCE_NAME" \
        --format='value(settings.databaseFlags.map().format("{0}={1}",name,value).list())'
    ! $dry_run || return 0
    # The settings are right then, and setup makes it.
    [[ -n $INSTANCE_TIER ]] || return 0
    allowed=$(connections_in "$INSTANCE_FLAGS")
    who="$DB_INSTANCE_NAME, by its flag max_connections,"
    if [[ -z $allowed ]]; then
        allowed=$(connections_of "$INSTANCE_TIER")
        who="$DB_INSTANCE_NAME, whose tier is $INSTANCE_TIER,"
    fi
    why=$(why_not "$allowed" "$who")
    if [[ $DB_INSTANCE == existing || -n $why ]]; then print_connections "$allowed" "${who%,}"; fi
    [[ -z $why ]] || fail "$why. setup changes no instance that is there: gcloud sql instances patch $DB_INSTANCE_NAME" \
        "--tier=TIER, which restarts it. Nothing was done"
}
