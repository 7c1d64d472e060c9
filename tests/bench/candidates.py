"""What is compared, and how each of them is started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from process import MeasurementError, Process

_CHILD_SOURCE = Path(__file__).with_name("child.c")


class Bench:
    """The folder with the compiled child, and the ways to start it. Everything in it goes with the block."""

    def __init__(self, supervisor: Path, tini: Path | None, script: Path | None, python: Path) -> None:
        self.supervisor = supervisor
        self.tini = tini
        self.script = script
        self.python = python
        self.token_environment: dict[str, str] = {}

    def __enter__(self) -> Bench:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            # The candidates' default command finds it under this name in PATH.
            self.child = self.folder / "bin" / "prefect"
            self.child.parent.mkdir()
            options = ["-O2", "-static", "-no-pie", "-D_GNU_SOURCE", "-Wl,-e,bench_entry"]
            compile_child = ["cc", *options, "-o", self.child, _CHILD_SOURCE]
            result = subprocess.run(compile_child, capture_output=True, text=True)
            if result.returncode != 0:
                raise MeasurementError(f"can't compile {_CHILD_SOURCE}: {result.stderr.strip()}")
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def alone(self, role: str, **variables: str) -> Process:
        return self._start([self.child], role, variables)

    def fetch(self, host: str, port: str) -> Process:
        return self._start([self.child, "fetch", host, port], "", {})

    def plain_init(self, role: str, **variables: str) -> Process:
        """The supervisor without a token."""
        options = ["--no-token", "--health-address", "off", "--log-format", "text"]
        return self._start([self.supervisor, *options, "--", self.child], role, variables)

    def with_token(self, role: str, *options: str, **variables: str) -> Process:
        """The supervisor as its users run it, with its default command."""
        command = [self.supervisor, "--log-format", "text", *options]
        return self._start(command, role, self.token_environment | variables)

    def tini_init(self, role: str, **variables: str) -> Process:
        assert self.tini
        return self._start([self.tini, "-s", "--", self.child], role, variables)

    def tutorial(self, role: str, **variables: str) -> Process:
        assert self.script
        return self._start([self.python, self.script], role, self.token_environment | variables)

    def _start(self, command: Sequence[str | Path], role: str, variables: dict[str, str]) -> Process:
        # Nothing of the user's environment is used: neither proxies nor credentials may change the measurements.
        environment = {
            "PATH": f"{self.child.parent}{os.pathsep}{os.defpath}",
            "HOME": str(self.folder),
            "BENCH_CHILD": role,
            **variables,
        }
        stamped = [str(self.child), "stamp", *map(str, command)]
        return Process(stamped, environment, self.folder)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
