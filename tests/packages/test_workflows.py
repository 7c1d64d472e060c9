"""The workflows of .github: they can be read, they call ./dev alone, and what they take from others is pinned."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from supervisor import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
# tools/install-actionlint.sh brings it.
ACTIONLINT = REPOSITORY / ".deps/bin/actionlint"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def jobs(name: str) -> Any:
    return load(REPOSITORY / f".github/workflows/{name}.yml")["jobs"]


def commands(job: Any) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_actionlint_finds_nothing() -> None:
    checked = subprocess.run([ACTIONLINT, "-no-color", *WORKFLOWS], capture_output=True, text=True, cwd=REPOSITORY)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_calls_dev_or_an_action_of_a_commit(path: Path) -> None:
    used = re.findall(r"^ +(?:- )?uses: (.*)$", path.read_text(), re.M)
    assert used
    for line in used:
        assert re.fullmatch(r"(actions|sigstore)/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    help_text = subprocess.check_output([REPOSITORY / "dev", "help"], text=True)
    for job in load(path)["jobs"].values():
        # A job that runs nothing needs no sources.
        if commands(job):
            assert job["steps"][0]["uses"].startswith("actions/checkout@")
            assert job["steps"][0]["with"]["persist-credentials"] is False
        for command in commands(job):
            found = re.fullmatch(r"\./dev (\w+)( [\w\"$/.-]+)*", command)
            assert found and f"\n  {found[1]} " in help_text, command


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_step_has_more_rights_than_it_needs(path: Path) -> None:
    assert load(path)["permissions"] == {"contents": "read"}
    # No secret is made by a person: there is only the token of the run.
    assert "secrets." not in path.read_text()


def test_parts_of_the_tests_exist() -> None:
    parts = {path.stem for path in (REPOSITORY / "tools/parts").glob("*.sh")}
    tested = [command for name in ("tests", "release") for job in jobs(name).values() for command in commands(job)]
    named = [part for command in tested if command.startswith("./dev test") for part in command.split()[2:]]
    assert named and set(named) - {"--all"} <= parts


def test_a_release_has_both_architectures_provenance_images_and_signatures() -> None:
    release = jobs("release")
    assert commands(release["packages"])[0] == './dev release --tag "$GITHUB_REF_NAME"'
    assert release["provenance"]["permissions"]["attestations"] == "write"
    assert release["images"]["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    assert [one.split()[2] for one in commands(release["images"]) + commands(release["signatures"])] == [
        "build",
        "push",
        "join",
        "sign",
    ]
    # Nothing is published before all of it is there.
    assert set(release["publish"]["needs"]) == {"packages", "provenance", "signatures"}
    assert commands(release["publish"]) == ['./dev publish "$GITHUB_REF_NAME"']
