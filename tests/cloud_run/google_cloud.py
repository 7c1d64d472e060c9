"""A project in the stand-in for Google Cloud, and the scripts run against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import kept_files

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
SCRIPTS = REPOSITORY / "deploy/cloud_run"
PROJECT = "my-cloud-project"
LIMIT = 600.0

# Isolated and without site-packages, which halves the time of a start; and a module's compiled form is kept,
# which a program's is not.
_PROGRAM = f"""#!{sys.executable} -IS
import sys
sys.path.insert(0, {str(HERE)!r})
import gcloud_stand_in
gcloud_stand_in.main()
"""


def run_script(name: str, *options: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPTS / name), *options],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def keep_recorded_commands(home: Path) -> None:
    """Whoever runs the stand-in does this first, so that it need not read JSON each time."""
    kept_files.save(home / "recorded", json.loads((HERE / "gcloud_commands.json").read_text()))


class GoogleCloud:
    def __init__(self, folder: Path) -> None:
        self.home = folder / "cloud"
        self.home.mkdir()
        keep_recorded_commands(self.home)
        programs = folder / "programs"
        programs.mkdir()
        for name in ("gcloud", "docker"):
            (programs / name).write_text(_PROGRAM)
            (programs / name).chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "STAND_IN_HOME": str(self.home),
            "PROJECT_ID": PROJECT,
            "RETRY_PAUSE": "0",
        }

    def script(self, name: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_script(name, *options, environment=self.environment | environment)

    def succeed(self, name: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        result = self.script(name, *options, **environment)
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    def gcloud(self, *words: str, text: str = "") -> str:
        """One command of the user, such as for a network or a secret that is there before; returns its output."""
        result = subprocess.run(
            ["gcloud", *words],
            env=self.environment | {"CLOUDSDK_CORE_PROJECT": PROJECT, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
            input=text,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    @property
    def state(self) -> dict[str, Any]:
        """All that was made, by kind and name; the APIs that are on are not in it."""
        return kept_files.load(self.home / "state")

    @property
    def apis(self) -> list[str]:
        """Those that are on."""
        return list(kept_files.load(self.home / "apis"))

    @property
    def revisions(self) -> dict[str, int]:
        """How many were made of each service and pool that is there."""
        return kept_files.load(self.home / "revisions")

    @property
    def commands(self) -> list[list[str]]:
        """Every command so far, words as the program got them."""
        return kept_files.records(self.home / "commands")

    @property
    def texts_outside_secrets(self) -> list[str]:
        """What is in the files: state, command lines, logs, YAML. marshal keeps a text as it is."""
        files = (path for path in self.home.rglob("*") if path.is_file() and path.parent.name != "secrets")
        return [path.read_text(errors="replace") for path in files]

    def forget_commands(self) -> None:
        """Then all that was made before is known everywhere."""
        for name in ("commands", "since"):
            (self.home / name).unlink(missing_ok=True)

    @property
    def leftovers(self) -> list[str]:
        """The objects that may exist only while `setup` or `verify` runs."""
        return [
            thing
            for thing in self.state
            if (thing.startswith("job ") and not thing.endswith("-migrate"))
            or (thing.startswith("secret ") and "grants" in thing and "/" not in thing)
            or ("/user " in thing and thing.endswith("-grants"))
        ]


class Prepare(Protocol):
    """Makes a project in which the script is the next to run, with these settings."""

    def __call__(self, script: str, **settings: str) -> GoogleCloud: ...
