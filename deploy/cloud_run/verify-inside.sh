# shellcheck shell=bash disable=SC2154
# The verification of a server that only the network reaches (ACCESS=internal); sourced by verify. From outside it can
# only be seen that the server does not answer; the rest is done by a job in the network, with the worker's image.

step "1 From outside" "Is ACCESS the one that it was deployed with, and is this machine outside of the network?"
show_line "! curl -fsS -m 20 $(shown "$SERVER_URL/api/health")"
if ! $dry_run && curl --fail --silent --max-time 20 "$SERVER_URL/api/health" >/dev/null; then
    fail "step \"$current_step\": the server answers here, which internal ingress should prevent. $advice"
fi
say "the server does not answer from outside"

step "2 From inside" "The job's log says more: gcloud logging read resource.labels.job_name=$VERIFY_JOB --limit=50"
((WORKER_COUNT > 0)) || { say "WORKER_COUNT is 0, so no flow is run, and nothing was looked at from inside"; exit; }
ask WORKER_IMAGE_DIGEST gcloud artifacts docker images describe "$IMAGES/prefect-worker:$IMAGE_TAG" \
    --format='value(image_summary.digest)'
WORKER_IMAGE=$IMAGES/prefect-worker@$WORKER_IMAGE_DIGEST
end_verify_job() {
    local code=$?
    trap - EXIT
    (delete gcloud run jobs delete "$VERIFY_JOB" --region="$REGION") || code=1
    exit "$code"
}
trap end_verify_job EXIT
run_with_yaml verify-job.yaml gcloud run jobs replace - --region="$REGION"
run gcloud run jobs execute "$VERIFY_JOB" --region="$REGION" --wait
say "a run of $DEPLOYMENT completed inside. All is well"
