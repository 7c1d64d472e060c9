# shellcheck shell=bash
# How Prefect's account gets its rights in the database; sourced by setup.
#
# An administrator of our own does it, who exists for these minutes: the user postgres, and a password that it may have,
# stay as they are. Only the job's secret has the administrator's password. Job, secret and administrator are deleted in
# every case, however the script ends.

grants_are_done=false

run_grants() {
    trap end_grants EXIT
    # Only a set-up that was killed leaves one, and its password is not known any more.
    delete gcloud sql users delete "$GRANTS_USER" --instance="$DB_INSTANCE_NAME"
    random_password GRANTS_PASSWORD
    # gcloud reads the flag from its standard input, which keeps it out of the process list; and it writes its flags to
    # a log file in the home directory unless told otherwise.
    run_with_secret '{"--password": "%s"}' GRANTS_PASSWORD env CLOUDSDK_CORE_DISABLE_FILE_LOGGING=true \
        CLOUDSDK_CORE_LOG_HTTP=false CLOUDSDK_CORE_VERBOSITY=warning \
        gcloud sql users create "$GRANTS_USER" --instance="$DB_INSTANCE_NAME" --type=BUILT_IN \
        --database-roles=cloudsqlsuperuser --flags-file=-
    make_secret "$GRANTS_SECRET"
    run_with_secret %s GRANTS_PASSWORD gcloud secrets versions add "$GRANTS_SECRET" --data-file=-
    let_read "$GRANTS_EMAIL" "$GRANTS_SECRET"
    run_with_yaml grants-job.yaml gcloud run jobs replace - --region="$REGION"
    run gcloud run jobs execute "$GRANTS_JOB" --region="$REGION" --wait
    grants_are_done=true
}

# Each of them runs in a shell of its own, since a failure of one must not prevent the attempts of the others. A
# signal leads here too, with the code of the last command that ended well.
end_grants() {
    local code=$?
    trap - EXIT
    $grants_are_done || ((code != 0)) || code=1
    step "2.8 Grants: removing what was for the moment" \
        "The job $GRANTS_JOB, its secret $GRANTS_SECRET or the database user $GRANTS_USER may be left."
    (delete gcloud run jobs delete "$GRANTS_JOB" --region="$REGION") || code=1
    (delete gcloud secrets delete "$GRANTS_SECRET") || code=1
    (delete gcloud sql users delete "$GRANTS_USER" --instance="$DB_INSTANCE_NAME") || code=1
    ((code != 0)) || say "done; deploy is next"
    exit "$code"
}
