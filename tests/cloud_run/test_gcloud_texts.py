"""gcloud's texts, and that the stand-in prints exactly these.

That they are what the real gcloud prints is compared by compare_gcloud_texts.py, which needs the SDK.
"""

from __future__ import annotations

import json
import re
import subprocess

import pytest

import gcloud_texts
from gcloud_texts import (
    API_OFF,
    CASES,
    DENIED,
    EXECUTION_FAILED,
    MISSING,
    NOT_PROPAGATED,
    POLICY,
    QUOTA,
    cases,
    commands,
    failure,
)
from google_cloud import HERE, LIMIT, PROJECT, SCRIPTS, GoogleCloud

ACCOUNT = f"prefect-sa@{PROJECT}.iam.gserviceaccount.com"
MEMBER = f"--member=serviceAccount:{ACCOUNT}"
READS = "--role=roles/secretmanager.secretAccessor"
# These ask no API.
LOCAL = ("auth configure-docker", "config get-value", "version")
# These stand in the scripts' messages alone.
SHOWN_TO_THE_USER = ("config set", "logging read", "run services logs read", "sql instances patch")


@pytest.fixture
def project(cloud: GoogleCloud) -> GoogleCloud:
    """One in which all APIs are on and nothing else is there."""
    apis = ("artifactregistry", "cloudbuild", "compute", "iam", "redis", "run", "secretmanager", "sqladmin")
    cloud.gcloud("services", "enable", *(f"{api}.googleapis.com" for api in apis))
    cloud.forget_commands()
    return cloud


def run(cloud: GoogleCloud, words: list[str], text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    login = {"CLOUDSDK_CORE_PROJECT": PROJECT, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    return subprocess.run(
        ["gcloud", *words],
        env=cloud.environment | login | environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def commands_of_the_scripts() -> set[str]:
    """All that the scripts show, with all of their settings, as the recorded parser names them."""
    recorded = json.loads((HERE / "gcloud_commands.json").read_text())["commands"]
    text = " ".join(file.read_text() for file in SCRIPTS.iterdir() if file.is_file() and file.suffix in ("", ".sh"))
    return {command for command in recorded if f"gcloud {command} " in " ".join(text.split())}


def test_every_command_of_the_scripts_has_its_texts() -> None:
    found = commands_of_the_scripts()
    assert len(found) > 40
    known = set(commands())
    assert {command.removeprefix("beta ") for command in found} - {*LOCAL, *SHOWN_TO_THE_USER} <= known


@pytest.mark.parametrize("command", commands())
def test_each_text_is_a_line_of_gclouds_with_a_source(command: str) -> None:
    words = [*command.split(), "NAME", "--region=us-central1", "--location=us-central1", "--secret=SECRET", MEMBER]
    possible = cases(words)
    assert DENIED in possible
    for case in possible:
        text = failure(words, case)
        assert text is not None and text.exit_code == 1
        (line,) = [line for line in text.stderr.splitlines() if line.startswith("ERROR: (")]
        assert line.startswith(f"ERROR: (gcloud.{'.'.join(command.split())}) ")
        assert len(text.source) > 10
        assert not re.search(r"{\w+}", text.stderr + text.source), "a placeholder is left"


def test_the_cases_of_a_command_are_those_in_which_it_can_be() -> None:
    create = ["compute", "networks", "create", "n"]
    assert cases(create) == [API_OFF, DENIED, POLICY]
    assert cases(["compute", "networks", "describe", "n"]) == [MISSING, API_OFF, DENIED, POLICY]
    assert cases(["gcloud", "secrets", "add-iam-policy-binding", "s", MEMBER]) == list(CASES)
    # Service Usage is what says whether an API is on.
    assert API_OFF not in cases(["services", "list"])
    with pytest.raises(KeyError):
        failure(["compute", "instances", "create"], DENIED)
    with pytest.raises(ValueError):
        failure(create, "forgotten")


def test_what_does_not_exist_is_said_as_gcloud_says_it() -> None:
    """command_lib/run/serverless_operations.py, DeleteService and DeleteJob: "could not be found", not "not found"."""
    for kind, text in (("services", "Service [x] could not be found."), ("jobs", "Job [x] could not be found.")):
        answer = failure(["run", kind, "delete", "x"], MISSING)
        assert answer is not None
        assert answer.stderr == f"Deleting [x]...\nfailed.\nERROR: (gcloud.run.{kind}.delete) {text}\n"


COMMANDS = [
    "compute networks describe n",
    "compute addresses delete a --region=us-central1",
    f"iam service-accounts describe {ACCOUNT}",
    "sql instances describe i --format=value(state)",
    "sql databases describe d --instance=i",
    "sql users delete u --instance=i",
    "secrets describe s",
    "secrets versions access latest --secret=s",
    f"secrets add-iam-policy-binding s {MEMBER} {READS} --format=none",
    f"secrets remove-iam-policy-binding s {MEMBER} {READS} --condition=None --format=none",
    f"projects remove-iam-policy-binding {PROJECT} {MEMBER} --role=roles/cloudsql.instanceUser --condition=None",
    "artifacts repositories describe r --location=us-central1",
    f"artifacts docker images describe us-central1-docker.pkg.dev/{PROJECT}/r/i:v1",
    "redis instances describe r --region=us-central1 --format=value(state)",
    "redis instances get-auth-string r --region=us-central1 --format=value[private](authString)",
    "redis instances delete r --region=us-central1",
    "run services describe s --region=us-central1 --format=value(status.url)",
    "run services delete s --region=us-central1",
    "run jobs delete j --region=us-central1",
    "run jobs execute j --region=us-central1 --wait",
    "run worker-pools delete w --region=us-central1",
    f"monitoring policies delete projects/{PROJECT}/alertPolicies/1",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_stand_in_prints_the_text_of_what_is_missing(command: str, project: GoogleCloud) -> None:
    answer = failure(command.split(), MISSING)
    result = run(project, command.split())
    assert answer is not None
    assert (result.returncode, result.stderr, result.stdout) == (answer.exit_code, answer.stderr, "")


def test_the_stand_in_prints_the_text_of_an_api_that_is_off(cloud: GoogleCloud) -> None:
    for command in COMMANDS[:3]:
        answer = failure(command.split(), API_OFF)
        assert answer is not None and run(cloud, command.split()).stderr == answer.stderr


@pytest.mark.parametrize(
    ("command", "case", "says"),
    [
        (
            "redis instances create r --region=us-central1 --network=n --enable-auth",
            QUOTA,
            "System limit for internal resources has been reached",
        ),
        ("run jobs execute j --region=us-central1 --wait", EXECUTION_FAILED, "The execution failed."),
    ],
)
def test_what_only_fails_after_it_has_begun_has_its_own_text(
    command: str, case: str, says: str, project: GoogleCloud
) -> None:
    answer = failure(command.split(), case)
    assert answer is not None and says in answer.stderr and len(answer.source) > 10
    result = run(project, command.split(), STAND_IN_FAIL=f"each-{case} gcloud {command.partition(' --')[0]}")
    assert (result.returncode, result.stderr) == (1, answer.stderr)
    assert failure(["secrets", "describe", "s"], case) is None


@pytest.mark.parametrize("case", CASES)
def test_the_stand_in_fails_on_demand_in_every_case_and_only_then(case: str, project: GoogleCloud) -> None:
    project.gcloud("secrets", "create", "s", "--replication-policy=automatic")
    project.gcloud("iam", "service-accounts", "create", "prefect-sa")
    words = f"secrets add-iam-policy-binding s {MEMBER} {READS} --format=none".split()
    answer = failure(words, case)
    assert answer is not None
    state = project.state
    number = len(project.commands) + 1
    for order in (f"{case} {number}", f"each-{case} gcloud secrets add", f"once-{case}"):
        project_of_order = {"STAND_IN_FAIL": order}
        if order.startswith("once-"):
            project.forget_commands()
        result = run(project, words, **project_of_order)
        assert (result.returncode, result.stderr) == (answer.exit_code, answer.stderr), order
        assert project.state == state
        # A command that begins in another way does not fail, and once is once.
        again = words if order.startswith("once-") else ["secrets", "describe", "s"]
        assert run(project, again, **project_of_order).returncode == 0, order


def test_the_stand_in_says_when_gcloud_has_no_such_answer(project: GoogleCloud) -> None:
    result = run(project, ["services", "list"], STAND_IN_FAIL="each-api-not-enabled gcloud services")
    assert result.returncode == 1 and "cannot answer" in result.stderr


def test_a_lost_answer_comes_after_the_effect(project: GoogleCloud) -> None:
    words = ["compute", "networks", "create", "n", "--subnet-mode=custom"]
    assert run(project, words, STAND_IN_FAIL="lost gcloud compute networks create").returncode != 0
    assert "network n" in project.state


def test_a_new_account_and_a_new_right_take_their_time(project: GoogleCloud) -> None:
    slowly = {"STAND_IN_IAM_DELAY": "2"}
    project.gcloud("secrets", "create", "s", "--replication-policy=automatic", "--data-file=-", text="a secret")
    make_network(project)
    project.gcloud("iam", "service-accounts", "create", "prefect-sa")
    bind = f"secrets add-iam-policy-binding s {MEMBER} {READS} --format=none".split()
    refused = failure(bind, NOT_PROPAGATED)
    assert refused is not None
    texts = [run(project, bind, **slowly).stderr for _ in range(3)]
    assert texts == [refused.stderr, refused.stderr, ""]
    deploy = ["run", "services", "replace", "-", "--region=us-central1"]
    replies = [run(project, deploy, text=service("s", "latest"), **slowly) for _ in range(3)]
    assert [reply.returncode for reply in replies] == [1, 1, 0]
    assert "Permission denied on secret: projects/123456789012/secrets/s/versions/latest" in replies[0].stderr


def test_an_api_that_was_switched_on_takes_its_time(cloud: GoogleCloud) -> None:
    words = ["secrets", "describe", "s"]
    slowly = {"STAND_IN_API_DELAY": "1"}
    run(cloud, ["services", "enable", "secretmanager.googleapis.com"], **slowly)
    first, second = (run(cloud, words, **slowly).stderr for _ in range(2))
    assert [first, second] == [text.stderr for text in (failure(words, API_OFF), failure(words, MISSING)) if text]
    listed = run(cloud, ["services", "list", "--enabled", "--format=value(config.name)"]).stdout
    assert "secretmanager.googleapis.com" in listed and "run.googleapis.com" not in listed


def make_network(project: GoogleCloud) -> None:
    project.gcloud("compute", "networks", "create", "n", "--subnet-mode=custom")
    flags = ["--network=n", "--range=10.0.0.0/24", "--region=us-central1"]
    project.gcloud("compute", "networks", "subnets", "create", "s", *flags)


def service(
    secret: str = "", version: str = "", annotation: str = "run.googleapis.com/ingress: all", cpu: str = "1"
) -> str:
    reads = "{name: A, value: b}"
    if secret:
        reads = f"{{name: A, valueFrom: {{secretKeyRef: {{name: {secret}, key: {version}}}}}}}"
    return f"""
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: server
  labels: {{cloud.googleapis.com/location: us-central1}}
  annotations: {{{annotation}}}
spec:
  template:
    metadata:
      annotations: {{run.googleapis.com/network-interfaces: '[{{"network": "n", "subnetwork": "s"}}]'}}
    spec:
      serviceAccountName: {ACCOUNT}
      containers:
      - {{image: an-image, resources: {{limits: {{cpu: '{cpu}'}}}}, env: [{reads}]}}
"""


def test_a_service_is_replaced_as_by_cloud_run(project: GoogleCloud) -> None:
    """A revision only for a template that is another one; of the old annotations only those of Knative Serving stay."""
    deploy = ["run", "services", "replace", "-", "--region=us-central1"]
    unknown = run(project, deploy, text=service())
    assert f"Permission 'iam.serviceaccounts.actAs' denied on service account {ACCOUNT}" in unknown.stderr
    project.gcloud("iam", "service-accounts", "create", "prefect-sa")
    make_network(project)
    annotations = "serving.knative.dev/creator: me, run.googleapis.com/iap-enabled: 'true'"
    project.gcloud(*deploy, text=service(annotation=annotations))
    project.gcloud(*deploy, text=service())
    assert project.revisions == {"service server": 1}
    kept = project.state["service server"]["metadata"]["annotations"]
    assert kept == {"serving.knative.dev/creator": "me", "run.googleapis.com/ingress": "all"}
    project.gcloud(*deploy, text=service(cpu="2"))
    assert project.revisions == {"service server": 2}


def test_a_condition_belongs_to_a_binding(project: GoogleCloud) -> None:
    project.gcloud("iam", "service-accounts", "create", "prefect-sa")
    binding = [PROJECT, MEMBER, "--role=roles/cloudsql.instanceUser"]
    condition = "--condition=expression=resource.name == 'x',title=t"
    project.gcloud("projects", "add-iam-policy-binding", *binding, condition)
    other = run(project, ["projects", "remove-iam-policy-binding", *binding, "--condition=None"])
    assert "Policy binding with the specified principal, role, and condition not found!" in other.stderr
    project.gcloud("projects", "remove-iam-policy-binding", *binding, condition)


def test_unknown_flags_and_values_are_refused_as_by_gclouds_parser(project: GoogleCloud) -> None:
    for words in (
        ["secrets", "create", "s", "--no-such-flag"],
        ["sql", "instances", "create", "i", "--ssl-mode=NONE"],
        ["run", "services", "delete"],
        ["compute", "no-such-command"],
    ):
        assert run(project, words).returncode == 2


def test_the_texts_are_those_of_the_recorded_sdk() -> None:
    recorded = json.loads((HERE / "gcloud_commands.json").read_text())["source"]
    assert recorded.split()[-1] in (gcloud_texts.__doc__ or "")
