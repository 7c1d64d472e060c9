"""Every command of the tutorial has its counterpart in the scripts.

The commands are in tutorial_commands.json, which record_tutorial.py wrote from the tutorial's text. Which command of the
scripts does the same is said here, by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from google_cloud import HERE, PROJECT, SCRIPTS, GoogleCloud

ACCOUNT = f"prefect-sa@{PROJECT}.iam.gserviceaccount.com"
WORKER_ACCOUNT = f"prefect-worker@{PROJECT}.iam.gserviceaccount.com"
DATABASE_USER = f"prefect-sa@{PROJECT}.iam"
IMAGES = f"us-central1-docker.pkg.dev/{PROJECT}/prefect-repo"
REGION = "--region=us-central1"
INSTANCE = "--instance=prefect-db"
NETWORK = {"network": "prefect-network", "subnetwork": "prefect-subnet"}


@dataclass(frozen=True)
class Counterpart:
    """What the tutorial runs, and what the script runs for it: a command that begins with `ours` and has all of
    `words`; where it takes YAML, with the values of `yaml` in it (keys joined by dots)."""

    tutorial: str
    script: str
    ours: str
    words: tuple[str, ...] = ()
    yaml: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return self.tutorial


SERVICE = "spec.template.spec.containers.0."
JOB = "spec.template.spec.template.spec.containers.0."

# The tutorial's commands as they are recorded; some have two counterparts.
COUNTERPARTS = [
    Counterpart("gcloud config get-value project", "setup", "gcloud config get-value project"),
    Counterpart(
        "gcloud services enable",
        "setup",
        "gcloud services enable",
        (
            "run.googleapis.com",
            "sqladmin.googleapis.com",
            "compute.googleapis.com",
            "artifactregistry.googleapis.com",
            "servicenetworking.googleapis.com",
        ),
    ),
    Counterpart(
        "gcloud compute networks create --subnet-mode",
        "setup",
        "gcloud compute networks create prefect-network",
        ("--subnet-mode=custom",),
    ),
    Counterpart(
        "gcloud compute networks subnets create prefect-subnet --network --region --range --enable-private-ip-google-access",
        "setup",
        "gcloud compute networks subnets create prefect-subnet",
        ("--network=prefect-network", REGION, "--range=10.0.0.0/24", "--enable-private-ip-google-access"),
    ),
    Counterpart(
        "gcloud iam service-accounts create --display-name",
        "setup",
        "gcloud iam service-accounts create prefect-sa",
        ("--display-name=Prefect Database Service Account",),
    ),
    Counterpart(
        "gcloud projects add-iam-policy-binding --member --role=roles/cloudsql.instanceUser",
        "setup",
        f"gcloud projects add-iam-policy-binding {PROJECT}",
        (f"--member=serviceAccount:{ACCOUNT}", "--role=roles/cloudsql.instanceUser"),
    ),
    Counterpart(
        "gcloud beta sql instances create --database-version --tier --region"
        " --edition --enable-private-service-connect --allowed-psc-projects --availability-type --no-assign-ip --database-flags",
        "setup",
        "gcloud sql instances create prefect-db",
        (
            "--database-version=POSTGRES_18",
            "--tier=db-f1-micro",
            REGION,
            "--edition=ENTERPRISE",
            "--enable-private-service-connect",
            f"--allowed-psc-projects={PROJECT}",
            "--availability-type=ZONAL",
            "--no-assign-ip",
            "--database-flags=cloudsql.iam_authentication=on",
        ),
    ),
    Counterpart(
        "gcloud sql databases create --instance", "setup", "gcloud sql databases create prefect", (INSTANCE,)
    ),
    Counterpart(
        "gcloud sql users create --instance --type",
        "setup",
        f"gcloud sql users create {DATABASE_USER}",
        (INSTANCE, "--type=cloud_iam_service_account"),
    ),
    Counterpart(
        "gcloud sql instances describe --format",
        "setup",
        "gcloud sql instances describe prefect-db",
        ("--format=value(pscServiceAttachmentLink)",),
    ),
    Counterpart(
        "gcloud compute addresses create prefect-db-ip --region --subnet --addresses",
        "setup",
        "gcloud compute addresses create prefect-db-ip",
        (REGION, "--subnet=prefect-subnet", "--addresses=10.0.0.5"),
    ),
    Counterpart(
        "gcloud compute forwarding-rules create prefect-db-endpoint --region --network --address --target-service-attachment",
        "setup",
        "gcloud compute forwarding-rules create prefect-db-endpoint",
        (
            REGION,
            "--network=prefect-network",
            "--address=prefect-db-ip",
            "--target-service-attachment=projects/tenant/regions/us-central1/serviceAttachments/prefect-db",
        ),
    ),
    # An administrator of our own, whose password is on no command line; postgres keeps the password that it may have.
    Counterpart(
        "gcloud sql users set-password postgres --instance --password",
        "setup",
        "gcloud sql users create prefect-grants",
        (INSTANCE, "--type=BUILT_IN", "--flags-file=-"),
    ),
    Counterpart(
        "gcloud run jobs create grant-perms-job --image --region --network --subnet --vpc-egress --command --args",
        "setup",
        "gcloud run jobs replace -",
        (REGION,),
        (
            ("metadata.name", "prefect-grants"),
            ("spec.template.metadata.annotations.run=googleapis=com/network-interfaces", [NETWORK]),
            (
                "spec.template.metadata.annotations.run=googleapis=com/vpc-access-egress",
                "private-ranges-only",
            ),
            (JOB + "image", "postgres:18"),
            (JOB + "command.0", "/bin/sh"),
            (JOB + "env.PGHOST", "10.0.0.5"),
            (JOB + "env.PGDATABASE", "prefect"),
            (JOB + "env.IAM_USER", DATABASE_USER),
        ),
    ),
    Counterpart(
        "gcloud run jobs execute grant-perms-job --region --wait",
        "setup",
        "gcloud run jobs execute prefect-grants",
        (REGION, "--wait"),
    ),
    Counterpart(
        "gcloud sql users set-password postgres --instance --password=''",
        "setup",
        "gcloud sql users delete prefect-grants",
        (INSTANCE,),
    ),
    Counterpart(
        "gcloud artifacts repositories create --repository-format --location",
        "deploy",
        "gcloud artifacts repositories create prefect-repo",
        ("--repository-format=docker", "--location=us-central1"),
    ),
    Counterpart(
        "gcloud auth configure-docker", "deploy", "gcloud auth configure-docker us-central1-docker.pkg.dev"
    ),
    Counterpart(
        "docker build --platform -t .../prefect-custom-server:v1 prefect-server-image",
        "deploy",
        f"docker build --platform linux/amd64 --pull -f docker/server/Dockerfile -t {IMAGES}/prefect-server:v1 --build-arg COMMIT=",
    ),
    Counterpart(
        "docker push .../prefect-custom-server:v1", "deploy", f"docker push {IMAGES}/prefect-server:v1"
    ),
    Counterpart(
        "gcloud run deploy --image --region --service-account"
        " --network --subnet --vpc-egress --set-env-vars --allow-unauthenticated",
        "deploy",
        "gcloud run services replace -",
        (REGION,),
        (
            ("metadata.name", "prefect-server"),
            (SERVICE + "image", f"{IMAGES}/prefect-server@sha256:*"),
            ("spec.template.spec.serviceAccountName", ACCOUNT),
            ("spec.template.metadata.annotations.run=googleapis=com/network-interfaces", [NETWORK]),
            (
                "spec.template.metadata.annotations.run=googleapis=com/vpc-access-egress",
                "private-ranges-only",
            ),
            (SERVICE + "env.DB_USER", DATABASE_USER),
            (SERVICE + "env.DB_IP", "10.0.0.5"),
            (SERVICE + "env.DB_NAME", "prefect"),
            # --allow-unauthenticated, in a form that no organisation's policy on members refuses.
            ("metadata.annotations.run=googleapis=com/invoker-iam-disabled", "true"),
        ),
    ),
    Counterpart(
        "gcloud run services describe --region --format",
        "deploy",
        "gcloud run services describe prefect-server",
        (REGION, "--format=value(status.url)"),
    ),
    # The image has it: the UI finds the API beside it, under whatever URL (see the test below).
    Counterpart(
        "gcloud run services update --region --update-env-vars",
        "deploy",
        f"docker build --platform linux/amd64 --pull -f docker/server/Dockerfile -t {IMAGES}/prefect-server:v1 --build-arg COMMIT=",
    ),
    Counterpart(
        "docker build --platform -t .../prefect-worker:v1",
        "deploy",
        f"docker build --platform linux/amd64 --pull -f docker/worker/Dockerfile -t {IMAGES}/prefect-worker:v1 --build-arg COMMIT=",
    ),
    Counterpart("docker push .../prefect-worker:v1", "deploy", f"docker push {IMAGES}/prefect-worker:v1"),
    Counterpart(
        "gcloud alpha run worker-pools deploy --image --region"
        " --service-account --network --subnet --vpc-egress --set-env-vars",
        "deploy",
        "gcloud run worker-pools replace -",
        (),
        (
            ("metadata.name", "prefect-worker"),
            ("metadata.labels.cloud=googleapis=com/location", "us-central1"),
            (SERVICE + "image", f"{IMAGES}/prefect-worker@sha256:*"),
            ("spec.template.spec.serviceAccountName", WORKER_ACCOUNT),
            ("spec.template.metadata.annotations.run=googleapis=com/network-interfaces", [NETWORK]),
            (
                "spec.template.metadata.annotations.run=googleapis=com/vpc-access-egress",
                "private-ranges-only",
            ),
            (SERVICE + "env.PREFECT_API_URL", "https://prefect-server-abcdefghij-uc.a.run.app/api"),
        ),
    ),
    Counterpart(
        "gcloud alpha run worker-pools delete --region --quiet",
        "cleanup",
        "gcloud run worker-pools delete prefect-worker",
        (REGION,),
    ),
    Counterpart(
        "gcloud run services delete --region --quiet",
        "cleanup",
        "gcloud run services delete prefect-server",
        (REGION,),
    ),
    Counterpart(
        "gcloud run jobs delete grant-perms-job --region --quiet", "cleanup", "gcloud run jobs delete prefect-grants", (REGION,)
    ),
    Counterpart(
        "gcloud artifacts docker images delete .../prefect-worker --quiet",
        "cleanup",
        f"gcloud artifacts docker images delete {IMAGES}/prefect-worker",
    ),
    Counterpart(
        "gcloud artifacts docker images delete .../prefect-custom-server --quiet",
        "cleanup",
        f"gcloud artifacts docker images delete {IMAGES}/prefect-server",
    ),
    Counterpart(
        "gcloud artifacts repositories delete --location --quiet",
        "cleanup",
        "gcloud artifacts repositories delete prefect-repo",
        ("--location=us-central1",),
    ),
    Counterpart("gcloud sql instances delete --quiet", "cleanup", "gcloud sql instances delete prefect-db"),
    Counterpart(
        "gcloud compute forwarding-rules delete prefect-db-endpoint --region --quiet",
        "cleanup",
        "gcloud compute forwarding-rules delete prefect-db-endpoint",
        (REGION,),
    ),
    Counterpart(
        "gcloud compute addresses delete prefect-db-ip --region --quiet",
        "cleanup",
        "gcloud compute addresses delete prefect-db-ip",
        (REGION,),
    ),
    Counterpart(
        "gcloud compute networks subnets delete prefect-subnet --region --quiet",
        "cleanup",
        "gcloud compute networks subnets delete prefect-subnet",
        (REGION,),
    ),
    Counterpart(
        "gcloud compute networks delete --quiet", "cleanup", "gcloud compute networks delete prefect-network"
    ),
    Counterpart(
        "gcloud projects remove-iam-policy-binding --member --role=roles/cloudsql.instanceUser",
        "cleanup",
        f"gcloud projects remove-iam-policy-binding {PROJECT}",
        (f"--member=serviceAccount:{ACCOUNT}", "--role=roles/cloudsql.instanceUser"),
    ),
    Counterpart(
        "gcloud iam service-accounts delete --quiet", "cleanup", f"gcloud iam service-accounts delete {ACCOUNT}"
    ),
]


@dataclass(frozen=True)
class Ran:
    commands: dict[str, list[list[str]]]
    yaml: dict[str, Any]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """What each script ran, one after the other, and what was in its YAML."""
    cloud = GoogleCloud(tmp_path_factory.mktemp("tutorial"))
    # The tutorial takes the project from gcloud's configuration; this is the one script run that does too.
    unconfigured = GoogleCloud(tmp_path_factory.mktemp("unconfigured"))
    del unconfigured.environment["PROJECT_ID"]
    unconfigured.succeed("setup")
    commands, documents = {"setup": [unconfigured.commands[0]]}, {}
    cloud.environment["ACCESS"] = "public"
    for script, *options in (["setup"], ["deploy"], ["cleanup", "--yes"]):
        cloud.forget_commands()
        cloud.succeed(script, *options)
        commands.setdefault(script, []).extend(cloud.commands)
    for file, command in (
        ("grants-job.yaml", "gcloud run jobs replace -"),
        ("service.yaml", "gcloud run services replace -"),
        ("worker-pool.yaml", "gcloud run worker-pools replace -"),
    ):
        documents[command] = yaml.safe_load((cloud.home / "yaml" / yaml_kind(file)).read_text())
    return Ran(commands, documents)


def yaml_kind(file: str) -> str:
    return str(yaml.safe_load((SCRIPTS / file).read_text())["kind"])


# roles/cloudsql.client is the Auth Proxy's; a direct login does not need it.
NOT_NEEDED = [
    f"gcloud projects {verb}-iam-policy-binding --member --role=roles/cloudsql.client" for verb in ("add", "remove")
]


def test_no_command_of_the_tutorial_is_forgotten() -> None:
    recorded = json.loads((HERE / "tutorial_commands.json").read_text())["commands"]
    assert sorted(recorded) == sorted({counterpart.tutorial for counterpart in COUNTERPARTS} | set(NOT_NEEDED))


@pytest.mark.parametrize("counterpart", COUNTERPARTS, ids=str)
def test_a_command_of_the_tutorial_has_its_counterpart(counterpart: Counterpart, ran: Ran) -> None:
    candidates = [
        command
        for command in ran.commands[counterpart.script]
        if " ".join(command).startswith(counterpart.ours) and set(counterpart.words) <= set(command)
    ]
    assert candidates, "\n".join(" ".join(command) for command in ran.commands[counterpart.script])
    for path, wanted in counterpart.yaml:
        found = at(ran.yaml[counterpart.ours], path)
        if isinstance(wanted, str) and "*" in wanted:
            start, _, end = wanted.partition("*")
            assert found.startswith(start) and found.endswith(end), path
        else:
            assert found == wanted, path


def at(value: Any, path: str) -> Any:
    """`=` in a path is a dot within a key; a list of names and values is entered by name."""
    for key in path.split("."):
        key = key.replace("=", ".")
        if isinstance(value, list):
            value = (
                value[int(key)]
                if key.isdigit()
                else next(each["value"] for each in value if each["name"] == key)
            )
        else:
            value = value[key]
        if key.endswith("network-interfaces"):
            value = yaml.safe_load(value)
    return value


def test_the_scripts_run_no_command_that_is_neither_the_tutorials_nor_known(ran: Ran) -> None:
    """A new command needs an entry here: its purpose, and whether cleanup undoes it."""
    beyond_the_tutorial = (
        # Passwords; cleanup deletes the secrets.
        "gcloud secrets ",
        # The accounts of the worker and of the grants job, which have no rights of the server's; cleanup deletes them.
        "gcloud iam service-accounts create prefect-worker",
        "gcloud iam service-accounts create prefect-grants",
        f"gcloud iam service-accounts delete prefect-worker@{PROJECT}",
        f"gcloud iam service-accounts delete prefect-grants@{PROJECT}",
        # What a verification that was killed may leave.
        "gcloud run jobs delete prefect-verify",
        "gcloud services list",
        "gcloud version",
    )
    for commands in ran.commands.values():
        for command in commands:
            text = " ".join(command)
            is_question = " describe " in text
            of_tutorial = any(text.startswith(counterpart.ours) for counterpart in COUNTERPARTS)
            assert of_tutorial or is_question or text.startswith(beyond_the_tutorial), text


def test_the_ui_needs_no_second_deployment_to_find_the_api() -> None:
    """Nor does Prefect need one for its links: the address of a service is known before it is there."""
    repository = Path(__file__).resolve().parents[2]
    assert "PREFECT_SERVER_UI_API_URL=/api" in (repository / "docker/server/Dockerfile").read_text()
    assert "API_URL" not in (SCRIPTS / "service.yaml").read_text()


def test_links_in_notifications_have_the_services_address(ran: Ran) -> None:
    """https://SERVICE-NUMBER.REGION.run.app is a service's address
    (docs.cloud.google.com/run/docs/triggering/https-request)."""
    found = at(ran.yaml["gcloud run services replace -"], SERVICE + "env.PREFECT_UI_URL")
    assert found == "https://prefect-server-123456789012.us-central1.run.app"
