"""What the documents name in their sentences and tables exists: commands of ./dev, options, paths, commands of gcloud."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys

import pytest

from document_programs import REPOSITORY
from documents import Block, code_spans, documents, text_of
from supervisor import BINARY
from workshop import Workshop

LIMIT = 120.0
PATH = re.compile(r"(?:tests|tools|docs|deploy|docker|google_emulator|supervisor|cmake)/[\w./-]*")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]+")
BENCHMARKS = ("containers", "polling", "rotations", "scale", "stop-delay")
# Options of programs whose help is not asked for here, with the program.
OF_OTHERS = {
    "--appendonly": "redis-server",
    "--auto-iam-authn": "the Cloud SQL Auth Proxy",
    "--background": "prefect server start",
    "--build-arg": "docker build",
    "--header": "uvicorn",
    "--no-services": "prefect server start",
    "--preload": "gunicorn",
    "--pull": "docker build",
}
# Files that the reader makes.
OF_THE_READER = ("deploy/production.settings",)


def all_spans() -> list[tuple[str, str]]:
    return sorted({(document, span) for document in documents() for span in code_spans(document)})


def spans(start: str) -> list[str]:
    return sorted({span for _, span in all_spans() if span.startswith(start)})


def flags_of(command: list[str]) -> set[str]:
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LIMIT, check=True)
    return set(FLAG.findall(result.stdout))


@functools.cache
def supervisor_flags() -> frozenset[str]:
    return frozenset(flags_of([str(BINARY), "--help"]))


@functools.cache
def benchmark_flags(name: str) -> frozenset[str]:
    return frozenset(flags_of([sys.executable, f"tests/bench/{name.replace('-', '_')}.py", "--help"]))


@functools.cache
def gcloud_commands() -> dict[str, set[str]]:
    recorded = json.loads((REPOSITORY / "tests/cloud_run/gcloud_commands.json").read_text())
    return {command: {*it["flags"], *recorded["every_command"]} for command, it in recorded["commands"].items()}


@functools.cache
def known_flags() -> frozenset[str]:
    """Of all programs of this repository, and of gcloud."""
    known = set(supervisor_flags()).union(*gcloud_commands().values())
    known |= flags_of([sys.executable, "google_emulator/local_run.py", "--help"])
    known |= flags_of([sys.executable, "google_emulator", "--help"])
    known |= flags_of(["./dev", "help"])
    for name in ("bench", *BENCHMARKS):
        known |= benchmark_flags(name)
    for script in ("setup", "deploy", "verify", "cleanup"):
        text = (REPOSITORY / "deploy/cloud_run" / script).read_text()
        known |= {f"--{name}" for names in re.findall(r'^take_options "([a-z ]*)"', text, re.MULTILINE) for name in names.split()}
    # The options that all of the scripts have.
    known |= set(re.findall(r"^ +(--[a-z-]+)\)", (REPOSITORY / "deploy/cloud_run/steps.sh").read_text(), re.MULTILINE))
    return frozenset(known)


def test_the_documents_name_such_things() -> None:
    assert len(spans("./dev ")) > 10 and len(spans("--")) > 40 and len(spans("tests/")) > 15
    assert len(known_flags()) > 300 and "--dry-run" in known_flags()


def test_every_option_is_known_to_a_program() -> None:
    named = {(document, flag) for document, span in all_spans() if span.startswith("--") for flag in FLAG.findall(span)}
    unknown = sorted(f"{document}: {flag}" for document, flag in named if flag not in known_flags() | OF_OTHERS.keys())
    assert unknown == []
    assert sorted(OF_OTHERS.keys() - {flag for _, flag in named}) == [], "no document names these any more"


@pytest.mark.parametrize("span", spans("prefect-supervisor --"))
def test_the_supervisor_has_these_options(span: str) -> None:
    assert set(FLAG.findall(span.partition(" -- ")[0])) <= supervisor_flags()


@pytest.mark.parametrize("span", spans("./dev bench"))
def test_the_benchmark_has_these_options(span: str) -> None:
    words = span.split()[2:]
    name = words[0] if words and words[0] in BENCHMARKS else "bench"
    assert [word for word in words if not word.startswith("-")][:1] == [name] or name == "bench"
    assert set(FLAG.findall(span)) <= benchmark_flags(name)
    # What ./dev starts, and what its help says.
    assert name == "bench" or f"bench {name} " in (REPOSITORY / "dev").read_text()


@pytest.mark.parametrize("span", [*spans("./dev test"), *spans("./dev build"), *spans("./dev up")])
def test_dev_takes_these_words(span: str, workshop: Workshop) -> None:
    if span.startswith("./dev up"):
        workshop.use_docker()
    result = workshop.run(Block("README.md", 0, "", span.replace("VERSION", "3.8.8") + "\n"))
    assert result.returncode == 0, result.stderr


def test_dev_has_every_command_that_is_named_anywhere() -> None:
    named = {word for document in documents() for word in re.findall(r"\./dev ([a-z-]+)", text_of(document))}
    known = set(re.findall(r"^ {4}([a-z]+)(?: \|[^)]*)?\)", (REPOSITORY / "dev").read_text(), re.MULTILINE))
    assert len(named) > 4 and named - known == set()


@pytest.mark.parametrize("span", spans("docker compose "))
def test_compose_has_these_commands_and_services(span: str, workshop: Workshop) -> None:
    workshop.use_docker()
    result = workshop.run(Block("README.md", 0, "", span + "\n"))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("span", spans("gcloud "))
def test_gcloud_has_the_command_and_its_options(span: str) -> None:
    words = span.split()[1:]
    command = next((name for name in (" ".join(words[:n]) for n in range(len(words), 0, -1)) if name in gcloud_commands()), "")
    assert command, f"{span}: record_gcloud.py has recorded no such command"
    assert set(FLAG.findall(span)) <= gcloud_commands()[command]


def test_every_path_of_the_repository_is_there() -> None:
    named = {(document, path) for document, span in all_spans() for path in [span.split()[0]] if PATH.fullmatch(path)}
    # Of a path with a name in capitals in the place of any name, as in tests/fuzz/NAME.cpp, what stands before it counts.
    lost = sorted(
        f"{document}: {path}"
        for document, path in named
        if not (REPOSITORY / path).exists() and not (REPOSITORY / re.split(r"/(?=[A-Z]{2,}\b)", path)[0]).exists()
    )
    assert [each for each in lost if not each.endswith(OF_THE_READER)] == []
    assert len(lost) >= len(OF_THE_READER), "no document names these any more"
