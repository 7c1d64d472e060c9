"""Searches the output, the probes and all processes of a whole run for the text of its tokens."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from prefect_load import COUNT_RUNS, CREATE_FLOW, LIST_FLOWS, Request, ask
from prefect_server import START_LIMIT, prefect_environment
from processes import find_process
from secret_search import leaks_in, leaks_in_processes
from supervisor import BINARY, Supervisor, run, wait_until
from google_emulator.client import GoogleEmulator

# A careless log would quote the token of these answers.
TELLING = [{"answer": name} for name in ("newline-token", "cut-body", "bad-json", "no-flavor")]
NOBODY = "65534"


def talkative(folder: Path) -> dict[str, str]:
    """The environment of a Prefect that logs as much as it can and often opens new connections to the database."""
    return prefect_environment(folder) | {
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_SERVER_LOGGING_LEVEL": "DEBUG",
        "PREFECT_SERVER_LOG_RETRYABLE_ERRORS": "true",
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_RECYCLE": "1",
    }


class Search:
    """Collects everything that can be read of a run while it lasts, and looks for the emulator's tokens in it."""

    def __init__(self, emulator: GoogleEmulator, supervisor: Supervisor, rotation: str) -> None:
        self.emulator, self.supervisor, self.rotation = emulator, supervisor, rotation
        self.answers: list[str] = []
        # The answer for an unknown path names the known ones.
        self.paths = self.supervisor.health("/").body.partition("known paths: ")[2].split()
        assert {"/status", "/readyz", "/livez", "/startupz"} <= set(self.paths)

    def look(self) -> None:
        tokens = self.emulator.tokens()
        for path in self.paths:
            answer = self.supervisor.health(path)
            assert answer.status in (200, 503), path
            self.answers.append(answer.body)
        assert leaks_in("".join(self.answers), tokens) == []
        written = self.supervisor.lines + self.supervisor.errors
        assert leaks_in("\n".join(written), tokens) == []
        assert leaks_in_processes("cmdline", tokens) == {}
        environments = leaks_in_processes("environ", tokens)
        child = self.supervisor.child_pid
        assert list(environments) == ([child] if self.rotation == "restart" else [])


def ask_all(port: int) -> list[Request]:
    return [ask(port, question) for question in (CREATE_FLOW, LIST_FLOWS, COUNT_RUNS)]


def core_limit(pid: int) -> str:
    limits = Path("/proc", str(pid), "limits").read_text().splitlines()
    return next(line for line in limits if line.startswith("Max core file size")).split()[4]


@pytest.mark.prefect
@pytest.mark.long
@pytest.mark.parametrize(
    # The next token in restart mode has to wait for the 30 s between two starts.
    ("rotation", "log_format", "refresh_interval"),
    [("restart", "json", "31s"), ("in-place", "text", "5s")],
)
def test_no_token_is_shown_anywhere(
    rotation: str, log_format: str, refresh_interval: str, tmp_path: Path
) -> None:
    arguments = ["--rotation", rotation, "--log-level", "debug", "--log-format", log_format]
    # The metadata server gives out the same token until the test makes the next one.
    with GoogleEmulator(token_life="1h", cache_model="five-minutes") as emulator:
        emulator.script({"answer": "newline-token"}, {"answer": "huge-body"}, {"answer": "token"}, *TELLING)
        environment = talkative(tmp_path)
        with Supervisor(
            *arguments, "--refresh-interval", refresh_interval, emulator=emulator, environment=environment
        ) as supervisor:
            supervisor.wait_for_log("token: fresh one in hand")
            # The last of the failures is an error page that quotes the current token.
            emulator.script({"status": 500, "body": f"bad token {emulator.tokens()[-1].text}"})
            supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
            search = Search(emulator, supervisor, rotation)
            search.look()
            assert core_limit(supervisor.pid) == core_limit(supervisor.child_pid) == "1"

            supervisor.wait_for_log("token: can't get one", count=3 + len(TELLING), timeout=START_LIMIT)
            search.look()

            emulator.rotate()
            supervisor.wait_for_log("token: fresh one in hand", count=2, timeout=START_LIMIT)
            if rotation == "restart":
                supervisor.wait_for_log("child: ready", count=2, timeout=START_LIMIT)
            else:
                supervisor.wait_for_log("rotation: fresh token handed over")
            search.look()

            # Prefect prints the details of failed logins.
            emulator.database("refuse-logins")
            wait_until(lambda: ask_all(supervisor.port) and emulator.refused_logins(), "a refused login")
            emulator.database("accept-logins")
            search.look()

            check = run("--check", *arguments, emulator=emulator, environment=environment)
            assert check.process and check.process.returncode == 0
            assert "TOKEN-" in check.transcript() or rotation == "in-place"
            assert leaks_in(check.transcript(), emulator.tokens()) == []

            supervisor.stop()
            assert leaks_in("\n".join(supervisor.lines + supervisor.errors), emulator.tokens()) == []
            assert len(emulator.tokens()) >= 2


def as_nobody() -> list[str] | None:
    """The command that starts the binary as an ordinary user; None if that is not possible."""
    if os.geteuid() != 0:
        return []
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if shutil.which("setpriv") is None:
        return None
    attempt = subprocess.run([*command, "test", "-x", str(BINARY)], capture_output=True, check=False)
    return command if attempt.returncode == 0 else None


def test_its_memory_is_closed_to_others_of_its_user(emulator: GoogleEmulator) -> None:
    """The kernel gives the /proc files of a process that must not be dumped to root, others to its user."""
    through = as_nobody()
    if through is None:
        pytest.skip(f"setpriv can't start {BINARY} as an ordinary user here")
    with Supervisor(emulator=emulator, command=["sleep", "600"], through=through) as supervisor:
        supervisor.wait_for_log("child: started")
        process = find_process(supervisor.pid)
        assert process
        assert (process.directory / "environ").stat().st_uid == 0
        assert core_limit(supervisor.pid) == "1"
        child = find_process(supervisor.child_pid)
        assert child
        assert (child.directory / "environ").stat().st_uid == (int(NOBODY) if through else os.geteuid())
