"""The example workflow of deploy/github-actions."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import yaml

from module import REPOSITORY

FOLDER = REPOSITORY / "deploy/github-actions"
WORKFLOW = FOLDER / "deploy.yml"
# What https://github.com/google-github-actions/auth documents as inputs that hold or make a key.
KEYS = {"credentials_json", "key_json"}


def load() -> Any:
    return yaml.safe_load(WORKFLOW.read_text())


def steps() -> list[Any]:
    (job,) = load()["jobs"].values()
    return list(job["steps"])


def test_actionlint_finds_nothing() -> None:
    # tools/install-actionlint.sh brings it.
    actionlint = REPOSITORY / ".deps/bin/actionlint"
    result = subprocess.run([actionlint, "-no-color", str(WORKFLOW)], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_workflow_has_an_identity_and_no_key() -> None:
    (auth,) = (step for step in steps() if step.get("uses", "").startswith("google-github-actions/auth@"))
    assert set(auth["with"]) == {"workload_identity_provider", "service_account"}
    assert not KEYS & {name for step in steps() for name in step.get("with", {})}
    assert "secrets." not in WORKFLOW.read_text()
    # Without id-token GitHub gives no token; more than reading the repository is not needed.
    assert load()["permissions"] == {"contents": "read", "id-token": "write"}
    assert all("permissions" not in job for job in load()["jobs"].values())


def test_the_order_is_checkout_login_gcloud_deploy() -> None:
    names = [step.get("uses", step.get("run", "")).split("@")[0].split(" ")[0] for step in steps()]
    assert names == [
        # A checkout after the login would delete its file.
        "actions/checkout",
        "google-github-actions/auth",
        "google-github-actions/setup-gcloud",
        "deploy/cloud_run/deploy",
        "deploy/cloud_run/verify",
    ]
    for name in names[3:]:
        assert (REPOSITORY / name).stat().st_mode & 0o111


def test_every_action_is_pinned_to_a_commit_whose_version_is_named() -> None:
    lines = [line.strip() for line in WORKFLOW.read_text().splitlines() if "uses:" in line]
    assert len(lines) == 3
    for line in lines:
        assert re.fullmatch(r"- uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_the_scripts_read_the_settings_file_and_no_environment() -> None:
    (job,) = load()["jobs"].values()
    # A setting in the environment that the file lacks is refused, so the job may have only the file's name.
    assert set(job["env"]) == {"SETTINGS"}
    for step in steps():
        assert "env" not in step
        if "run" in step:
            assert step["run"].endswith('--settings "$SETTINGS"')


def test_two_deploys_never_run_at_once() -> None:
    assert load()["concurrency"]["cancel-in-progress"] is False


def test_the_readme_names_the_variables_of_the_workflow() -> None:
    readme = (FOLDER / "README.md").read_text()
    for name in re.findall(r"vars\.(\w+)", WORKFLOW.read_text()):
        assert f"`{name}`" in readme
    assert load()["jobs"]["deploy"]["environment"] == re.search(r"ENVIRONMENT=(\w+)", readme)[1]  # type: ignore[index]
