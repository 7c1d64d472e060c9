"""setup, deploy and cleanup are run against a project in the stand-in."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from google_cloud import LIMIT, PROJECT, SCRIPTS, GoogleCloud

SCRIPT_OPTIONS = {"setup": [], "deploy": [], "cleanup": ["--yes"]}
BEFORE = {"setup": [], "deploy": ["setup"], "cleanup": ["setup", "deploy"]}


def prepare(script: str, folder: Path) -> GoogleCloud:
    """A project in which `script` is the next to run."""
    folder.mkdir()
    cloud = GoogleCloud(folder)
    for earlier in BEFORE[script]:
        cloud.succeed(earlier)
    cloud.forget_commands()
    return cloud


def test_after_the_cleanup_nothing_is_left(cloud: GoogleCloud) -> None:
    cloud.succeed("setup")
    assert not cloud.leftovers
    cloud.succeed("deploy")
    assert {"service prefect-server", "pool prefect-worker", "instance prefect-db"} <= set(cloud.state)
    result = cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}
    assert "nothing is left" in result.stderr


@pytest.mark.parametrize("script", ["setup", "deploy"])
def test_a_second_run_changes_nothing(script: str, tmp_path: Path) -> None:
    cloud = prepare(script, tmp_path / "cloud")
    cloud.succeed(script)
    first = cloud.state
    cloud.forget_commands()
    cloud.succeed(script)
    assert cloud.state == first
    # Only the grants' own secret is made again.
    created = [" ".join(command) for command in cloud.commands if "create" in command]
    assert all(command.startswith("gcloud secrets create") for command in created)


def test_a_cleanup_of_what_is_gone_succeeds(cloud: GoogleCloud) -> None:
    cloud.succeed("cleanup", "--yes")
    cloud.succeed("cleanup", "--yes")


# In parts, which can run at the same time.
@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("script", list(SCRIPT_OPTIONS))
def test_wherever_it_fails_it_says_what_to_do_and_a_second_run_completes_it(
    script: str, when: str, part: int, tmp_path: Path
) -> None:
    """`before`: the command did nothing. `after`: it took effect, and its answer was lost."""
    options = SCRIPT_OPTIONS[script]
    start = prepare(script, tmp_path / "start")
    whole = prepare(script, tmp_path / "whole")
    whole.succeed(script, *options)
    for number, command in enumerate(whole.commands, 1):
        if number % 3 != part or (when == "after" and "describe" in command):
            continue
        folder = tmp_path / "failing"
        folder.mkdir()
        cloud = GoogleCloud(folder)
        shutil.copytree(start.home, cloud.home, dirs_exist_ok=True)

        result = cloud.script(script, *options, STAND_IN_FAIL=f"{when} {number}")
        if result.returncode == 0:
            # The script itself has tried again; or there was nothing to delete, which is no failure.
            assert "again in 0 s" in result.stderr or (when == "after" and "delete" in command), command
        else:
            (line,) = [line for line in result.stderr.splitlines() if "failed in step" in line]
            assert line.startswith(f"{script}: ") and f"Then run {script} again" in line, command
            assert command[0] in line and command[-1] in line.replace("'", ""), command
        assert not cloud.leftovers, command
        assert not password_is_known(cloud), command

        cloud.succeed(script, *options)
        assert without_digests(cloud.state) == without_digests(whole.state), command
        shutil.rmtree(folder)


def without_digests(state: dict[str, Any]) -> dict[str, Any]:
    return {thing: value for thing, value in state.items() if "password of" not in thing}


def password_is_known(cloud: GoogleCloud) -> bool:
    """Whether postgres still has the password that was in the job's secret."""
    in_secret = cloud.home / "last-secret"
    password = cloud.state.get("instance prefect-db/password of postgres")
    return password is not None and in_secret.exists() and in_secret.read_text() == password


@pytest.mark.parametrize(
    "command",
    [
        "gcloud sql users set-password",
        "gcloud secrets create",
        "gcloud secrets add-iam-policy-binding",
        "gcloud run jobs replace",
        "gcloud run jobs execute",
    ],
)
def test_grants_that_fail_for_good_leave_neither_job_nor_secret_nor_password(
    command: str, cloud: GoogleCloud
) -> None:
    result = cloud.script("setup", STAND_IN_FAIL=f"each {command}")
    assert result.returncode != 0
    assert 'failed in step "2.5 Grants"' in result.stderr
    assert not cloud.leftovers
    assert not password_is_known(cloud)
    cloud.succeed("setup")
    assert not cloud.leftovers


@pytest.mark.parametrize("next_script", ["setup", "cleanup"])
@pytest.mark.parametrize("command", ["gcloud run jobs delete", "gcloud secrets delete"])
def test_what_cannot_be_removed_is_named_and_goes_with_the_next_setup_or_cleanup(
    command: str, next_script: str, cloud: GoogleCloud
) -> None:
    result = cloud.script("setup", STAND_IN_FAIL=f"kept {command}")
    assert result.returncode != 0
    assert cloud.leftovers
    assert all(thing.split()[1].partition("/")[0] in result.stderr for thing in cloud.leftovers)
    cloud.succeed(next_script, *SCRIPT_OPTIONS[next_script])
    assert not cloud.leftovers
    assert next_script == "setup" or cloud.state == {}


def test_a_setup_that_is_stopped_leaves_neither_job_nor_secret_nor_password(cloud: GoogleCloud) -> None:
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
    assert not password_is_known(cloud)


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


def shown_commands(output: str) -> list[list[str]]:
    """The gcloud and docker commands in what a script prints, without what it gives them to read."""
    output = re.sub(r"<<'YAML'\n.*?\nYAML", "", output, flags=re.DOTALL)
    commands = []
    for line in output.splitlines():
        text = re.sub(r"^(env )?([A-Za-z_]+=\S+ )*", "", line.partition(" <<<")[0].removesuffix(" ||"))
        if assignment := re.fullmatch(r"[A-Z_]+=\$\((.*)\)", line):
            text = assignment[1]
        if text.startswith(("gcloud ", "docker ")):
            commands.append(shlex.split(text))
    return commands


PLACEHOLDERS = {
    "SERVICE_ATTACHMENT": "projects/tenant/regions/us-central1/serviceAttachments/prefect-db",
}


@pytest.mark.parametrize("script", list(SCRIPT_OPTIONS))
def test_a_dry_run_shows_what_a_run_does_and_does_nothing(script: str, tmp_path: Path) -> None:
    cloud = prepare(script, tmp_path / "cloud")
    state = cloud.state
    dry = cloud.succeed(script, "--dry-run")
    assert cloud.commands == [] and cloud.state == state
    shown = [
        [
            next((word.replace(name, value) for name, value in PLACEHOLDERS.items() if name in word), word)
            for word in words
        ]
        for words in shown_commands(dry.stdout)
    ]
    real = cloud.succeed(script, *SCRIPT_OPTIONS[script])
    assert shown == cloud.commands
    # A run prints the same, as it goes.
    assert len(shown_commands(real.stdout)) == len(shown)


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
    for name in {"bash", "basename", "dirname", "gcloud", "docker", "curl", "python3", "env"} - {missing}:
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


def test_without_a_terminal_the_cleanup_wants_yes(cloud: GoogleCloud) -> None:
    cloud.succeed("setup")
    state = cloud.state
    result = cloud.script("cleanup")
    assert result.returncode == 1 and "--yes" in result.stderr
    assert cloud.state == state


@pytest.mark.parametrize(("answer", "deleted"), [("no", False), ("", False), ("yes", True)])
def test_at_a_terminal_the_cleanup_asks(answer: str, deleted: bool, cloud: GoogleCloud) -> None:
    cloud.succeed("setup")
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


def test_a_public_service_is_made_private_by_the_next_deployment(cloud: GoogleCloud) -> None:
    cloud.succeed("setup")
    private = cloud.succeed("deploy", ACCESS="private")
    assert "403" in private.stderr
    assert not any("prefect-worker" in thing for thing in cloud.state), "a worker that can't reach its server"
    public = cloud.succeed("deploy")
    assert "service prefect-server/allUsers roles/run.invoker" in cloud.state
    assert "without a login" in public.stderr
    private = cloud.succeed("deploy", ACCESS="private")
    assert not any("allUsers" in thing for thing in cloud.state)
    assert "403" in private.stderr
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}


# Each with the default that it takes the place of (settings.sh).
SETTINGS = {
    "REGION": ("us-central1", "europe-west1"),
    "DB_INSTANCE_NAME": ("prefect-db", "my-instance"),
    "DB_NAME": ("prefect", "my_database"),
    "DB_USER": ("prefect-sa", "my-account"),
    "SERVER_SERVICE": ("prefect-server", "my-server"),
    "WORKER_SERVICE": ("prefect-worker", "my-worker"),
    "PSC_NETWORK_NAME": ("prefect-network", "my-network"),
    "REPO_NAME": ("prefect-repo", "my-repository"),
    "IMAGE_TAG": ("v1", "v2.5"),
}
# Words that contain a default and are not settings: names of images and containers, and versions of APIs.
NO_SETTINGS = (
    *("/prefect-server", "/prefect-worker", "- name: prefect-server\n", "- name: prefect-worker\n"),
    *("serving.knative.dev/v1", "run.googleapis.com/v1"),
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
        "service my-server",
        "pool my-worker",
    } <= made
    server = (cloud.home / "yaml/Service").read_text()
    for value in (f"value: '{account}'", "value: 'my_database'", '"network": "my-network"', "europe-west1"):
        assert value in server
    cloud.succeed("cleanup", "--yes")
    assert cloud.state == {}

    # No command and no YAML contains a default value at any place.
    words = [word for command in cloud.commands for word in command]
    texts = words + [file.read_text() for file in (cloud.home / "yaml").iterdir()]
    for text in texts:
        for name in NO_SETTINGS:
            text = text.replace(name, "")
        for name, (default, _) in SETTINGS.items():
            assert not re.search(rf"(?<![\w-]){re.escape(default)}(?![\w-])", text), f"{name} in {text}"


@pytest.mark.parametrize("setting", [{"ACCESS": "open"}, {"DB_SCHEMA": 'a"b'}])
def test_a_bad_setting_is_refused_before_anything_is_done(
    setting: dict[str, str], cloud: GoogleCloud
) -> None:
    result = cloud.script("setup", **setting)
    assert result.returncode == 1 and next(iter(setting)) in result.stderr
    assert cloud.commands == []
