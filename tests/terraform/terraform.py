"""Terraform itself, with providers that know the recorded schemas and no cloud (schema_provider)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from module import REPOSITORY

HERE = Path(__file__).resolve().parent
LIMIT = 600
PROJECT = "my-project"


def build_providers(folder: Path) -> None:
    result = subprocess.run(
        ["go", "build", "-o", str(folder / "terraform-provider-google"), "."],
        cwd=HERE / "schema_provider",
        env={"GOTOOLCHAIN": "auto"} | os.environ,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert result.returncode == 0, result.stderr
    shutil.copy(folder / "terraform-provider-google", folder / "terraform-provider-random")


def environment_of(home: Path, installation: str) -> dict[str, str]:
    """In which Terraform takes its providers from there."""
    settings = home / "terraformrc"
    settings.write_text(f"provider_installation {{\n{installation}}}\n")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TF_CLI_CONFIG_FILE": str(settings),
        "TF_IN_AUTOMATION": "1",
        # Terraform asks for newer versions of itself otherwise.
        "CHECKPOINT_DISABLE": "1",
        "PROVIDER_SCHEMA": str(HERE / "provider_schema.json"),
    }


def environment_for_init(folder: Path) -> dict[str, str]:
    """In which `terraform init` installs the providers, in the versions of the recorded schemas, from `folder`: it refuses
    those that have no version."""
    build_providers(folder)
    go = subprocess.run(["go", "env", "GOOS", "GOARCH"], capture_output=True, text=True, check=True)
    for name, version in json.loads((HERE / "provider_schema.json").read_text())["source"].items():
        place = folder / "registry.terraform.io/hashicorp" / name / version / "_".join(go.stdout.split())
        place.mkdir(parents=True)
        shutil.copy(folder / f"terraform-provider-{name}", place / f"terraform-provider-{name}_v{version}")
    return environment_of(folder, f'  filesystem_mirror {{\n    path = "{folder}"\n  }}\n')


class Terraform:
    """A copy of the module, and the files beside it that it reads, in a folder of its own."""

    def __init__(self, folder: Path, providers: Path) -> None:
        for name in ("terraform", "cloud_run"):
            shutil.copytree(REPOSITORY / "deploy" / name, folder / "deploy" / name)
        self.module = folder / "deploy/terraform"
        overrides = "".join(f'    "hashicorp/{name}" = "{providers}"\n' for name in ("google", "random"))
        self.environment = environment_of(folder, f"  dev_overrides {{\n{overrides}  }}\n  direct {{}}\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", f"-chdir={self.module}", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    def plan(self, **variables: Any) -> Plan:
        result = self._plan(variables)
        assert result.returncode == 0, result.stderr
        shown = self.run("show", "-json", "the.plan")
        assert shown.returncode == 0, shown.stderr
        return Plan(shown.stdout)

    def refusal(self, **variables: Any) -> str:
        """What Terraform says instead of planning, in one line."""
        result = self._plan(variables)
        assert result.returncode == 1, result.stdout
        return " ".join(re.sub(r"[│╷╵]", " ", result.stderr).split())

    def _plan(self, variables: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        file = self.module / "test.auto.tfvars.json"
        file.write_text(json.dumps({"project_id": PROJECT} | variables))
        return self.run("plan", "-no-color", "-input=false", "-out=the.plan")


class Plan:
    def __init__(self, text: str) -> None:
        self._json = json.loads(text)
        self.text = json.dumps(self._json["planned_values"])
        self.resources: dict[str, dict[str, Any]] = {
            resource["address"]: resource["values"]
            for resource in self._json["planned_values"]["root_module"]["resources"]
            if resource["mode"] == "managed"
        }

    def __getitem__(self, address: str) -> Any:
        return self.resources[address]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [values for address, values in self.resources.items() if address.split(".")[0] == kind]

    def output(self, name: str) -> Any:
        return self._json["planned_values"]["outputs"][name].get("value")


def needs_terraform() -> pytest.MarkDecorator:
    missing = [name for name in ("terraform", "go") if not shutil.which(name)]
    reason = f"not on the PATH: {' and '.join(missing)}; test_module.py reads the module without them"
    return pytest.mark.skipif(bool(missing), reason=reason)
