"""The images by themselves: their additions to Prefect's image, the process with PID 1, and EXTRA_PIP_PACKAGES."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import docker
import pytest
from prefect.utilities.dockerutils import get_prefect_image_name

from containers import Container, added_layers

REPOSITORY = Path(__file__).resolve().parents[2]
# The version that all other tests run.
VERSION = version("prefect")
BASE = get_prefect_image_name(prefect_version=VERSION, python_version="3.11")
MOST_ADDED = 4 * 1024 * 1024
IMAGES = ("prefect-server", "prefect-worker")
# A supervisor without a token, for any command: the server's entrypoint with options, the worker's as it is.
PLAIN = {
    "prefect-server": ["--no-token", "--health-address", "off", "--"],
    "prefect-worker": [],
}


def text_of(dockerfile: str) -> str:
    return (REPOSITORY / "docker" / dockerfile / "Dockerfile").read_text()


@pytest.mark.parametrize("dockerfile", ["server", "worker", "google_emulator"])
def test_the_base_is_one_version_of_prefect_and_can_be_another(dockerfile: str) -> None:
    """The tutorial's tag, 3-python3.11, moves with each release of Prefect, whose migrations can't be undone by going back
    to an older image."""
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", text_of(dockerfile), re.M))
    assert arguments["PREFECT_VERSION"] == VERSION
    # get_prefect_image_name() is Prefect's own rule for the names of its images (prefect/utilities/dockerutils.py).
    assert arguments["PREFECT_IMAGE"].replace("${PREFECT_VERSION}", VERSION) == BASE
    assert "${PREFECT_VERSION}" in arguments["PREFECT_IMAGE"]


@pytest.mark.parametrize("file", ["compose.yaml", "compose.scale.yaml"])
def test_compose_builds_on_the_same_version(file: str) -> None:
    text = (REPOSITORY / "docker" / file).read_text()
    assert re.findall(r"PREFECT_VERSION: (.*)", text) == [f"${{PREFECT_VERSION:-{VERSION}}}"] * 2


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_is_at_most_4_mib_larger_than_prefects(
    engine: docker.DockerClient, image: str, record_property: Callable[[str, object], None]
) -> None:
    layers = added_layers(engine, image, BASE)
    # Prefect writes the very same files at its first start, then into the memory of each instance.
    prefects_ui = [layer for layer in layers if "create_ui_app" in layer]
    assert len(prefects_ui) == (image == "prefect-server")
    ours = sum(size for layer, size in layers.items() if layer not in prefects_ui)
    record_property("bytes", {"ours": ours, "prefect's UI": sum(layers[layer] for layer in prefects_ui)})
    assert 1024 * 1024 < ours <= MOST_ADDED


@pytest.mark.parametrize("image", IMAGES)
def test_the_supervisor_is_pid_1_without_tini(engine: docker.DockerClient, image: str) -> None:
    with Container(engine, image, [*PLAIN[image], "sleep", "60"]) as container:
        container.wait_for_log("child: started")
        first, second = container.processes()
        assert first.startswith("prefect-supervisor --no-token") and second == "sleep 60"
        assert container.run("readlink", "/proc/1/exe") == (0, "/usr/local/bin/prefect-supervisor\n")
        assert container.stop().code == 128 + signal.SIGTERM


@pytest.mark.parametrize("image", IMAGES)
def test_an_exit_code_comes_through(engine: docker.DockerClient, image: str) -> None:
    with Container(engine, image, [*PLAIN[image], "sh", "-c", "exit 42"]) as container:
        assert container.wait().code == 42


@pytest.mark.parametrize("image", IMAGES)
def test_extra_pip_packages_are_there_before_the_child(engine: docker.DockerClient, image: str) -> None:
    command = [*PLAIN[image], "python", "-c", "import iniconfig; print('has', iniconfig.__name__)"]
    with Container(engine, image, command, environment={"EXTRA_PIP_PACKAGES": "iniconfig==2.3.1"}) as container:
        assert container.wait().code == 0
        assert "has iniconfig" in container.output()
    with Container(engine, image, command) as container:
        assert container.wait().code == 1


def test_a_failure_to_install_extra_pip_packages_ends_the_container_with_its_reason(
    engine: docker.DockerClient,
) -> None:
    environment = {"EXTRA_PIP_PACKAGES": "/no/such/package"}
    with Container(engine, "prefect-server", ["--check"], environment=environment) as container:
        assert container.wait().code not in (0, 126, 127)
        assert "/no/such/package" in container.output()
        assert "starting" not in container.output()


def test_a_stop_while_extra_pip_packages_are_installed_ends_at_once(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    slow = tmp_path / "entrypoint.sh"
    slow.write_text("#!/bin/sh\necho installing\nsleep 600\n")
    slow.chmod(0o755)
    with Container(
        engine,
        "prefect-server",
        environment={"EXTRA_PIP_PACKAGES": "anything"},
        volumes={str(slow): {"bind": "/opt/prefect/entrypoint.sh"}},
    ) as container:
        container.wait_for_output("installing")
        # After the engine's SIGKILL it would be 137.
        assert container.stop().code == 128 + signal.SIGTERM


def test_without_settings_the_server_says_which_are_missing(engine: docker.DockerClient) -> None:
    with Container(engine, "prefect-server") as container:
        assert container.wait().code == 1
        (line,) = container.output().splitlines()
        assert all(name in line for name in ("DB_USER", "DB_IP", "DB_NAME"))


@pytest.mark.parametrize(("password", "why"), [("", "is empty"), ("admin:secret\n", "has a line break")])
def test_a_password_that_nobody_can_give_is_refused_in_one_line(
    engine: docker.DockerClient, password: str, why: str
) -> None:
    environment = {"PREFECT_SERVER_API_AUTH_STRING": password}
    with Container(engine, "prefect-server", environment=environment) as container:
        assert container.wait().code == 1
        (line,) = container.output().splitlines()
        assert line.startswith(f"prefect-entrypoint: PREFECT_SERVER_API_AUTH_STRING {why}")
        assert "secret" not in line.replace("make the secret", "")


def test_without_an_address_the_worker_says_so(engine: docker.DockerClient) -> None:
    with Container(engine, "prefect-worker") as container:
        assert container.wait().code == 1
        assert "worker: PREFECT_API_URL is not set" in container.output()
