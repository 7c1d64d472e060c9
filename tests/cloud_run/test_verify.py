"""verify is run against a server that answers as Prefect's API does."""

from __future__ import annotations

import base64
import subprocess
from typing import Any

import pytest

from google_cloud import LIMIT, GoogleCloud, Prepare
from prefect_answers import DEPLOYMENT, RUN, Prefect


def test_a_run_is_followed_until_it_completes(cloud: GoogleCloud, prefect: Prefect) -> None:
    result = cloud.succeed("verify", SERVER_URL=prefect.url + "/")
    said = result.stderr.splitlines()
    assert [line for line in said if "the run is" in line] == [
        f"verify: the run is {state}" for state in ("scheduled", "pending", "running", "completed")
    ]
    assert said[-1] == "verify: all is well"
    # A URL is sufficient: gcloud is not asked.
    assert cloud.commands == []


@pytest.mark.parametrize(
    ("question", "answer", "step"),
    [
        ("GET /", "<title>Welcome to nginx!</title>", "1 UI"),
        ("GET /api/health", False, "1 UI"),
        ("POST /api/work_pools/cloud-run-pool/workers/filter", [{"status": "OFFLINE"}], "3 Worker"),
        ("POST /api/work_pools/cloud-run-pool/workers/filter", [], "3 Worker"),
        ("GET /api/deployments/name/simple-flow/cloud-run-deployment", None, "4 Deployment"),
        (f"POST /api/deployments/{DEPLOYMENT}/create_flow_run", None, "5 Run"),
    ],
)
def test_what_is_not_there_is_named(
    question: str, answer: Any, step: str, cloud: GoogleCloud, prefect: Prefect
) -> None:
    prefect.answers[question] = answer
    result = cloud.script("verify", SERVER_URL=prefect.url, VERIFY_TIMEOUT="0")
    assert result.returncode == 1
    assert f'step "{step}"' in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("state", ["FAILED", "CRASHED", "CANCELLED"])
def test_a_run_that_does_not_complete_is_a_failure(state: str, cloud: GoogleCloud, prefect: Prefect) -> None:
    prefect.states[-1] = state
    result = cloud.script("verify", SERVER_URL=prefect.url)
    assert result.returncode == 1
    assert f"the run is {state.lower()}" in result.stderr and f"/runs/flow-run/{RUN}" in result.stderr


def test_a_run_that_goes_on_and_on_is_a_failure(cloud: GoogleCloud, prefect: Prefect) -> None:
    prefect.states = ["SCHEDULED"]
    result = cloud.script("verify", SERVER_URL=prefect.url, VERIFY_TIMEOUT="1")
    assert result.returncode == 1 and "has not completed within 1 s" in result.stderr


def test_the_password_comes_from_secret_manager_and_is_on_no_command_line(
    prepare: Prepare, prefect: Prefect
) -> None:
    cloud = prepare("verify")
    prefect.password = (cloud.home / "secrets/prefect-auth").read_text()
    result = cloud.succeed("verify", STAND_IN_SERVICE_URL=prefect.url, STAND_IN_WATCH_PROCESSES="1")
    assert "the server takes the password" in result.stderr and result.stderr.endswith("verify: all is well\n")
    encoded = base64.b64encode(prefect.password.encode()).decode()
    for secret in (prefect.password, encoded):
        assert secret not in result.stdout + result.stderr
        assert secret not in (cloud.home / "processes").read_text()


def test_curl_has_no_password_among_its_arguments(cloud: GoogleCloud, prefect: Prefect) -> None:
    """Seen in the curl that verify runs: one that writes its arguments down."""
    prefect.password = "admin:a'b\"c\\d"
    seen = cloud.home / "curl-arguments"
    curl = cloud.home.parent / "programs/curl"
    curl.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >>{seen}\nexec /usr/bin/curl "$@"\n')
    curl.chmod(0o755)
    result = cloud.succeed("verify", SERVER_URL=prefect.url, PREFECT_API_AUTH_STRING=prefect.password)
    assert "the server takes the password" in result.stderr
    encoded = base64.b64encode(prefect.password.encode()).decode()
    arguments = seen.read_text()
    assert "/api/admin/version" in arguments
    assert prefect.password not in arguments and encoded not in arguments


@pytest.mark.parametrize("server_has", ["", "admin:another"])
def test_a_password_that_the_server_does_not_ask_for_or_not_take_is_a_failure(
    server_has: str, cloud: GoogleCloud, prefect: Prefect
) -> None:
    prefect.password = server_has
    result = cloud.script(
        "verify", SERVER_URL=prefect.url, PREFECT_API_AUTH_STRING="admin:this", VERIFY_TIMEOUT="0"
    )
    assert result.returncode == 1
    assert 'step "2 Password"' in result.stderr.splitlines()[-1]


def test_what_a_dry_run_prints_does_the_same_in_a_shell(cloud: GoogleCloud, prefect: Prefect) -> None:
    prefect.password = "admin:secret"
    environment = cloud.environment | {"SERVER_URL": prefect.url, "PREFECT_API_AUTH_STRING": prefect.password}
    dry = cloud.succeed("verify", "--dry-run", SERVER_URL=prefect.url, PREFECT_API_AUTH_STRING=prefect.password)
    assert prefect.questions == [] and prefect.password not in dry.stdout
    result = subprocess.run(
        ["bash"], input=dry.stdout, env=environment, capture_output=True, text=True, timeout=LIMIT
    )
    assert result.returncode == 0, result.stderr
    pasted, prefect.questions, prefect.asked = prefect.questions, [], 0
    cloud.succeed("verify", SERVER_URL=prefect.url, PREFECT_API_AUTH_STRING=prefect.password)
    states = f"GET /api/flow_run_states/?flow_run_id={RUN}"
    assert [each for each in pasted if each != states] == [each for each in prefect.questions if each != states]
    assert pasted[-1] == prefect.questions[-1] == states


def test_an_internal_server_is_looked_at_by_a_job_inside(prepare: Prepare, prefect: Prefect) -> None:
    cloud = prepare("verify", ACCESS="internal")
    prefect.answers["GET /api/health"] = None
    result = cloud.succeed("verify", STAND_IN_SERVICE_URL=prefect.url)
    assert "the server does not answer from outside" in result.stderr
    assert "a run of simple-flow/cloud-run-deployment completed inside" in result.stderr
    assert prefect.questions == ["GET /api/health"]
    job = (cloud.home / "yaml/Job").read_text()
    assert f"value: '{prefect.url}/api'" in job and "prefect-auth" in job and "prefect-worker@sha256:" in job
    assert not cloud.leftovers


def test_a_job_inside_that_fails_is_a_failure_and_leaves_nothing(prepare: Prepare, prefect: Prefect) -> None:
    cloud = prepare("verify", ACCESS="internal")
    prefect.answers["GET /api/health"] = None
    failing = "each gcloud run jobs execute"
    result = cloud.script("verify", STAND_IN_SERVICE_URL=prefect.url, STAND_IN_FAIL=failing)
    assert result.returncode != 0 and 'failed in step "2 From inside"' in result.stderr
    assert not cloud.leftovers


def test_an_internal_server_that_answers_from_outside_is_a_failure(prepare: Prepare, prefect: Prefect) -> None:
    cloud = prepare("verify", ACCESS="internal")
    result = cloud.script("verify", STAND_IN_SERVICE_URL=prefect.url)
    assert result.returncode == 1 and "which internal ingress should prevent" in result.stderr


def test_behind_iap_only_a_browser_can_look(cloud: GoogleCloud) -> None:
    result = cloud.script("verify", IAP="yes", ACCESS="public", WORKER_COUNT="0")
    assert result.returncode == 1 and "only a browser gets in" in result.stderr
    assert cloud.commands == []
