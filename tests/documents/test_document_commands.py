"""Every command in the README and the documents is run, as it stands there.

Each block of code is of one kind, which its text tells: a block of commands is run by bash in a workshop (workshop.py), whose
programs are the real ones where they can run here (document_programs.py says which are not). What no rule knows fails, with
its file and line. Blocks that another test runs are those that it gets by take_block(). tests/docker runs the blocks about Docker
with an engine; here the real client reads their words without one.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from document_programs import REPOSITORY
from documents import Block, blocks
from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor
from terraform import environment_for_init, needs_terraform
from workshop import LIMIT, Workshop

TESTS = REPOSITORY / "tests"
SHELL = ("", "sh", "bash", "console", "shell")
# Neither is a command, and each is a part of a file that the text beside it names.
PARTS_OF_FILES = ("diff", "yaml")
PICTURE = re.compile(r"[┌│└▶]|^ *\+--|^[ |]*\|[ |]*$", re.MULTILINE)
ASSIGNMENTS = re.compile(r"(?:[A-Z_]+=\S* *(?:# .*)?\n)+")
# The blocks that cannot run here at all, by how they begin, and why.
NOT_RUN = {
    ("docs/fuzzing.md", "build/fuzz/tests/fuzz/fuzz_TARGET -merge=1"): "the targets of the fuzzer are built for its own part alone",
    ("docs/releasing.md", "sha256sum --check --ignore-missing SHA256SUMS"): "they verify a release that has been published, by GitHub's own records",
}
# Starts a server or a database, or waits for one.
SLOW = re.compile(r"^\./dev run|^prefect |prefect-supervisor |^terraform |^python3 google_emulator", re.MULTILINE)


def taken() -> Iterator[tuple[str, str, str]]:
    """The calls of take_block() in all tests: document, start, and the test's file."""
    for file in sorted(TESTS.rglob("test_*.py")):
        if "take_block" not in (text := file.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "take_block":
                document, start = (ast.literal_eval(argument) for argument in node.args)
                yield document, start, str(file.relative_to(REPOSITORY))


TAKEN = list(taken())


def kind(block: Block) -> str:
    """Which rule is for the block; the name of none if nothing is known about it."""
    if any(block.document == document and block.text.startswith(start) for document, start, _ in TAKEN):
        return "run by another test"
    if any(block.document == document and block.text.startswith(start) for document, start in NOT_RUN):
        return "not run"
    if block.language not in SHELL:
        return "part of a file" if block.language in PARTS_OF_FILES else f"unknown language {block.language}"
    if PICTURE.search(block.text):
        return "picture"
    if block.text.startswith("{"):
        return "output of python3 google_emulator"
    if block.text.startswith(("from ", "import ")):
        return "Python"
    if ASSIGNMENTS.fullmatch(block.text):
        return "environment"
    return "commands"


def of_kind(*kinds: str) -> list[Any]:
    return [
        pytest.param(block, id=block.place, marks=[pytest.mark.long] if SLOW.search(block.text) else [])
        for block in blocks()
        if kind(block) in kinds
    ]


def test_there_are_commands_in_the_documents() -> None:
    documents = {parameter.values[0].document for parameter in of_kind("commands")}
    assert {"README.md", "docker/README.md", "docs/google-cloud.md", "deploy/terraform/README.md"} <= documents
    assert len(of_kind("commands")) > 40


def test_every_block_has_a_rule() -> None:
    known = {
        "run by another test",
        "not run",
        "part of a file",
        "picture",
        "output of python3 google_emulator",
        "Python",
        "environment",
        "commands",
    }
    assert [f"{block.place}: {kind(block)}" for block in blocks() if kind(block) not in known] == []


@pytest.mark.parametrize(("document", "start"), NOT_RUN)
def test_a_block_that_is_not_run_is_there_once(document: str, start: str) -> None:
    found = [block for block in blocks() if block.document == document and block.text.startswith(start)]
    assert len(found) == 1 and not any(each[:2] == (document, start) for each in TAKEN)


@pytest.mark.parametrize(("document", "start", "test"), TAKEN)
def test_a_block_that_another_test_runs_is_there_once(document: str, start: str, test: str) -> None:
    found = [block for block in blocks() if block.document == document and block.text.startswith(start)]
    assert len(found) == 1, f"{test} takes {start!r} from {document}"


@pytest.mark.parametrize("block", of_kind("commands"))
def test_the_commands_of_a_block_do_what_they_say(
    block: Block, workshop: Workshop, request: pytest.FixtureRequest
) -> None:
    if re.search(r"\bdocker |\./dev up", block.text):
        workshop.use_docker()
    if re.search(r"^terraform ", block.text, re.MULTILINE):
        request.getfixturevalue("use_terraform")(workshop)
    if re.search(r"^prefect ", block.text, re.MULTILINE):
        request.getfixturevalue("use_prefect")(workshop)
    result = workshop.run(block)
    assert result.returncode == 0, f"{block.place}:\n{result.stdout}{result.stderr}"


@pytest.fixture
def use_terraform(block: Block, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Workshop], None]:
    missing = needs_terraform().mark
    if missing.args[0]:
        pytest.skip(missing.kwargs["reason"])
    providers = tmp_path_factory.mktemp("providers")

    def use(workshop: Workshop) -> None:
        workshop.environment = environment_for_init(providers) | workshop.environment
        workshop.environment["TERRAFORM"] = str(shutil.which("terraform"))
        # A block further down in a document goes on where the first one has begun.
        if "terraform init" not in block.text:
            begun = workshop.run(Block(block.document, block.line, "sh", "terraform init\n"))
            assert begun.returncode == 0, begun.stdout + begun.stderr

    return use


@pytest.fixture
def use_prefect(tmp_path: Path) -> Iterator[Callable[[Workshop], None]]:
    """A server with a password and the work pool of the tutorial, which is the one that the variables name."""
    password = "admin:secret"
    server = prefect_environment(tmp_path) | {"PREFECT_SERVER_API_AUTH_STRING": password}
    command = ["sh", "-c", 'exec prefect server start --port "$PORT"']
    ready_url = "http://127.0.0.1:{port}/api/health"
    with Supervisor("--no-token", command=command, environment=server, ready_url=ready_url) as supervisor:
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        api = f"http://127.0.0.1:{supervisor.port}/api"
        client = {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": password}
        pool = {"name": "cloud-run-pool", "type": "process"}
        httpx.post(f"{api}/work_pools/", json=pool, auth=("admin", "secret"), timeout=LIMIT).raise_for_status()
        yield lambda workshop: workshop.environment.update(prefect_environment(tmp_path) | client)


@pytest.mark.parametrize("block", of_kind("environment"))
def test_the_variables_of_an_environment_are_read_somewhere(block: Block) -> None:
    code = "".join(
        path.read_text()
        for folder in ("docker", "supervisor", "deploy/cloud_run")
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and path.suffix != ".md"
    )
    names = re.findall(r"^([A-Z_]+)=", block.text, re.MULTILINE)
    assert names and [name for name in names if not re.search(rf"\b{name}\b", code)] == []


@pytest.mark.parametrize("block", of_kind("Python"))
def test_the_python_of_a_document_runs(block: Block) -> None:
    result = subprocess.run(
        [sys.executable, "-c", f"import os\n{block.text}"], cwd=REPOSITORY, capture_output=True, text=True, timeout=LIMIT
    )
    assert result.returncode == 0, f"{block.place}: {result.stderr}"


@pytest.mark.parametrize("block", of_kind("output of python3 google_emulator"))
def test_the_line_of_the_emulator_has_these_members(block: Block, workshop: Workshop) -> None:
    shown = json.loads(block.text)
    command = Block(block.document, block.line, "", "python3 google_emulator\n")
    printed = json.loads(workshop.run(command).stdout)
    assert printed.keys() == shown.keys() and printed["database"].keys() == shown["database"].keys()


def test_a_command_that_no_rule_knows_is_not_run(workshop: Workshop) -> None:
    result = workshop.run(Block("README.md", 1, "sh", "touch here\n"))
    assert result.returncode == 127 and "touch: command not found" in result.stderr
    result = workshop.run(Block("README.md", 1, "sh", "./dev test everything\n"))
    assert result.returncode == 1 and "there is no part 'everything'" in result.stderr
    result = workshop.run(Block("README.md", 1, "sh", "gcloud run jobs execute --wating prefect-migrate\n"))
    assert result.returncode == 2 and "unrecognized arguments: --wating" in result.stderr
