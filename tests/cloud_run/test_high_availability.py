"""SCALE=ha: Redis, several API servers, a process for the background services, and a migration before the traffic. All of
it is run against the stand-in for Google Cloud."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import RedisSSLContext, SSLConnection, parse_url

from gcloud_texts import EXECUTION_FAILED, QUOTA
from google_cloud import PROJECT, SCRIPTS, GoogleCloud, Prepare
from prefect_answers import RUN, Prefect
from shown_commands import shown_commands
from supervisor import wait_until

HA = {"SCALE": "ha", "DB_TIER": "db-custom-1-3840"}
SERVER, WORKER, GRANTS = (f"prefect-{name}@{PROJECT}.iam.gserviceaccount.com" for name in ("sa", "worker", "grants"))
OF_HA = {
    "pool prefect-services",
    "job prefect-migrate",
    "redis prefect-redis",
    "secret prefect-redis-url",
    "secret prefect-redis-ca",
}


def variables_of(resource: Any) -> dict[str, Any]:
    template = resource["spec"]["template"]
    (container,) = (template["spec"]["template"] if resource["kind"] == "Job" else template)["spec"]["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def role_of(resource: Any) -> str | None:
    return variables_of(resource).get("PREFECT_ROLE")


def position(cloud: GoogleCloud, command: str) -> int:
    """Of the only command that begins so."""
    (found,) = [number for number, words in enumerate(cloud.commands) if " ".join(words).startswith(command)]
    return found


# From nothing to nothing


def test_it_is_made_deployed_twice_verified_and_removed(cloud: GoogleCloud, prefect: Prefect) -> None:
    cloud.environment |= HA
    cloud.succeed("setup")
    assert not cloud.leftovers
    for number in (1, 2):
        cloud.succeed("deploy")
        service, services = cloud.state["service prefect-server"], cloud.state["pool prefect-services"]
        assert (role_of(service), role_of(services), role_of(cloud.state["job prefect-migrate"])) == (
            *("api", "services"),
            "migrate",
        )
        annotations = service["metadata"]["annotations"]
        assert (annotations["run.googleapis.com/minScale"], annotations["run.googleapis.com/maxScale"]) == ("2", "3")
        assert services["metadata"]["annotations"]["run.googleapis.com/manualInstanceCount"] == "1"
        assert cloud.revisions == {"service prefect-server": number, "pool prefect-services": number, "pool prefect-worker": number}
        deployed_at = service["spec"]["template"]["metadata"]["annotations"]["prefect-supervisor/deployed-at"]
        wait_until(lambda: now() != deployed_at, "the next second")
    assert OF_HA <= set(cloud.state)
    prefect.password = (cloud.home / "secrets/prefect-auth").read_text()
    prefect.answers["POST /api/events/filter"] = {"events": [{"resource": {"id": f"prefect.flow-run.{RUN}"}}], "total": 1}
    result = cloud.succeed("verify", STAND_IN_SERVICE_URL=prefect.url)
    assert "came through Redis and the background services" in result.stderr
    assert result.stderr.endswith("verify: all is well\n")
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}


def now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_events_that_do_not_arrive_fail_the_verification(cloud: GoogleCloud, prefect: Prefect) -> None:
    """The servers answer and the flow runs, but nobody writes events into the database: no services process, or no Redis."""
    prefect.answers["POST /api/events/filter"] = {"events": [], "total": 0, "next_page": None}
    # The run is at its end when it is first asked for.
    prefect.asked = len(prefect.states)
    result = cloud.script("verify", SERVER_URL=prefect.url, SCALE="ha", VERIFY_TIMEOUT="0")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert 'step "6 Background services"' in last and "prefect-services" in last and "prefect-redis" in last
    # A single server has no such process, and is not asked.
    cloud.succeed("verify", SERVER_URL=prefect.url)
    assert prefect.questions[-1] == f"GET /api/flow_run_states/?flow_run_id={RUN}"


@pytest.mark.parametrize("script", ["setup", "deploy", "cleanup"])
def test_a_dry_run_of_it_can_be_pasted_into_a_shell_and_does_the_same_there(script: str, prepare: Prepare) -> None:
    settings = HA | {"DB_SSL": "verify-ca"}
    cloud, pasted = prepare(script, **settings), prepare(script, **settings)
    dry = cloud.succeed(script, "--dry-run")
    assert cloud.commands == []
    assert subprocess.run(["bash", "-n"], input=dry.stdout, text=True, capture_output=True).stderr == ""
    subprocess.run(["bash"], input=dry.stdout, env=pasted.environment, text=True, capture_output=True, timeout=600)
    cloud.succeed(script, *(["--yes"] if script == "cleanup" else []))
    own = [words for words in cloud.commands if words[:2] != ["gcloud", "version"]]
    assert pasted.commands == own and len(own) > 10
    assert without_what_differs(pasted.state) == without_what_differs(cloud.state)


def without_what_differs(state: dict[str, Any]) -> Any:
    return json.loads(re.sub(r"20\d\d-\d\d-\d\dT[\d:]+Z", "TIME", json.dumps(state)))


@pytest.mark.parametrize("script", ["setup", "deploy"])
def test_a_second_run_of_it_changes_nothing(script: str, prepare: Prepare) -> None:
    cloud = prepare(script, **HA)
    cloud.succeed(script)
    first = cloud.state
    cloud.forget_commands()
    cloud.succeed(script)
    assert without_what_differs(cloud.state) == without_what_differs(first)
    made = [" ".join(words) for words in cloud.commands if "create" in words or words[1:4] == ["secrets", "versions", "add"]]
    assert all(" prefect-grants" in command for command in made)


# Redis


def test_redis_is_in_the_servers_network_encrypted_and_asks_for_its_password(prepare: Prepare) -> None:
    cloud = prepare("setup", **HA)
    cloud.succeed("setup")
    redis = cloud.state["redis prefect-redis"]
    assert redis["network"] == cloud.environment.get("PSC_NETWORK_NAME", "prefect-network")
    assert (redis["transit-encryption-mode"], redis["enable-auth"]) == ("server-authentication", True)
    assert (redis["tier"], redis["size"], redis["redis-config"]) == ("standard", "1", "maxmemory-policy=noeviction")
    assert "redis.googleapis.com" in cloud.apis
    bigger = prepare("setup", **HA, REDIS_TIER="basic", REDIS_SIZE="5", REDIS_INSTANCE="our-redis")
    bigger.succeed("setup")
    assert {key: bigger.state["redis our-redis"][key] for key in ("tier", "size")} == {"tier": "basic", "size": "5"}


def test_its_password_is_in_a_secret_alone(prepare: Prepare) -> None:
    """In no output, no command line, no manifest, and not in gcloud's own log file."""
    cloud = prepare("setup", **HA)
    results = [cloud.succeed(script, STAND_IN_WATCH_PROCESSES="1") for script in ("setup", "deploy")]
    url = (cloud.home / "secrets/prefect-redis-url").read_text()
    password = re.fullmatch(r"rediss://:([0-9a-f-]{36})@10\.37\.64\.3:6378/0\?.*", url)
    assert password
    texts = [result.stdout + result.stderr for result in results]
    texts += cloud.texts_outside_secrets
    assert not any(password[1] in text for text in texts)
    assert "prefect-redis-url" in (cloud.home / "processes").read_text()
    for thing in ("service prefect-server", "pool prefect-services"):
        variables = variables_of(cloud.state[thing])
        assert variables["PREFECT_REDIS_MESSAGING_URL"] == {"secretKeyRef": {"name": "prefect-redis-url", "key": "latest"}}
    # The job needs the database alone, and the worker the API alone.
    for thing in ("job prefect-migrate", "pool prefect-worker"):
        assert "redis" not in json.dumps(cloud.state[thing])


def test_only_the_servers_account_can_read_it(prepare: Prepare) -> None:
    cloud = prepare("deploy", **HA)
    readers = {thing for thing in cloud.state if thing.startswith("secret prefect-redis-") and "/" in thing}
    role = "roles/secretmanager.secretAccessor"
    assert readers == {f"secret prefect-redis-{name}/serviceAccount:{SERVER} {role}" for name in ("url", "ca")}


def certificates(folder: Path) -> None:
    """A CA, and a server's certificate as Memorystore's: its address is its name (CN), and in no other place."""
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=instance -days 30",
        "req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -subj /CN=other -days 30",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 30",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


def test_prefects_client_of_redis_takes_the_certificate_of_the_instances_ca_and_no_other(
    prepare: Prepare, tmp_path: Path
) -> None:
    """The URL is read by redis-py, and its TLS is used: against a server with such a certificate."""
    cloud = prepare("setup", **HA)
    cloud.succeed("setup")
    url = (cloud.home / "secrets/prefect-redis-url").read_text()
    options: dict[str, Any] = dict(parse_url(url))
    assert options.pop("connection_class") is SSLConnection
    assert (options["host"], options["port"], options["db"]) == ("10.37.64.3", 6378, 0)
    assert "username" not in options and len(options["password"]) == 36
    assert options["ssl_ca_certs"] == "/etc/redis-ca/server-ca.pem"
    certificates(tmp_path)
    for authority, fits in (("ca.pem", True), ("other.pem", False)):
        connection = SSLConnection(
            ssl_ca_certs=str(tmp_path / authority), ssl_check_hostname=options["ssl_check_hostname"]
        )
        assert tls_succeeds(connection.ssl_context, tmp_path) == fits


def tls_succeeds(client: RedisSSLContext, folder: Path) -> bool:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(there, server_side=True).close()
        except OSError:
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.get().wrap_socket(here, server_hostname="127.0.0.1").close()
        return True
    except ssl.SSLCertVerificationError:
        return False
    finally:
        here.close()
        thread.join()


def test_the_mounted_ca_is_where_the_url_says(prepare: Prepare) -> None:
    cloud = prepare("cleanup", **HA, DB_SSL="verify-ca")
    for thing in ("service prefect-server", "pool prefect-services"):
        spec = cloud.state[thing]["spec"]["template"]["spec"]
        mounts = {each["name"]: each["mountPath"] for each in spec["containers"][0]["volumeMounts"]}
        assert mounts == {"db-ca": "/etc/db-ca", "redis-ca": "/etc/redis-ca"}
        secrets = {each["name"]: each["secret"] for each in spec["volumes"]}
        assert secrets["redis-ca"]["secretName"] == "prefect-redis-ca"
        assert secrets["redis-ca"]["items"] == [{"key": "latest", "path": "server-ca.pem"}]
    job = cloud.state["job prefect-migrate"]["spec"]["template"]["spec"]["template"]["spec"]
    assert [each["name"] for each in job["volumes"]] == ["db-ca"]
    assert "BEGIN CERTIFICATE" in (cloud.home / "secrets/prefect-redis-ca").read_text()


def test_another_redis_of_that_name_gets_into_the_secret_and_the_same_one_makes_no_version(prepare: Prepare) -> None:
    cloud = prepare("deploy", **HA)
    first = (cloud.home / "secrets/prefect-redis-url").read_text()
    cloud.succeed("setup")
    assert cloud.state["secret prefect-redis-url"] == {"versions": 1}
    cloud.gcloud("redis", "instances", "delete", "prefect-redis", "--region=us-central1")
    cloud.succeed("setup")
    assert cloud.state["secret prefect-redis-url"] == {"versions": 2}
    assert (cloud.home / "secrets/prefect-redis-url").read_text() != first


def test_what_it_costs_is_named_before_it_is_made(prepare: Prepare) -> None:
    cloud = prepare("setup", **HA)
    result = cloud.script("setup", STAND_IN_FAIL="each gcloud redis instances create")
    assert result.returncode != 0
    lines = result.stderr.splitlines()
    (cost,) = [number for number, line in enumerate(lines) if "Redis prefect-redis (standard, 1 GB) is billed by the hour" in line]
    assert "docs/google-cloud-ha.md" in lines[cost]
    assert cost < next(number for number, line in enumerate(lines) if "failed in step" in line)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"STAND_IN_REDIS_STATE": "CREATING"}, "Redis prefect-redis is CREATING, not READY"),
        ({"STAND_IN_REDIS_STATE": "MAINTENANCE"}, "Redis prefect-redis is MAINTENANCE, not READY"),
    ],
)
@pytest.mark.parametrize("script", ["setup", "deploy"])
def test_redis_that_is_not_ready_is_waited_for_by_the_user(
    script: str, settings: dict[str, str], says: str, prepare: Prepare
) -> None:
    cloud = prepare(script, **HA)
    result = cloud.script(script, **settings)
    assert result.returncode == 1 and says in result.stderr
    assert "service prefect-server" not in cloud.state
    cloud.succeed(script)


def test_redis_without_encryption_is_refused(prepare: Prepare) -> None:
    cloud = prepare("setup", **HA)
    cloud.script("setup", STAND_IN_FAIL="each gcloud redis instances create")
    cloud.gcloud("redis", "instances", "create", "prefect-redis", "--region=us-central1", "--network=prefect-network")
    result = cloud.script("setup")
    assert result.returncode == 1 and "has no encryption" in result.stderr
    assert "secret prefect-redis-url" not in cloud.state


def test_a_shared_network_is_reached_by_private_services_access() -> None:
    settings = {
        "NETWORK": "existing",
        "NETWORK_PROJECT": "network-project",
        "PSC_NETWORK_NAME": "shared",
        "SUBNET": "shared-subnet",
        "DB_IP": "10.8.0.9",
    }
    (create,) = [each for each in dry("setup", **settings) if "redis instances create" in str(each)]
    assert "--connect-mode=private-service-access" in create.words
    assert "--network=projects/network-project/global/networks/shared" in create.words


def dry(script: str, *options: str, **settings: str) -> list[Any]:
    result = dry_run(script, *options, **settings)
    assert result.returncode == 0, result.stderr
    return shown_commands(result.stdout)


def dry_run(script: str, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPTS / script), "--dry-run", *options],
        env={"PATH": "/usr/bin:/bin", "PROJECT_ID": PROJECT} | HA | settings,
        capture_output=True,
        text=True,
    )


# The connections of the database

POOL = "SERVER_ENV_PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE"
OVERFLOW = "SERVER_ENV_PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW"


@pytest.mark.parametrize("script", ["setup", "deploy"])
def test_the_sum_of_all_connections_is_shown_as_a_table(script: str) -> None:
    """A process has its pool, its overflow and two more (tests/system/test_prefect_connections.py)."""
    result = dry_run(script)
    table = [" ".join(line.removeprefix(f"{script}:").split()) for line in result.stderr.splitlines()]
    assert table == [
        "database connections of prefect with SCALE=ha, while a new revision takes the place of another:",
        "API servers, up to 3 in each of two revisions 6 x 7 42",
        "services process, in each of two revisions 2 x 7 14",
        "migration job 1 x 7 7",
        "kept by Cloud SQL for its administrators 6",
        "together 69",
        "allowed by DB_TIER=db-custom-1-3840 100",
    ]


def allowed_by(tier: str, **settings: str) -> str:
    edition = {"DB_EDITION": "ENTERPRISE_PLUS"} if "perf-optimized" in tier else {}
    result = dry_run("setup", DB_TIER=tier, **edition, **settings)
    (line,) = [line for line in result.stderr.splitlines() if "allowed by" in line]
    return line.split()[-1]


# docs.cloud.google.com/sql/docs/postgres/flags: 25 with the least memory, 50 with 1.7 GB, 100 from 3.75 GB, 200 from 6,
# 400 from 7.5, 500 from 15, 600 from 30, 800 from 60, and 1000 from 120 GB. At the limits themselves the scripts take the
# lower number.
@pytest.mark.parametrize(
    ("tier", "allowed"),
    [
        *(("db-f1-micro", "25"), ("db-g1-small", "50"), ("db-custom-1-3840", "100"), ("db-custom-2-6144", "100")),
        *(("db-custom-2-6400", "200"), ("db-custom-2-7680", "200"), ("db-custom-2-8192", "400")),
        *(("db-custom-4-15360", "400"), ("db-custom-4-16384", "500"), ("db-custom-8-32768", "600")),
        *(("db-custom-16-65536", "800"), ("db-custom-32-131072", "1000"), ("db-perf-optimized-N-2", "500")),
        *(("db-perf-optimized-N-4", "600"), ("db-perf-optimized-N-32", "1000"), ("db-c4a-highmem-4", "?")),
    ],
)
def test_a_tier_allows_what_its_memory_allows(tier: str, allowed: str) -> None:
    assert allowed_by(tier) == allowed


@pytest.mark.parametrize("script", ["setup", "deploy"])
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"DB_TIER": "db-f1-micro"}, "needs 69 database connections, and DB_TIER=db-f1-micro allows 25"),
        ({"DB_TIER": "db-g1-small"}, "allows 50: take a larger tier (such as db-custom-1-3840), or fewer API_MAX"),
        ({"API_MAX_INSTANCES": "10"}, "needs 167 database connections, and DB_TIER=db-custom-1-3840 allows 100"),
        ({POOL: "10", OVERFLOW: "5"}, "needs 159 database connections"),
        ({"DB_MAX_CONNECTIONS": "60"}, "needs 69 database connections, and DB_MAX_CONNECTIONS=60 allows 60"),
        ({"DB_TIER": "db-c4a-highmem-4"}, "how many DB_TIER=db-c4a-highmem-4 allows is not known here"),
        ({OVERFLOW: "-1"}, "MAX_OVERFLOW is '-1'; with SCALE=ha it is a number such as 5"),
        ({POOL: "many"}, "POOL_SIZE is 'many'; with SCALE=ha it is a number"),
    ],
)
def test_too_many_connections_are_refused_before_anything_is_made(
    script: str, settings: dict[str, str], why: str, cloud: GoogleCloud
) -> None:
    result = cloud.script(script, **HA | settings)
    assert (result.returncode, result.stdout, cloud.commands) == (2, "", [])
    (line,) = [line for line in result.stderr.splitlines() if line.startswith(f"{script}: error: ")]
    assert why in line


def test_what_fits_is_made_and_a_limit_of_its_own_is_the_instances_flag(cloud: GoogleCloud) -> None:
    cloud.environment |= HA | {"DB_TIER": "db-c4a-highmem-4", "DB_MAX_CONNECTIONS": "69"}
    cloud.succeed("setup")
    flags = cloud.state["instance prefect-db"]["database-flags"]
    assert flags == "cloudsql.iam_authentication=on,max_connections=69"
    # That of the instance counts from then on.
    cloud.succeed("deploy")
    result = cloud.script("deploy", API_MAX_INSTANCES="4", DB_MAX_CONNECTIONS="200")
    assert result.returncode == 1
    assert "needs 83 database connections, and prefect-db, by its flag max_connections, allows 69" in result.stderr


@pytest.mark.parametrize("script", ["setup", "deploy"])
def test_an_instance_that_is_there_counts_as_it_is(script: str, prepare: Prepare) -> None:
    """It was made for SCALE=single, and setup changes no instance; DB_TIER says what the user would like."""
    cloud = prepare("deploy")
    before = cloud.state
    cloud.gcloud("services", "enable", "redis.googleapis.com")
    result = cloud.script(script, **HA)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert "prefect-db, whose tier is db-f1-micro, allows 25" in last and "gcloud sql instances patch prefect-db" in last
    assert last.endswith("Nothing was done")
    assert cloud.state == before


def test_an_existing_instance_counts_by_its_own_tier_and_flag(cloud: GoogleCloud) -> None:
    region = "--region=us-central1"
    cloud.gcloud("services", "enable", "sqladmin.googleapis.com")
    flags = ("--database-version=POSTGRES_18", "--tier=db-g1-small", "--edition=ENTERPRISE", region, "--no-assign-ip")
    login = "cloudsql.iam_authentication=on"
    cloud.gcloud("sql", "instances", "create", "small", *flags, f"--database-flags={login}")
    cloud.gcloud("sql", "instances", "create", "tuned", *flags, f"--database-flags=max_connections=100,{login}")
    cloud.environment |= {"SCALE": "ha", "DB_INSTANCE": "existing", "DB_NAME": "prefect"}
    result = cloud.script("setup", DB_INSTANCE_NAME="small")
    assert result.returncode == 1 and "small, whose tier is db-g1-small, allows 50" in result.stderr
    result = cloud.succeed("setup", DB_INSTANCE_NAME="tuned")
    assert re.search(r"allowed by tuned, by its flag max_connections +100\n", result.stderr)


# The migration


def test_the_migration_is_over_before_the_servers_and_the_services_process_change(prepare: Prepare) -> None:
    cloud = prepare("deploy", **HA)
    cloud.succeed("deploy")
    order = [
        *("gcloud run jobs replace -", "gcloud run jobs execute prefect-migrate --region=us-central1 --wait"),
        "gcloud run services replace -",
    ]
    positions = [position(cloud, command) for command in order]
    pools = [number for number, words in enumerate(cloud.commands) if words[1:4] == ["run", "worker-pools", "replace"]]
    assert [*positions, *pools] == sorted([*positions, *pools]) and len(pools) == 2
    images = {image_of(cloud.state[each]) for each in ("service prefect-server", "pool prefect-services", "job prefect-migrate")}
    assert len(images) == 1


def image_of(resource: Any) -> str:
    template = resource["spec"]["template"]
    (container,) = (template["spec"]["template"] if resource["kind"] == "Job" else template)["spec"]["containers"]
    return str(container["image"])


def test_a_migration_that_fails_moves_no_traffic_and_says_so(prepare: Prepare) -> None:
    cloud = prepare("cleanup", **HA)
    before = cloud.state
    fails = f"each-{EXECUTION_FAILED} gcloud run jobs execute prefect-migrate"
    result = cloud.script("deploy", STAND_IN_FAIL=fails, IMAGE_TAG="v2")
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if "failed in step" in line]
    assert line.startswith('deploy: failed in step "3.5.1 Migration": gcloud run jobs execute prefect-migrate')
    assert "The execution failed." in line and "No traffic was moved: what served before serves on." in line
    assert "resource.labels.job_name=prefect-migrate" in line
    for thing in ("service prefect-server", "pool prefect-services", "pool prefect-worker"):
        assert cloud.state[thing] == before[thing]
    assert not any("replace" in words and "jobs" not in words for words in cloud.commands)
    cloud.succeed("deploy", IMAGE_TAG="v2")
    assert image_of(cloud.state["service prefect-server"]) != image_of(before["service prefect-server"])


# What fails


def test_a_quota_that_is_used_up_is_called_that(prepare: Prepare) -> None:
    cloud = prepare("setup", **HA)
    result = cloud.script("setup", STAND_IN_FAIL=f"each-{QUOTA} gcloud redis instances create")
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if "failed in step" in line]
    assert line.startswith('setup: failed in step "2.6.1 Redis": gcloud redis instances create prefect-redis')
    assert "A quota is used up" in line and "redis.admin" in line
    assert "redis prefect-redis" not in cloud.state and not cloud.leftovers
    # Cloud SQL and the network are made by then, and are used by the next run.
    cloud.succeed("setup")
    assert "redis prefect-redis" in cloud.state


def test_the_api_of_redis_that_is_off_is_named_by_deploy(prepare: Prepare) -> None:
    cloud = prepare("deploy", DB_TIER=HA["DB_TIER"])
    result = cloud.script("deploy", SCALE="ha")
    assert result.returncode == 1
    assert "switched off in my-cloud-project: redis.googleapis.com. Run setup first" in result.stderr


def test_the_api_of_redis_that_was_just_switched_on_is_waited_for(cloud: GoogleCloud) -> None:
    cloud.environment |= HA | {"STAND_IN_API_DELAY": "45", "STAND_IN_IAM_DELAY": "5"}
    result = cloud.succeed("setup")
    assert "this may pass (api-off)" in result.stderr
    cloud.succeed("deploy")
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}


def test_a_cleanup_that_cannot_delete_redis_says_that_it_is_billed(prepare: Prepare) -> None:
    cloud = prepare("cleanup", **HA)
    result = cloud.script("cleanup", "--yes", STAND_IN_FAIL="kept gcloud redis instances delete")
    assert result.returncode != 0
    assert "Redis prefect-redis (standard, 1 GB) is billed by the hour, used or not, until it is deleted" in result.stderr
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}


def test_a_network_is_not_deleted_before_redis(prepare: Prepare) -> None:
    cloud = prepare("cleanup", **HA)
    cloud.succeed("cleanup", "--yes")
    assert position(cloud, "gcloud redis instances delete") < position(cloud, "gcloud compute networks delete")


# Two environments, and from one way to the other


def objects(commands: list[Any]) -> set[tuple[str, str]]:
    """What is made or deleted by name; a database's name counts within its instance."""
    found = set()
    for shown in commands:
        words = shown.words
        for verb in ("create", "delete", "replace"):
            if verb in words and "databases" not in words:
                name = words[words.index(verb) + 1]
                if verb == "replace":
                    name = re.search(r"^  name: (\S+)$", shown.yaml, re.MULTILINE)[1]  # type: ignore[index]
                found.add((" ".join(words[: words.index(verb)]), name))
    return found


def test_two_environments_share_nothing_of_it() -> None:
    made, deleted = {}, {}
    for name in ("prefect", "staging"):
        made[name] = objects(dry("setup", NAME=name) + dry("deploy", NAME=name))
        deleted[name] = objects(dry("cleanup", NAME=name))
        of_ha = {each for each in made[name] if re.search("redis|services$|migrate", each[1])}
        assert len(of_ha) == 5 and of_ha <= deleted[name]
        assert all(each[1].startswith(f"{name}-") for each in of_ha)
    assert not made["prefect"] & made["staging"]
    assert not deleted["prefect"] & made["staging"]


def test_from_single_to_ha_and_back(prepare: Prepare) -> None:
    cloud = prepare("cleanup", DB_TIER=HA["DB_TIER"])
    database = cloud.state["instance prefect-db"]
    assert role_of(cloud.state["service prefect-server"]) is None

    # To ha: first what it needs, then the servers.
    cloud.succeed("setup", SCALE="ha")
    cloud.succeed("deploy", SCALE="ha")
    assert OF_HA <= set(cloud.state)
    assert role_of(cloud.state["service prefect-server"]) == "api"

    # Redis is not deleted while servers use it.
    for scale, why in (("ha", "SCALE=ha uses Redis"), ("single", "still runs with SCALE=ha and uses Redis")):
        result = cloud.script("cleanup", "--redis", "--yes", SCALE=scale)
        assert result.returncode == 1 and why in result.stderr
    assert OF_HA <= set(cloud.state)

    # Back: the process that schedules goes before the single server comes, which schedules for itself.
    cloud.forget_commands()
    result = cloud.succeed("deploy")
    assert position(cloud, "gcloud run worker-pools delete prefect-services") < position(cloud, "gcloud run services replace")
    service = cloud.state["service prefect-server"]
    assert role_of(service) is None and "redis" not in json.dumps(service)
    assert service["metadata"]["annotations"]["run.googleapis.com/maxScale"] == "1"
    assert "WARNING: Redis prefect-redis" in result.stderr and "cleanup --redis deletes it" in result.stderr
    assert "redis prefect-redis" in cloud.state

    cloud.succeed("cleanup", "--redis", "--yes")
    assert not any("redis" in thing or "services" in thing for thing in cloud.state)
    assert cloud.state["instance prefect-db"] == database and "service prefect-server" in cloud.state
    result = cloud.succeed("deploy")
    assert "WARNING" not in result.stderr

    # And to ha again, with another Redis.
    cloud.succeed("setup", SCALE="ha")
    cloud.succeed("deploy", SCALE="ha")
    assert OF_HA <= set(cloud.state)
    # A cleanup with SCALE=single finds all the same what ha had made.
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}


@pytest.mark.thorough("the way back is a run with other settings, whose dry run the tests beside this one paste")
@pytest.mark.parametrize(("script", "options"), [("deploy", []), ("cleanup", []), ("cleanup", ["--redis"])])
def test_a_dry_run_of_the_way_back_can_be_pasted_too(script: str, options: list[str], prepare: Prepare) -> None:
    """What SCALE=single deletes of ha, it deletes only where the API of Redis is on, which the shell asks as well."""
    cloud, pasted = prepare("cleanup", **HA), prepare("cleanup", **HA)
    for each in (cloud, pasted):
        each.environment["SCALE"] = "single"
        if "--redis" in options:
            each.succeed("deploy")
            each.forget_commands()
    text = cloud.succeed(script, *options, "--dry-run").stdout
    assert cloud.commands == []
    subprocess.run(["bash"], input=text, env=pasted.environment, text=True, capture_output=True, timeout=600)
    cloud.succeed(script, *options, *(["--yes"] if script == "cleanup" else []))
    own = [words for words in cloud.commands if words[:2] != ["gcloud", "version"]]
    assert pasted.commands == own
    assert without_what_differs(pasted.state) == without_what_differs(cloud.state)
    assert "pool prefect-services" not in cloud.state


def test_single_alone_runs_no_command_of_ha(prepare: Prepare) -> None:
    for script in ("setup", "deploy", "cleanup"):
        cloud = prepare(script)
        result = cloud.succeed(script, *(["--yes"] if script == "cleanup" else []))
        text = "\n".join(" ".join(words) for words in cloud.commands)
        assert not re.search("redis|prefect-services|migrate", text + result.stdout), script
        assert "database connections" not in result.stderr


@pytest.mark.parametrize(("answer", "deleted"), [("no", False), ("yes", True)])
def test_at_a_terminal_redis_is_deleted_after_a_question(answer: str, deleted: bool, prepare: Prepare) -> None:
    cloud = prepare("cleanup", DB_TIER=HA["DB_TIER"])
    cloud.succeed("setup", SCALE="ha")
    assert cloud.script("cleanup", "--redis").returncode == 1
    terminal, side = os.openpty()
    try:
        os.write(terminal, f"{answer}\n".encode())
        environment = cloud.environment
        result = subprocess.run(
            [str(SCRIPTS / "cleanup"), "--redis"], env=environment, stdin=side, capture_output=True, text=True, timeout=600
        )
    finally:
        os.close(terminal)
        os.close(side)
    assert (result.returncode == 0) == deleted
    assert ("redis prefect-redis" not in cloud.state) == deleted
    assert "instance prefect-db" in cloud.state


ANOTHER_COMMAND = pytest.mark.thorough("another command of the same script")


@pytest.mark.parametrize(
    ("script", "order"),
    [
        ("setup", "lost gcloud redis instances create"),
        pytest.param("setup", "lost gcloud secrets create prefect-redis-url", marks=ANOTHER_COMMAND),
        pytest.param("setup", "lost gcloud secrets versions add prefect-redis-url", marks=ANOTHER_COMMAND),
        pytest.param("setup", "lost gcloud secrets versions add prefect-redis-ca", marks=ANOTHER_COMMAND),
        pytest.param("setup", "lost gcloud secrets add-iam-policy-binding prefect-redis-ca", marks=ANOTHER_COMMAND),
        pytest.param("deploy", "lost gcloud run jobs replace", marks=ANOTHER_COMMAND),
        ("deploy", "lost gcloud run jobs execute prefect-migrate"),
        pytest.param("deploy", "lost gcloud run services replace", marks=ANOTHER_COMMAND),
        pytest.param("deploy", "lost gcloud run worker-pools replace", marks=ANOTHER_COMMAND),
        pytest.param("cleanup", "each gcloud run worker-pools delete prefect-services", marks=ANOTHER_COMMAND),
        ("cleanup", "each gcloud secrets delete prefect-redis-url"),
        pytest.param("cleanup", "lost gcloud redis instances delete", marks=ANOTHER_COMMAND),
    ],
)
def test_wherever_it_is_stopped_in_what_is_of_ha_the_next_run_completes_it(
    script: str, order: str, prepare: Prepare
) -> None:
    options = ["--yes"] if script == "cleanup" else []
    cloud = prepare(script, **HA)
    # What is there when the next script is the next one to run.
    whole = {} if script == "cleanup" else prepare({"setup": "deploy", "deploy": "verify"}[script], **HA).state
    result = cloud.script(script, *options, PATIENCE="0", STAND_IN_FAIL=order)
    assert result.returncode != 0 and f"Then run {script} again: it goes on from there." in result.stderr
    assert not cloud.leftovers
    cloud.succeed(script, *options)
    assert without_what_differs(cloud.state) == without_what_differs(whole)
