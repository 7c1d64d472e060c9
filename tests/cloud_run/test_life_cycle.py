"""setup, deploy and cleanup are run against a project in the stand-in."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from google_cloud import LIMIT, PROJECT, SCRIPTS, GoogleCloud, Prepare
from shown_commands import shown_commands
from supervisor import wait_until

SCRIPT_OPTIONS = {"setup": [], "deploy": [], "cleanup": ["--yes"]}
IS_SHORTER = pytest.mark.thorough("another case of the same script runs more commands")


def test_after_the_cleanup_nothing_is_left(cloud: GoogleCloud) -> None:
    cloud.succeed("setup")
    assert not cloud.leftovers
    cloud.succeed("deploy")
    assert {"service prefect-server", "pool prefect-worker", "instance prefect-db"} <= set(cloud.state)
    result = cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}
    assert "nothing is left" in result.stderr


@pytest.mark.parametrize("script", ["setup", "deploy"])
def test_a_second_run_changes_nothing(script: str, prepare: Prepare) -> None:
    cloud = prepare(script)
    cloud.succeed(script)
    first = cloud.state
    cloud.forget_commands()
    cloud.succeed(script)
    assert without_times(cloud.state) == without_times(first)
    # Only the grants' own secret and administrator are made again; Prefect's password stays.
    made = [" ".join(command) for command in cloud.commands]
    created = [command for command in made if " create " in command or " versions add " in command]
    assert all(" prefect-grants" in command for command in created)


def test_a_cleanup_of_what_is_gone_succeeds(cloud: GoogleCloud) -> None:
    cloud.succeed("cleanup", "--yes")
    cloud.succeed("cleanup", "--yes")


# What is stopped after the effect of one command is what would be found before the next one. For cleanup the commands
# fail before it, since not all of them find something.
FAILS = {"setup": "lost", "deploy": "lost", "cleanup": "each"}


@pytest.mark.parametrize("script", list(SCRIPT_OPTIONS))
def test_wherever_it_is_stopped_the_next_run_goes_on_from_there_and_completes_it(
    script: str, prepare: Prepare, some_of: Callable[[Sequence[str]], list[str]]
) -> None:
    """Each run but the last is stopped at one of the commands that change something, with --all at each of them, in what the
    run before has left."""
    options = SCRIPT_OPTIONS[script]
    whole = prepare(script)
    whole.succeed(script, *options)
    cloud = prepare(script)
    changes = some_of(list(dict.fromkeys(" ".join(words) for words in whole.commands if not is_question(words))))
    stopped = 0
    for command in changes:
        result = cloud.script(script, *options, PATIENCE="0", STAND_IN_FAIL=f"{FAILS[script]} {command}")
        if result.returncode == 0:
            # It was done by a run before, and is done only once.
            assert command not in [" ".join(words) for words in cloud.commands], command
        else:
            stopped += 1
            (line, *_) = [line for line in result.stderr.splitlines() if "failed in step" in line]
            assert line.startswith(f"{script}: ") and line.endswith(f"Then run {script} again: it goes on from there.")
        # Only what could not be deleted itself may be left.
        assert script != "setup" or not cloud.leftovers or "delete" in command, command
        cloud.forget_commands()
    assert stopped > len(changes) / 2
    cloud.succeed(script, *options)
    assert without_times(cloud.state) == without_times(whole.state)
    assert not cloud.leftovers


def is_question(words: list[str]) -> bool:
    return any(word in ("describe", "list", "access", "version", "config", "auth") for word in words)


@pytest.mark.parametrize(
    "command",
    [
        "gcloud sql users create prefect-grants",
        "gcloud secrets create prefect-grants-password",
        "gcloud secrets versions add prefect-grants-password",
        "gcloud secrets add-iam-policy-binding prefect-grants-password",
        "gcloud run jobs replace",
        "gcloud run jobs execute",
    ],
)
def test_grants_that_fail_for_good_leave_neither_job_nor_secret_nor_administrator(
    command: str, cloud: GoogleCloud
) -> None:
    result = cloud.script("setup", STAND_IN_FAIL=f"each {command}")
    assert result.returncode != 0
    assert 'failed in step "2.8 Grants"' in result.stderr
    assert not cloud.leftovers
    cloud.succeed("setup")
    assert not cloud.leftovers


@pytest.mark.parametrize("next_script", ["setup", "cleanup"])
@pytest.mark.parametrize(
    "command", ["gcloud run jobs delete", "gcloud secrets delete", "gcloud sql users delete prefect-grants"]
)
def test_what_cannot_be_removed_is_named_and_goes_with_the_next_setup_or_cleanup(
    command: str, next_script: str, cloud: GoogleCloud
) -> None:
    result = cloud.script("setup", STAND_IN_FAIL=f"kept {command}")
    assert result.returncode != 0
    assert cloud.leftovers
    assert all(thing.split("/")[-1].split()[-1].partition("/")[0] in result.stderr for thing in cloud.leftovers)
    cloud.succeed(next_script, *SCRIPT_OPTIONS[next_script])
    assert not cloud.leftovers
    assert next_script == "setup" or cloud.state == {}


def test_a_setup_that_is_stopped_leaves_neither_job_nor_secret_nor_administrator(cloud: GoogleCloud) -> None:
    ready = cloud.home / "job-runs"
    environment = cloud.environment | {"STAND_IN_JOB_HANGS": str(ready)}
    setup = subprocess.Popen(
        [str(SCRIPTS / "setup")],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # The stand-in writes a byte as soon as the job runs, then it hangs until it is ended.
        os.mkfifo(ready)
        pid = int(ready.read_text())
        setup.terminate()
        os.kill(pid, 15)
        _, stderr = setup.communicate(timeout=LIMIT)
    finally:
        setup.kill()
    assert setup.returncode != 0, stderr
    assert "done" not in stderr
    assert not cloud.leftovers


def test_an_instance_that_is_not_ready_is_waited_for_by_the_user(cloud: GoogleCloud) -> None:
    result = cloud.script("setup", STAND_IN_INSTANCE_STATE="PENDING_CREATE")
    assert result.returncode != 0
    assert "PENDING_CREATE, not RUNNABLE" in result.stderr
    cloud.succeed("setup")


def test_an_error_other_than_not_found_creates_nothing(cloud: GoogleCloud) -> None:
    """A lack of permission to look at an object does not mean that the object is missing."""
    result = cloud.script("setup", STAND_IN_FAIL="each gcloud compute networks describe")
    assert result.returncode != 0
    assert not any(command[:4] == ["gcloud", "compute", "networks", "create"] for command in cloud.commands)


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        pytest.param("setup", {}, marks=IS_SHORTER),
        ("setup", {"DB_SSL": "verify-ca", "ALERT_EMAIL": "team@example.com"}),
        pytest.param("deploy", {}, marks=IS_SHORTER),
        pytest.param("deploy", {"ACCESS": "public"}, marks=IS_SHORTER),
        ("deploy", {"ACCESS": "internal", "DB_SSL": "verify-ca", "BUILD": "cloud-build"}),
        ("verify", {"ACCESS": "internal"}),
        pytest.param("cleanup", {}, marks=IS_SHORTER),
        ("cleanup", {"DB_SSL": "verify-ca", "ALERT_EMAIL": "team@example.com"}),
    ],
)
def test_a_dry_run_can_be_pasted_into_a_shell_and_does_the_same_there(
    script: str, settings: dict[str, str], prepare: Prepare
) -> None:
    cloud = prepare(script, **settings)
    if script == "verify":
        # Nobody answers there, as with a server that only the network reaches.
        cloud.environment["STAND_IN_SERVICE_URL"] = "http://127.0.0.1:1"
    state = cloud.state
    dry = cloud.succeed(script, "--dry-run")
    assert cloud.commands == [] and cloud.state == state
    pasted = prepare(script, **settings)
    pasted.environment |= {name: value for name, value in cloud.environment.items() if name == "STAND_IN_SERVICE_URL"}
    assert subprocess.run(["bash", "-n"], input=dry.stdout, text=True, capture_output=True).stderr == ""
    # As a shell does with what is pasted, it goes on after a command that failed, such as a describe.
    subprocess.run(
        ["bash"], input=dry.stdout, env=pasted.environment, text=True, capture_output=True, timeout=LIMIT
    )
    real = cloud.succeed(script, *SCRIPT_OPTIONS.get(script, []))
    own = [words for words in cloud.commands if words[:2] != ["gcloud", "version"]]
    assert pasted.commands == own and len(own) > 3
    assert without_times(pasted.state) == without_times(cloud.state)
    # A run prints the same, as it goes.
    assert [str(shown).split()[:4] for shown in shown_commands(real.stdout)] == [
        str(shown).split()[:4] for shown in shown_commands(dry.stdout)
    ]


def without_times(state: dict[str, Any]) -> Any:
    return json.loads(re.sub(r"20\d\d-\d\d-\d\dT[\d:]+Z", "TIME", json.dumps(state)))


def test_a_dry_run_needs_no_gcloud_and_no_project(tmp_path: Path) -> None:
    for script in SCRIPT_OPTIONS:
        result = subprocess.run(
            [str(SCRIPTS / script), "--dry-run"],
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        assert "PROJECT_ID" in result.stdout


@pytest.mark.parametrize(
    ("script", "missing"), [("setup", "gcloud"), ("deploy", "docker"), ("verify", "curl")]
)
def test_a_missing_program_is_named_before_anything_is_done(
    script: str, missing: str, cloud: GoogleCloud
) -> None:
    programs = cloud.home / "few-programs"
    programs.mkdir()
    for name in {*"bash basename dirname grep sed sort tr gcloud docker curl python3 env".split()} - {missing}:
        path = shutil.which(name, path=cloud.environment["PATH"])
        (programs / name).symlink_to(str(path))
    result = cloud.script(script, PATH=str(programs))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and f"missing: the program {missing}" in result.stderr
    assert cloud.commands == []


def test_a_missing_project_is_named(cloud: GoogleCloud) -> None:
    result = cloud.script("setup", PROJECT_ID="", STAND_IN_FAIL="each gcloud config get-value")
    assert result.returncode == 1
    assert "missing: PROJECT_ID" in result.stderr


def test_without_a_terminal_the_cleanup_wants_yes(prepare: Prepare) -> None:
    cloud = prepare("cleanup")
    state = cloud.state
    result = cloud.script("cleanup")
    assert result.returncode == 1 and "--yes" in result.stderr
    assert cloud.state == state


@pytest.mark.parametrize(("answer", "deleted"), [("no", False), ("", False), ("yes", True)])
def test_at_a_terminal_the_cleanup_asks(answer: str, deleted: bool, prepare: Prepare) -> None:
    cloud = prepare("cleanup")
    terminal, side = pty.openpty()
    try:
        os.write(terminal, f"{answer}\n".encode())
        result = subprocess.run(
            [str(SCRIPTS / "cleanup")],
            env=cloud.environment,
            stdin=side,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    finally:
        os.close(terminal)
        os.close(side)
    assert (result.returncode == 0) == deleted
    assert (cloud.state == {}) == deleted


def test_what_a_user_sets_survives_the_next_deployment_and_changes_with_the_setting(cloud: GoogleCloud) -> None:
    """Ingress, IAP and variables are in the YAML, which replaces all of the service each time."""
    cloud.environment |= {"WORKER_COUNT": "0", "SERVER_ENV_PREFECT_LOGGING_LEVEL": "DEBUG"}
    cloud.succeed("setup", IAP="yes", ACCESS="public")
    for _ in range(2):
        cloud.succeed("deploy", IAP="yes", ACCESS="public")
        service = cloud.state["service prefect-server"]
        annotations = service["metadata"]["annotations"]
        assert annotations["run.googleapis.com/iap-enabled"] == "true"
        assert annotations["run.googleapis.com/invoker-iam-disabled"] == "false"
        assert environment_of(service)["PREFECT_LOGGING_LEVEL"] == "DEBUG"
        agent = "serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com"
        assert f"service prefect-server/{agent} roles/run.invoker" in cloud.state
    cloud.succeed("deploy", ACCESS="internal")
    annotations = cloud.state["service prefect-server"]["metadata"]["annotations"]
    assert annotations["run.googleapis.com/ingress"] == "internal"
    assert annotations["run.googleapis.com/iap-enabled"] == "false"
    assert annotations["run.googleapis.com/invoker-iam-disabled"] == "true"
    # Nobody is let in by a binding, which an organisation's policy may refuse.
    assert not any("allUsers" in word for command in cloud.commands for word in command)


def environment_of(resource: Any) -> dict[str, Any]:
    (container,) = resource["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def test_a_deployment_run_again_makes_a_new_revision(prepare: Prepare) -> None:
    """`services replace` with unchanged YAML makes none (google-github-actions/deploy-cloudrun issue 491), so one that
    failed would not be tried again."""
    cloud = prepare("deploy")
    for number in (1, 2):
        cloud.succeed("deploy")
        assert set(cloud.revisions.values()) == {number} and len(cloud.revisions) == 2
        annotations = cloud.state["service prefect-server"]["spec"]["template"]["metadata"]["annotations"]
        wait_for_another_second(annotations["prefect-supervisor/deployed-at"])


def wait_for_another_second(time_of_deployment: str) -> None:
    """The annotation has seconds."""
    wait_until(lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") != time_of_deployment, "the next second")


def test_without_a_worker_none_is_deployed_and_one_that_was_goes(prepare: Prepare) -> None:
    cloud = prepare("cleanup")
    assert "pool prefect-worker" in cloud.state
    cloud.succeed("deploy", WORKER_COUNT="0")
    assert "pool prefect-worker" not in cloud.state


def test_the_password_is_made_once_and_given_by_the_secrets_name(prepare: Prepare) -> None:
    cloud = prepare("deploy")
    result = cloud.succeed("deploy", STAND_IN_WATCH_PROCESSES="1")
    password = (cloud.home / "secrets/prefect-auth").read_text()
    assert re.fullmatch(r"admin:[A-Za-z0-9]{24,}", password)
    for name, thing in (
        ("PREFECT_SERVER_API_AUTH_STRING", "service prefect-server"),
        ("PREFECT_API_AUTH_STRING", "pool prefect-worker"),
    ):
        assert environment_of(cloud.state[thing])[name] == {"secretKeyRef": {"name": "prefect-auth", "key": "latest"}}
    assert "secrets versions access latest --secret=prefect-auth" in result.stderr
    # It is in no output, command line, state or log.
    texts = [result.stdout, result.stderr]
    texts += cloud.texts_outside_secrets
    assert not any(password.partition(":")[2] in text for text in texts)
    assert "prefect-auth" in (cloud.home / "processes").read_text()
    cloud.succeed("deploy")
    assert (cloud.home / "secrets/prefect-auth").read_text() == password


def test_public_has_no_password_and_says_what_that_means(prepare: Prepare) -> None:
    cloud = prepare("deploy")
    result = cloud.succeed("deploy", ACCESS="public")
    for name, thing in (
        ("PREFECT_SERVER_API_AUTH_STRING", "service prefect-server"),
        ("PREFECT_API_AUTH_STRING", "pool prefect-worker"),
    ):
        assert name not in environment_of(cloud.state[thing])
    warning = next(line for line in result.stderr.splitlines() if "WARNING" in line)
    assert "without a login" in warning and f"prefect-worker@{PROJECT}.iam.gserviceaccount.com" in warning
    assert "WARNING" not in cloud.succeed("deploy").stderr


def test_each_account_has_the_least_rights(cloud: GoogleCloud) -> None:
    cloud.succeed("setup", DB_SSL="verify-ca")
    for secret in ("our-token", "our-key"):
        cloud.gcloud("secrets", "create", secret, "--replication-policy=automatic")
        for _ in range(3):
            cloud.gcloud("secrets", "versions", "add", secret, "--data-file=-", text="a-text")
    secrets = {"SERVER_SECRET_TOKEN": "our-token", "WORKER_SECRET_KEY": "our-key:3"}
    cloud.succeed("deploy", DB_SSL="verify-ca", **secrets)
    server, worker, grants = (
        f"serviceAccount:prefect-{name}@{PROJECT}.iam.gserviceaccount.com" for name in ("sa", "worker", "grants")
    )
    rights: dict[str, set[str]] = {}
    for words in cloud.commands:
        if any(word.endswith("add-iam-policy-binding") for word in words):
            flags = dict(word.partition("=")[::2] for word in words if word.startswith("--"))
            rights.setdefault(flags["--member"], set()).add(f"{flags['--role']} {flags.get('--condition', '')}".strip())
            if flags["--role"] == "roles/secretmanager.secretAccessor":
                verb = words.index("add-iam-policy-binding")
                rights[flags["--member"]].remove(flags["--role"])
                rights[flags["--member"]].add(f"reads {words[verb + 1]}")
    # The expression is that of Google's own sample (terraform-google-modules/terraform-docs-samples,
    # cloud_sql/instance_iam_condition/main.tf).
    condition = (
        f"resource.name == 'projects/{PROJECT}/instances/prefect-db'"
        " && resource.type == 'sqladmin.googleapis.com/Instance'"
    )
    assert rights == {
        server: {
            f"roles/cloudsql.instanceUser expression={condition},title=prefect-instance",
            *("reads prefect-auth", "reads prefect-db-ca", "reads our-token"),
        },
        worker: {"reads prefect-auth", "reads our-key"},
        grants: {"reads prefect-grants-password", "reads prefect-db-ca"},
    }
    users = {thing for thing in cloud.state if "/user " in thing}
    assert users == {f"instance prefect-db/user prefect-sa@{PROJECT}.iam"}
    assert cloud.state["service prefect-server"]["spec"]["template"]["spec"]["serviceAccountName"] in server
    assert cloud.state["pool prefect-worker"]["spec"]["template"]["spec"]["serviceAccountName"] in worker
    # The user's secrets stay when the rest goes, and nobody of ours may read them then.
    cloud.succeed("cleanup", "--yes", DB_SSL="verify-ca", **secrets)
    assert {thing.partition("/")[0] for thing in cloud.state} == {"secret our-token", "secret our-key"}
    assert not any("serviceAccount" in thing for thing in cloud.state)


def test_the_alert_policies_are_applied_once_and_removed(cloud: GoogleCloud) -> None:
    cloud.environment["ALERT_EMAIL"] = "team@example.com"
    for _ in range(2):
        cloud.succeed("setup")
        alerts = [thing for thing in cloud.state if thing.startswith(("policy ", "channel "))]
        assert len(alerts) == 1 + len(list((SCRIPTS / "alerts").glob("*.yaml"))), alerts
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}


def test_an_existing_network_and_instance_are_used_and_stay_as_they_were(cloud: GoogleCloud) -> None:
    region = "--region=us-central1"
    cloud.gcloud("services", "enable", "compute.googleapis.com", "sqladmin.googleapis.com")
    cloud.gcloud("compute", "networks", "create", "our-network", "--subnet-mode=custom")
    subnet = ("our-subnet", "--network=our-network", region, "--range=10.8.0.0/24")
    cloud.gcloud("compute", "networks", "subnets", "create", *subnet, "--enable-private-ip-google-access")
    flags = ("--database-version=POSTGRES_18", "--tier=db-g1-small", "--edition=ENTERPRISE", region)
    network = ("--enable-private-service-connect", f"--allowed-psc-projects={PROJECT}", "--no-assign-ip")
    login = "--database-flags=cloudsql.iam_authentication=on"
    cloud.gcloud("sql", "instances", "create", "our-db", *flags, *network, login)
    cloud.gcloud("sql", "databases", "create", "other", "--instance=our-db")
    ours = cloud.state
    cloud.environment |= {
        "NETWORK": "existing",
        "PSC_NETWORK_NAME": "our-network",
        "SUBNET": "our-subnet",
        "DB_IP": "10.8.0.9",
        "DB_INSTANCE": "existing",
        "DB_INSTANCE_NAME": "our-db",
        "DB_NAME": "prefect_production",
        "ACCESS": "internal",
    }
    cloud.succeed("setup")
    cloud.succeed("deploy")
    assert {thing: cloud.state[thing] for thing in ours} == ours
    assert "instance our-db/database prefect_production" in cloud.state
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == ours


def test_apis_and_rights_that_take_their_time_are_waited_for(cloud: GoogleCloud) -> None:
    """Every API answers only some commands after it was switched on, and every right counts only later."""
    delays = {"STAND_IN_API_DELAY": "3", "STAND_IN_IAM_DELAY": "8"}
    for script in ("setup", "deploy"):
        result = cloud.succeed(script, **delays)
        assert "this may pass" in result.stderr
    # A secret that waits is not made again meanwhile.
    made = [" ".join(command) for command in cloud.commands]
    assert made.count("gcloud secrets versions add prefect-grants-password --data-file=-") == 1
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}


# Each with the default that it takes the place of (settings.sh).
SETTINGS = {
    "REGION": ("us-central1", "europe-west1"),
    "NAME": ("prefect", "staging"),
    "DB_NAME": ("prefect", "my_database"),
    "WORKER_ACCOUNT": ("staging-worker", "my-worker-account"),
    "DB_INSTANCE_NAME": ("staging-db", "my-instance"),
    "DB_USER": ("staging-sa", "my-account"),
    "GRANTS_ACCOUNT": ("staging-grants", "my-grants-account"),
    "SERVER_SERVICE": ("staging-server", "my-server"),
    "WORKER_SERVICE": ("staging-worker", "my-worker"),
    "PSC_NETWORK_NAME": ("staging-network", "my-network"),
    "SUBNET": ("staging-subnet", "my-subnet"),
    "SUBNET_RANGE": ("10.0.0.0/24", "10.9.0.0/26"),
    "DB_IP": ("10.0.0.5", "10.9.0.9"),
    "DB_ADDRESS": ("staging-db-ip", "my-address"),
    "DB_ENDPOINT": ("staging-db-endpoint", "my-endpoint"),
    "AUTH_SECRET": ("staging-auth", "my-password"),
    "GRANTS_SECRET": ("staging-grants-password", "my-grants-password"),
    "GRANTS_JOB": ("staging-grants", "my-job"),
    "REPO_NAME": ("staging-repo", "my-repository"),
    "IMAGE_TAG": ("v1", "v2.5"),
    "PREFECT_VERSION": ("3.9.1", "3.8.8"),
    "SERVER_MEMORY": ("1Gi", "2Gi"),
    "WORKER_MEMORY": ("1Gi", "4Gi"),
    "SERVER_CPU": ("'1'", "2"),
    "WORKER_CPU": ("'1'", "4"),
    "WORK_POOL": ("cloud-run-pool", "my-pool"),
}
# Words that contain a default and are not settings: names of images and containers, versions of APIs, the counts of
# instances, and what is made for a short time (its name is NAME's).
NO_SETTINGS = (
    *("/prefect-server", "/prefect-worker", "- name: prefect-server\n", "- name: prefect-worker\n"),
    *("serving.knative.dev/v1", "run.googleapis.com/v1", "Scale: '1'", "InstanceCount: '1'", "'staging-grants'"),
    *("prefect-supervisor", "staging-instance"),
)


def test_every_name_the_region_and_the_tag_can_be_set(cloud: GoogleCloud) -> None:
    settings = {name: value for name, (_, value) in SETTINGS.items()}
    cloud.environment |= settings | {"STAND_IN_REGION": settings["REGION"]}
    cloud.succeed("setup")
    cloud.succeed("deploy")
    made = set(cloud.state)
    account = f"my-account@{PROJECT}.iam"
    assert {
        "instance my-instance",
        "instance my-instance/database my_database",
        f"instance my-instance/user {account}",
        f"account {account}.gserviceaccount.com",
        "network my-network",
        "repository my-repository",
        "repository my-repository/prefect-server/v2.5",
        "repository my-repository/prefect-worker/v2.5",
        f"account my-worker-account@{PROJECT}.iam.gserviceaccount.com",
        "secret my-password",
        "service my-server",
        "pool my-worker",
    } <= made
    server = (cloud.home / "yaml/Service").read_text()
    for value in (f"value: '{account}'", "value: 'my_database'", '"network": "my-network"', "europe-west1"):
        assert value in server
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}

    # No command and no YAML contains a default value at any place, but for the temporary administrator.
    words = [word for command in cloud.commands if "sql users" not in " ".join(command) for word in command]
    texts = words + [file.read_text() for file in (cloud.home / "yaml").iterdir()]
    for text in texts:
        for name in NO_SETTINGS:
            text = text.replace(name, "")
        for name, (default, _) in SETTINGS.items():
            assert not re.search(rf"(?<![\w-]){re.escape(default)}(?![\w-])", text), f"{name} in {text}"
