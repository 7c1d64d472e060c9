"""Settings: where they come from, what is allowed, and that two environments share nothing. No gcloud is run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from google_cloud import LIMIT, PROJECT, SCRIPTS, GoogleCloud
from shown_commands import Shown, shown_commands

NAMES = ("setup", "deploy", "verify", "cleanup")


class Scripts:
    """They are run without gcloud, and only with the settings that are given here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, script: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPTS / script), *options],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder)} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    def file(self, text: str, name: str = "settings") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def dry(self, script: str, **settings: str) -> str:
        result = self.run(script, "--dry-run", PROJECT_ID=PROJECT, **settings)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def refused(self, script: str, *options: str, **environment: str) -> list[str]:
        result = self.run(script, *options, **environment)
        assert (result.returncode, result.stdout) == (2, "")
        start = f"{script}: error: "
        lines = result.stderr.splitlines()
        assert lines and all(line.startswith(start) for line in lines), result.stderr
        return [line.removeprefix(start) for line in lines]


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


# Where a value comes from


@pytest.mark.parametrize("script", NAMES)
@pytest.mark.parametrize("form", ["--settings {}", "--settings={}"])
def test_every_script_reads_a_settings_file(script: str, form: str, scripts: Scripts) -> None:
    file = scripts.file(f"# ours\n\nPROJECT_ID={PROJECT}\n  NAME='staging'\nREGION=\"europe-west1\"\n")
    result = scripts.run(script, "--dry-run", *form.format(file).split())
    assert result.returncode == 0, result.stderr
    assert "staging-server" in result.stdout or script == "setup"
    assert "europe-west1" in result.stdout and "us-central1" not in result.stdout


def test_a_value_is_taken_literally_and_nothing_of_the_file_is_run(scripts: Scripts) -> None:
    value = """ it's "$(touch made)" `touch made` ${NAME} \\n # no comment """
    file = scripts.file(f"PROJECT_ID={PROJECT}\nSERVER_ENV_X={value}\nSERVER_ENV_Y=\"'quoted'\"\n")
    result = scripts.run("deploy", "--dry-run", "--settings", file)
    assert result.returncode == 0, result.stderr
    # What is printed is the text for a shell, whose heredoc has its own characters escaped.
    (service,) = [shown.yaml for shown in shown_commands(result.stdout) if "services replace" in str(shown)]
    expanded = subprocess.run(["bash", "-c", f"cat <<YAML\n{service}\nYAML"], capture_output=True, text=True).stdout
    assert variables(yaml.safe_load(expanded)) >= {("X", value), ("Y", "'quoted'")}
    assert not (Path.cwd() / "made").exists() and not (scripts.folder / "made").exists()


def variables(manifest: Any) -> set[tuple[str, str]]:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    return {(variable["name"], variable["value"]) for variable in container["env"] if "value" in variable}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NAME=abc\nexport REGION=x", "line 2 is neither NAME=value nor a comment"),
        ("NAME=abc\nNAME=bcd", "line 2 sets NAME again (first in line 1)"),
        ("NAME=abc\n\nDB_TEIR=db-g1-small", "line 3: DB_TEIR is no setting"),
        ("SERVER_ENV_=x", "SERVER_ENV_ has no name of a variable after SERVER_ENV_"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_by_its_line(text: str, why: str, scripts: Scripts) -> None:
    (line,) = scripts.refused("setup", "--settings", scripts.file(text))
    assert why in line


def test_a_file_that_is_not_there_is_named(scripts: Scripts) -> None:
    (line,) = scripts.refused("setup", "--settings", "/no/such/file")
    assert line == "the settings file /no/such/file cannot be read"


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"REGION": "europe-west1"}, "REGION is 'europe-west1' in the environment and 'us-east1' in "),
        ({"DB_TIER": "db-g1-small"}, "DB_TIER is 'db-g1-small' in the environment and missing in "),
        ({"SERVER_ENV_X": "1"}, "SERVER_ENV_X is '1' in the environment and missing in "),
    ],
)
def test_an_exported_variable_does_not_get_into_another_environment(
    environment: dict[str, str], why: str, scripts: Scripts
) -> None:
    file = scripts.file(f"PROJECT_ID={PROJECT}\nREGION=us-east1\n")
    (line,) = scripts.refused("setup", "--dry-run", "--settings", file, **environment)
    assert line.startswith(why) and "unset it" in line


def test_the_same_value_in_both_is_fine(scripts: Scripts) -> None:
    file = scripts.file(f"PROJECT_ID={PROJECT}\nREGION=us-east1\n")
    assert scripts.run("setup", "--dry-run", "--settings", file, REGION="us-east1").returncode == 0


# What is allowed

BAD = {
    "PROJECT_ID": "My Project",
    "REGION": "europe",
    "NAME": "Prefect",
    "SCALE": "two",
    "SERVER_SERVICE": "a_b",
    "WORKER_SERVICE": "-a",
    "REPO_NAME": "A",
    "API_INSTANCES": "many",
    "API_MAX_INSTANCES": "-1",
    "SERVICES_POOL": "a_b",
    "MIGRATE_JOB": "a" * 50,
    "REDIS_INSTANCE": "a" * 41,
    "REDIS_TIER": "premium",
    "REDIS_SIZE": "0",
    "DB_MAX_CONNECTIONS": "all",
    "DB_INSTANCE": "old",
    "DB_INSTANCE_NAME": "a.b",
    "DB_NAME": "a b",
    "DB_SCHEMA": 'a"b',
    "DB_TIER": "f1-micro",
    "DB_EDITION": "ENTERPRISE_MINUS",
    "DB_HIGH_AVAILABILITY": "true",
    "DB_BACKUPS": "on",
    "DB_POINT_IN_TIME_RECOVERY": "1",
    "DB_DELETION_PROTECTION": "maybe",
    "DB_FINAL_BACKUP": "y",
    "DB_SSL": "verify-full",
    "DB_USER": "sa",
    "WORKER_ACCOUNT": "w" * 31,
    "GRANTS_ACCOUNT": "1grants",
    "GRANTS_JOB": "a" * 50,
    "GRANTS_SECRET": "a.b",
    "NETWORK": "default",
    "NETWORK_PROJECT": "x",
    "PSC_NETWORK_NAME": "a" * 64,
    "SUBNET": "a/b",
    "SUBNET_RANGE": "10.0.0.0/27",
    "DB_ADDRESS": "10.0.0.5",
    "DB_IP": "10.0.0.256",
    "DB_ENDPOINT": "A",
    "ACCESS": "private",
    "AUTH_SECRET": "a b",
    "IAP": "on",
    "UI_URL": "prefect.example.com",
    "IMAGE_TAG": ".1",
    "PREFECT_VERSION": "3",
    "BUILD": "podman",
    "SERVER_CPU": "0.5",
    "SERVER_MEMORY": "256Mi",
    "WORKER_CPU": "3",
    "WORKER_MEMORY": "1GB",
    "WORKER_COUNT": "-1",
    "WORK_POOL": "a/b",
    "VERIFY_TIMEOUT": "3m",
    "RETRY_PAUSE": "soon",
    "PATIENCE": "1.5",
    "ALERT_EMAIL": "me",
    "SERVER_ENV_X": "a\x07b",
    "WORKER_ENV_X": "a\tb",
    "SERVER_SECRET_X": "a/b",
    "WORKER_SECRET_X": "secret:newest",
}


def test_all_bad_values_are_named_in_one_go_before_anything_is_done(cloud: GoogleCloud) -> None:
    result = cloud.script("setup", **{name: value for name, value in BAD.items() if name != "NAME"})
    assert (result.returncode, result.stdout, cloud.commands) == (2, "", [])
    lines = result.stderr.splitlines()
    for name in BAD.keys() - {"NAME"}:
        assert any(line.startswith(f"setup: error: {name} ") for line in lines), name


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_value_alone_is_one_line_that_names_it(name: str, scripts: Scripts) -> None:
    lines = scripts.refused("setup", "--dry-run", **{"PROJECT_ID": PROJECT} | {name: BAD[name]})
    assert lines[0].startswith(f"{name} is '") or lines[0].startswith(f"{name} has ")
    # The second check of an address, a range or a network is about the same value.
    assert all(name in line for line in lines), lines


def test_every_setting_has_a_bad_value_here() -> None:
    """So that no setting is added without a check of its own."""
    text = (SCRIPTS / "settings.sh").read_text()
    settings = {line.split()[1] for line in text.splitlines() if line.startswith("    setting ")}
    prefixes = {line.split()[1] for line in text.splitlines() if line.startswith("    extra_settings ")}
    assert settings | {f"{prefix}X" for prefix in prefixes} == BAD.keys()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"DB_IP": "10.0.0.255"}, "DB_IP is '10.0.0.255', which is no free address"),
        ({"DB_IP": "10.0.0.1"}, "DB_IP is '10.0.0.1', which is no free address"),
        ({"DB_IP": "10.0.1.5"}, "DB_IP is '10.0.1.5', which is no free address"),
        ({"SUBNET_RANGE": "10.0.0.64/24"}, "SUBNET_RANGE is '10.0.0.64/24', which does not begin"),
        ({"NETWORK_PROJECT": "another-project"}, "needs NETWORK=existing"),
        ({"NETWORK": "existing", "SUBNET": "s", "DB_IP": "10.1.0.9"}, "NETWORK=existing needs PSC_NETWORK_NAME"),
        ({"NETWORK": "existing", "PSC_NETWORK_NAME": "n", "DB_IP": "10.1.0.9"}, "NETWORK=existing needs SUBNET"),
        ({"NETWORK": "existing", "PSC_NETWORK_NAME": "n", "SUBNET": "s"}, "NETWORK=existing needs DB_IP"),
        ({"DB_INSTANCE": "existing", "DB_NAME": "d"}, "DB_INSTANCE=existing needs DB_INSTANCE_NAME"),
        ({"DB_INSTANCE": "existing", "DB_INSTANCE_NAME": "i"}, "DB_INSTANCE=existing needs DB_NAME"),
        ({"DB_EDITION": "ENTERPRISE_PLUS"}, "DB_TIER is 'db-f1-micro', which ENTERPRISE_PLUS does not have"),
        ({"DB_TIER": "db-perf-optimized-N-2"}, "which needs DB_EDITION=ENTERPRISE_PLUS"),
        ({"DB_BACKUPS": "no", "DB_HIGH_AVAILABILITY": "yes"}, "DB_HIGH_AVAILABILITY=yes needs DB_BACKUPS=yes"),
        ({"DB_BACKUPS": "no", "DB_POINT_IN_TIME_RECOVERY": "yes"}, "DB_POINT_IN_TIME_RECOVERY=yes needs DB_BACKUPS"),
        ({"SERVER_ENV_X": "1", "SERVER_SECRET_X": "s"}, "SERVER_ENV_X and SERVER_SECRET_X are the same variable"),
        ({"SERVER_ENV_DB_IP": "1"}, "DB_IP is set by the manifest itself"),
        ({"WORKER_ENV_PREFECT_API_URL": "1"}, "PREFECT_API_URL is set by the manifest itself"),
        ({"SERVER_ENV_PORT": "1"}, "PORT is set by the manifest itself, or by Cloud Run"),
        ({"IAP": "yes", "WORKER_COUNT": "0"}, "IAP=yes needs ACCESS=public, not password"),
        ({"IAP": "yes", "WORKER_COUNT": "0", "ACCESS": "internal"}, "IAP=yes needs ACCESS=public, not internal"),
        ({"IAP": "yes", "ACCESS": "public"}, "IAP=yes needs WORKER_COUNT=0"),
        ({"ACCESS": "private"}, "ACCESS=internal lets only your network in"),
        ({"API_INSTANCES": "3"}, "API_INSTANCES needs SCALE=ha"),
        ({"DB_MAX_CONNECTIONS": "200"}, "DB_MAX_CONNECTIONS needs SCALE=ha"),
        ({"SCALE": "ha", "API_INSTANCES": "1"}, "with SCALE=ha there are two or more"),
        ({"SCALE": "ha", "API_INSTANCES": "4"}, "API_MAX_INSTANCES is '3', which is less than API_INSTANCES (4)"),
        ({"SCALE": "ha", "SERVER_ENV_PREFECT_ROLE": "all"}, "PREFECT_ROLE is set by the manifest itself"),
        ({"SCALE": "ha", "SERVER_SECRET_PREFECT_REDIS_MESSAGING_URL": "s"}, "_URL is set by the manifest itself"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(
    settings: dict[str, str], why: str, scripts: Scripts
) -> None:
    (line,) = scripts.refused("setup", "--dry-run", PROJECT_ID=PROJECT, **settings)
    assert why in line


# Names by environment


def objects_of(commands: list[Shown]) -> set[tuple[str, ...]]:
    """What the commands make or delete, each by its kind, its name, and what it is a part of."""
    found: set[tuple[str, ...]] = set()
    for shown in commands:
        words = shown.words
        if "monitoring" in words:
            continue
        part_of = tuple(sorted(word for word in words if word.startswith(("--instance=", "--member="))))
        for verb in ("create", "delete", "push"):
            if verb in words:
                found.add((*words[: words.index(verb)], words[words.index(verb) + 1], *part_of))
        if "replace" in words:
            found.add((*words[: words.index("replace")], yaml.safe_load(shown.yaml)["metadata"]["name"]))
        if "--format=none" in words:
            verb = next(word for word in words if word.endswith("-iam-policy-binding"))
            role = next(word for word in words if word.startswith("--role="))
            found.add(("binding", words[words.index(verb) + 1], role, *part_of))
    return found


def alerts_of(commands: list[Shown]) -> tuple[set[str], set[str]]:
    """The display names of policies and channels that are made, and the filters of those that are deleted."""
    made, filters = set(), set()
    for shown in commands:
        if "monitoring" in shown.words:
            made |= {word.partition("=")[2] for word in shown.words if word.startswith("--display-name=")}
            filters |= {word.partition("=")[2] for word in shown.words if word.startswith("--filter=")}
            if shown.yaml:
                made.add(yaml.safe_load(shown.yaml)["displayName"])
    return made, filters


def test_two_environments_make_nothing_of_the_same_name_and_delete_nothing_of_each_other(scripts: Scripts) -> None:
    made, deleted, alerts = {}, {}, {}
    settings = {"DB_SSL": "verify-ca", "ALERT_EMAIL": "team@example.com"}
    for name in ("prefect", "staging", "prefect-2"):
        texts = [scripts.dry(script, NAME=name, **settings) for script in ("setup", "deploy", "cleanup")]
        commands = [shown_commands(text) for text in texts]
        made[name] = objects_of(commands[0] + commands[1])
        deleted[name] = objects_of(commands[2])
        alerts[name] = alerts_of(commands[0] + commands[1])[0], alerts_of(commands[2])[1]
        # What an environment makes, it deletes itself. Images go with their repository, and what is in an instance and
        # bindings go with what they are of.
        left = {each for each in made[name] - deleted[name] if each[0] not in ("docker", "binding")}
        left = {each for each in left if not each[-1].startswith("--instance=")}
        assert len(made[name]) > 25
        assert {each[-1] for each in left} == {f"{name}-sa", f"{name}-worker", f"{name}-grants"}
        emails = {each[-1].partition("@")[0] for each in deleted[name] if "service-accounts" in each}
        assert emails == {each[-1] for each in left}
        assert len(alerts[name][0]) > 1 and alerts[name][1] == {f'displayName~"^{name}: "'}
    for one in made:
        for other in made.keys() - {one}:
            assert made[one] & made[other] == set()
            assert deleted[one] & made[other] == set()
            assert not any(each.startswith(f"{one}: ") for each in alerts[other][0])


@pytest.mark.parametrize("script", ["setup", "deploy"])
def test_the_names_of_the_tutorial_are_the_defaults(script: str, scripts: Scripts) -> None:
    text = scripts.dry(script)
    names = {
        "setup": "prefect-network prefect-subnet prefect-sa prefect-db prefect-db-ip prefect-db-endpoint",
        "deploy": "prefect-repo prefect-server prefect-worker",
    }
    assert all(name in text for name in names[script].split())


def test_an_existing_network_and_instance_are_neither_made_nor_deleted(scripts: Scripts) -> None:
    settings = {
        "NETWORK": "existing",
        "NETWORK_PROJECT": "network-project",
        "PSC_NETWORK_NAME": "shared-network",
        "SUBNET": "shared-subnet",
        "DB_IP": "10.8.0.9",
        "DB_INSTANCE": "existing",
        "DB_INSTANCE_NAME": "our-db",
        "DB_NAME": "prefect_production",
    }
    texts = {script: scripts.dry(script, **settings) for script in NAMES}
    commands = [shown for text in texts.values() for shown in shown_commands(text)]
    changed = [" ".join(each) for each in objects_of(commands)]
    assert not any("compute networks" in each or "sql instances" in each for each in changed)
    # What belongs to the environment alone is made and deleted.
    for each in ("gcloud compute addresses prefect-db-ip", "gcloud sql databases prefect_production --instance=our-db"):
        assert each in changed
    subnet = "projects/network-project/regions/us-central1/subnetworks/shared-subnet"
    network = "projects/network-project/global/networks/shared-network"
    assert f"--subnet={subnet}" in texts["setup"] and f"--network={network}" in texts["setup"]
    assert f'"network": "{network}", "subnetwork": "{subnet}"' in texts["deploy"]
    # A database is deleted before the user that owns its tables.
    order = [str(shown) for shown in shown_commands(texts["cleanup"]) if "sql" in shown.words]
    assert "databases delete" in order[0] and "users delete" in order[1]


def test_a_new_instance_for_a_shared_network_lets_both_projects_in(scripts: Scripts) -> None:
    settings = {
        "NETWORK": "existing",
        "NETWORK_PROJECT": "network-project",
        "PSC_NETWORK_NAME": "n1",
        "SUBNET": "s1",
        "DB_IP": "10.8.0.9",
    }
    assert f"--allowed-psc-projects={PROJECT},network-project" in scripts.dry("setup", **settings)


def test_the_database_is_made_as_the_settings_say(scripts: Scripts) -> None:
    text = scripts.dry(
        "setup",
        DB_TIER="db-perf-optimized-N-2",
        DB_EDITION="ENTERPRISE_PLUS",
        DB_HIGH_AVAILABILITY="yes",
        DB_POINT_IN_TIME_RECOVERY="yes",
        DB_DELETION_PROTECTION="yes",
    )
    (create,) = [shown for shown in shown_commands(text) if "sql instances create" in str(shown)]
    assert {
        "--tier=db-perf-optimized-N-2",
        "--edition=ENTERPRISE_PLUS",
        "--availability-type=REGIONAL",
        "--enable-point-in-time-recovery",
        "--backup",
        "--deletion-protection",
        "--ssl-mode=ENCRYPTED_ONLY",
    } <= set(create.words)
    assert "--enable-final-backup" in scripts.dry("cleanup", DB_FINAL_BACKUP="yes")
    assert "--enable-final-backup" not in scripts.dry("cleanup")
    result = scripts.run("cleanup", "--dry-run", PROJECT_ID=PROJECT, DB_DELETION_PROTECTION="yes")
    assert result.returncode == 1 and "--no-deletion-protection" in result.stderr and "delete" not in result.stdout


def test_cloud_build_takes_the_place_of_docker(scripts: Scripts) -> None:
    text = scripts.dry("deploy", BUILD="cloud-build", PREFECT_VERSION="3.8.8")
    builds = [str(shown) for shown in shown_commands(text) if "builds submit" in str(shown)]
    assert len(builds) == 2 and all("_PREFECT_VERSION=3.8.8" in build for build in builds)
    assert "docker build" not in text and "docker push" not in text and "configure-docker" not in text
    assert "cloudbuild.googleapis.com" in scripts.dry("setup", BUILD="cloud-build")


def test_cloud_builds_steps_are_those_of_docker(scripts: Scripts) -> None:
    """The same Dockerfiles, arguments and image, whoever builds."""
    file = yaml.safe_load((SCRIPTS / "cloudbuild.yaml").read_text())
    (step,) = file["steps"]
    (build, *_) = [shown.words for shown in shown_commands(scripts.dry("deploy")) if "build" in shown.words]
    (submit, *_) = [
        shown.words for shown in shown_commands(scripts.dry("deploy", BUILD="cloud-build")) if "submit" in shown.words
    ]
    given = dict(
        part.split("=", 1)
        for word in submit
        if word.startswith("--substitutions=")
        for part in word.removeprefix("--substitutions=").split(",")
    )
    filled = [fill(word, given) for word in step["args"]]
    assert filled == [word for word in build[1:] if word not in ("--platform", "linux/amd64")]
    assert fill(file["images"][0], given) == build[build.index("-t") + 1]


def fill(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"${{{name}}}", value)
    assert "$" not in word
    return word


def test_the_readme_names_every_setting_and_its_default(scripts: Scripts) -> None:
    readme = (SCRIPTS / "README.md").read_text()
    for name in BAD:
        assert f"`{name}`" in readme, name
    # The defaults that stand in the table are those of the scripts.
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([^`$]+)` \|", readme, re.MULTILINE)
    assert len(rows) > 20
    text = (SCRIPTS / "settings.sh").read_text()
    for name, default in rows:
        assert re.search(rf"^    setting {name} '?{re.escape(default)}'? ", text, re.MULTILINE), name
