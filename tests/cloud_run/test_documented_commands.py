"""What the documents say of the scripts: the way from nothing to nothing is run as it is shown, and docs/google-cloud-ha.md
names options, settings and numbers that the scripts have. tests/documents runs every other command of the documents."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from documents import take_block
from google_cloud import LIMIT, PROJECT, REPOSITORY, GoogleCloud
from prefect_answers import Prefect

DOCUMENT = REPOSITORY / "docs/google-cloud-ha.md"
SCRIPT = "deploy/cloud_run/"


def run_as_shown(block: str, cloud: GoogleCloud, prefect: Prefect) -> subprocess.CompletedProcess[str]:
    """In a terminal, whose user says yes."""
    prefect.password_file = cloud.home / "secrets/prefect-auth"
    user, terminal = pty.openpty()
    os.write(user, b"yes\n")
    try:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=REPOSITORY,
            env={name: value for name, value in cloud.environment.items() if name != "PROJECT_ID"}
            | {"STAND_IN_SERVICE_URL": prefect.url},
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    finally:
        os.close(terminal)
        os.close(user)


def test_the_readmes_commands_set_up_deploy_and_verify(cloud: GoogleCloud, prefect: Prefect) -> None:
    result = run_as_shown(take_block("README.md", "export PROJECT_ID=my-project "), cloud, prefect)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr.endswith("verify: all is well\n")
    assert {"service prefect-server", "pool prefect-worker", "instance prefect-db"} <= set(cloud.state)


def test_the_commands_of_the_scripts_readme_lead_from_nothing_to_nothing(cloud: GoogleCloud, prefect: Prefect) -> None:
    result = run_as_shown(take_block("deploy/cloud_run/README.md", "export PROJECT_ID=my-project "), cloud, prefect)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "verify: all is well\n" in result.stderr
    assert any(words[:4] == ["gcloud", "sql", "instances", "create"] for words in cloud.commands)
    assert cloud.state == {}


def documented_commands() -> list[str]:
    """The lines of indented blocks, without comments; a line that ends with a backslash goes on. What stands between ``` is
    no command."""
    text = re.sub(r"```.*?```", "", DOCUMENT.read_text(), flags=re.DOTALL).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("command", sorted({each for each in documented_commands() if each.startswith(SCRIPT)}))
@pytest.mark.parametrize("scale", ["single", "ha"])
def test_a_script_takes_these_options(command: str, scale: str, tmp_path: Path) -> None:
    settings = tmp_path / "prefect.settings"
    settings.write_text(f"PROJECT_ID={PROJECT}\nSCALE={scale}\nDB_TIER=db-custom-1-3840\n")
    words = shlex.split(command.replace("prefect.settings", str(settings)))
    result = subprocess.run(
        [REPOSITORY / words[0], *words[1:], "--dry-run"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    # Redis is in use with SCALE=ha.
    refused = scale == "ha" and "--redis" in words
    assert result.returncode == (1 if refused else 0), result.stderr
    assert ("gcloud " in result.stdout) != refused


def test_the_settings_that_it_names_are_there() -> None:
    """With the defaults that it says."""
    text = (REPOSITORY / SCRIPT / "settings.sh").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([^`$]+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert len(rows) >= 5
    for name, default in rows:
        assert re.search(rf"^    setting {name} {re.escape(default)} ", text, re.MULTILINE), name


def test_the_table_of_connections_is_the_one_that_setup_prints() -> None:
    table = take_block("docs/google-cloud-ha.md", "setup: database connections")
    result = subprocess.run(
        [REPOSITORY / SCRIPT / "setup", "--dry-run"],
        env={"PATH": "/usr/bin:/bin", "PROJECT_ID": PROJECT, "SCALE": "ha", "DB_TIER": "db-custom-1-3840"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == table
