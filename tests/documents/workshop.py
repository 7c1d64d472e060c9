"""A folder that looks like the repository, in which bash runs a block of a document.

The programs that a block finds are those of document_programs.py, the tools of TOOLS, and nothing else: a program that no rule
knows is not found, and the block fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from document_programs import PROGRAMS, PROJECT, REPOSITORY
from documents import Block
from google_cloud import keep_recorded_commands
from supervisor import BINARY, RUN_MARK

HERE = Path(__file__).resolve().parent
LIMIT = 1200.0
# Harmless, and the same everywhere. The first two start the other scripts.
TOOLS = ("bash", "env", "base64", "cat", "dirname", "envsubst", "grep", "head", "tr")
COPIED = ("deploy", "docker", "dev")
LINKED = ("supervisor", "tests", ".deps")
_PROGRAM = f"""#!{sys.executable}
import sys
sys.dont_write_bytecode = True
sys.path[:0] = {[str(HERE), *(str(REPOSITORY / name) for name in ("tests/support", "tests/cloud_run")), str(REPOSITORY)]!r}
import document_programs
document_programs.main()
"""
_PLACES = {
    "tools": ("setup.sh", "build.sh", "run-tests.sh", "fuzz.sh"),
    "deploy/cloud_run": ("setup", "deploy", "verify", "cleanup"),
    "google_emulator": ("local_run.py",),
}


class Workshop:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        self.root.mkdir()
        for name in COPIED:
            copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
            copy(REPOSITORY / name, self.root / name)
        for name in LINKED:
            (self.root / name).symlink_to(REPOSITORY / name)
        elsewhere = {name for names in _PLACES.values() for name in names} | {"google_emulator"}
        programs = folder / "programs"
        for place, names in {**_PLACES, programs: sorted({*PROGRAMS} - elsewhere)}.items():
            (self.root / place).mkdir(parents=True, exist_ok=True)
            for name in names:
                self.program(self.root / place / name)
        self.program(self.root / "google_emulator/__main__.py")
        # `python3 google_emulator` needs no package, but the programs here do.
        (programs / "python3").symlink_to(sys.executable)
        for name in TOOLS:
            path = shutil.which(name)
            assert path, f"{name} is not installed"
            (programs / name).symlink_to(path)
        keep_recorded_commands(folder)
        self.environment = {
            "PATH": str(programs),
            "PATH_OF_THE_TEST": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PREFECT_SUPERVISOR_BINARY": str(BINARY),
            "PROJECT_ID": PROJECT,
            "STAND_IN_HOME": str(folder),
            # What a block has started is ended with the run of the tests at the latest.
            "PYTEST_XDIST_TESTRUNUID": RUN_MARK,
        }
        if "TMPDIR" in os.environ:
            self.environment["TMPDIR"] = os.environ["TMPDIR"]

    def program(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        path.write_text(_PROGRAM)
        path.chmod(0o755)

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """As a reader pastes it into a shell, except that the first command that fails ends it."""
        # A document that belongs to a folder with files of its own speaks from there.
        folder = self.root / "deploy/terraform" if block.document == "deploy/terraform/README.md" else self.root
        self.write_files(folder, block.text)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    def write_files(self, folder: Path, text: str) -> None:
        """The files that a block names and that are the reader's own. What is in them stands in the comments."""
        for name in {*re.findall(r"--settings (\S+)", text)}:
            said = re.findall(rf"^# in {name}: (.*)$", text, re.MULTILINE)
            settings = re.findall(r"\b([A-Z_]+=[^\s,]+)", " ".join(said))
            (folder / name).write_text("\n".join([f"PROJECT_ID={PROJECT}", *settings]) + "\n")
        for name, said in re.findall(r"-var-file=(\S+)(?: +# (\w+ = .*))?$", text, re.MULTILINE):
            if not re.search(rf">{name}\b", text):
                (folder / name).write_text(f'project_id = "{PROJECT}"\n{said}\n')

    def use_docker(self) -> None:
        """Skips the test if there is no Docker. An engine is not needed."""
        docker = shutil.which("docker")
        if not docker:
            pytest.skip("docker is not installed; ./dev test docker installs it")
        plugin = subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0
        compose = f"{docker} compose" if plugin else shutil.which("docker-compose")
        if not compose:
            pytest.skip("Docker's compose is not installed; ./dev test docker installs it")
        self.environment |= {"DOCKER": docker, "COMPOSE": compose}
