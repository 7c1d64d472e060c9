# shellcheck shell=bash
# SCALE=ha: Redis, by which several API servers and the process of the background services share events, leases and
# work. Sourced by setup, deploy and cleanup.

# Memorystore's prices are by the hour and the GB of capacity, used or not.
redis_price=https://cloud.google.com/memorystore/docs/redis/pricing
redis_is_billed() {
    echo "Redis $REDIS_INSTANCE ($REDIS_TIER, $REDIS_SIZE GB) is billed by the hour, used or not, until it is deleted" \
        "($redis_price)"
}

# ask_redis NAME FLAG...: the variable gets what the flags ask for.
ask_redis() { ask "$1" gcloud redis instances describe "$REDIS_INSTANCE" --region="$REGION" "${@:2}"; }

# Only encrypted, and only for who has the AUTH string. Neither can be added to an instance later but AUTH.
create_redis() {
    local mode=direct-peering
    # A network of another project is reached by that project's private services access
    # (docs.cloud.google.com/memorystore/docs/redis/networking).
    if [[ $NETWORK_PROJECT != "$PROJECT_ID" ]]; then mode=private-service-access; fi
    # noeviction: what is in it are queues and leases, and no cache. Rather than dropping some, a full Redis refuses.
    run gcloud redis instances create "$REDIS_INSTANCE" --region="$REGION" --network="$NETWORK_PATH" \
        --connect-mode="$mode" --tier="$REDIS_TIER" --size="$REDIS_SIZE" --redis-version=redis_7_2 \
        --transit-encryption-mode=server-authentication --enable-auth --redis-config=maxmemory-policy=noeviction
}

setup_redis() {
    say "$(redis_is_billed). With SCALE=ha there are also $API_INSTANCES to $API_MAX_INSTANCES servers instead of one," \
        "and one more process for the background services. docs/google-cloud-ha.md has the sums"
    create_unless_there gcloud redis instances describe "$REDIS_INSTANCE" --region="$REGION" -- create_redis
    require_redis
    ask_redis REDIS_HOST --format='value(host)'
    ask_redis REDIS_PORT --format='value(port)'
    # gcloud writes into its log file what it prints, unless [private] is said.
    ask REDIS_AUTH gcloud redis instances get-auth-string "$REDIS_INSTANCE" --region="$REGION" \
        --format='value[private](authString)'
    make_redis_url
    keep_in_secret "$REDIS_URL_SECRET" REDIS_URL
    # One line for each, of which there are two while one takes the place of the other.
    ask_redis REDIS_CA --flatten='serverCaCerts[]' --format='value(serverCaCerts.cert)'
    keep_in_secret "$REDIS_CA_SECRET" REDIS_CA
    let_read "$SERVER_EMAIL" "$REDIS_URL_SECRET"
    let_read "$SERVER_EMAIL" "$REDIS_CA_SECRET"
}

# What comes after the ? is read by redis-py, which Prefect uses. The certificate has to be one of the instance's own CA,
# which no other instance has; its name is not looked at, since it names the address in a place where names are not looked
# for any more (CN; envoyproxy/ratelimit pull request 409). The default user has no name here: Redis takes the password alone.
make_redis_url() {
    local options="ssl_ca_certs=/etc/redis-ca/server-ca.pem&ssl_check_hostname=false"
    # shellcheck disable=SC2016
    show_line 'REDIS_URL="rediss://:${REDIS_AUTH}@${REDIS_HOST}:${REDIS_PORT}/0?'"$options"'"'
    if $dry_run; then
        REDIS_URL=$(later REDIS_URL)
        return
    fi
    [[ $REDIS_AUTH =~ ^[A-Za-z0-9-]+$ ]] ||
        fail "the AUTH string of Redis $REDIS_INSTANCE has characters that cannot be in a URL; Google's is a UUID"
    # Read by name.
    # shellcheck disable=SC2034
    REDIS_URL="rediss://:$REDIS_AUTH@$REDIS_HOST:$REDIS_PORT/0?$options"
}

# What is there may have been made by somebody else.
require_redis() {
    ask_redis REDIS_STATE --format='value(state)'
    ask_redis REDIS_ENCRYPTION --format='value(transitEncryptionMode)'
    $dry_run && return
    [[ $REDIS_STATE == READY ]] ||
        fail "Redis $REDIS_INSTANCE is $REDIS_STATE, not READY. Wait until it is, then run $program again."
    [[ $REDIS_ENCRYPTION == SERVER_AUTHENTICATION ]] ||
        fail "Redis $REDIS_INSTANCE has no encryption, which can only be switched on when an instance is made. Delete it," \
            "or name another one by REDIS_INSTANCE, and run setup"
}

# From SCALE=ha to SCALE=single. Before the single server comes, which schedules for itself and knows nothing of another
# process that does: until it runs nothing is scheduled, but nothing is done twice either.
leave_ha() {
    step "3.5.1 The processes of SCALE=ha" "May you delete them (roles/run.admin)?"
    delete_ha_processes
}

delete_ha_processes() {
    delete gcloud run worker-pools delete "$SERVICES_POOL" --region="$REGION"
    delete gcloud run jobs delete "$MIGRATE_JOB" --region="$REGION"
}

# What SCALE=single does not use, and what deploy does not delete: the way back to ha is open as long as it is there.
name_what_is_billed() {
    ask_unless_missing LEFT_REDIS gcloud redis instances describe "$REDIS_INSTANCE" --region="$REGION" \
        --format='value(state)'
    [[ -z $LEFT_REDIS ]] || say "WARNING: $(redis_is_billed). No server uses it any more: cleanup --redis deletes it"
}

delete_redis() { delete gcloud redis instances delete "$REDIS_INSTANCE" --region="$REGION"; }

delete_redis_secrets() {
    local secret
    for secret in "$REDIS_URL_SECRET" "$REDIS_CA_SECRET"; do delete gcloud secrets delete "$secret"; done
}

# cleanup --redis: what SCALE=ha has left after a deployment with SCALE=single.
clean_up_redis() {
    ! is_ha || fail "SCALE=ha uses Redis. Set SCALE=single, run deploy, and then this. Nothing was deleted"
    step "1 Who uses it" "May you see the service (roles/run.viewer), and what is switched on?"
    ask_which_apis_are_on
    ask_unless_missing RUNNING_SCALE gcloud run services describe "$SERVER_SERVICE" --region="$REGION" \
        --format="value(metadata.annotations.'prefect-supervisor/scale')"
    $dry_run || [[ $RUNNING_SCALE != ha ]] ||
        fail "the service $SERVER_SERVICE still runs with SCALE=ha and uses Redis: run deploy with SCALE=single first." \
            "Nothing was deleted"
    step "2 Redis and its secrets" "May you delete them (roles/redis.admin, roles/secretmanager.admin)? $(redis_is_billed)."
    delete_ha_processes
    delete_redis
    delete_redis_secrets
    say "nothing is left of SCALE=ha in $NAME, and Redis is billed no more. The other things stay as they are."
}
