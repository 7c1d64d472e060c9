"""Runs real Prefect under prefect-supervisor on this machine: ./dev run

Starts the local world, the supervisor and Prefect Server, prints where the UI is and a line for every rotation, and
ends everything on Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from world.client import World, WorldError  # noqa: E402
from world.durations import parse_duration  # noqa: E402

PROGRAM = ROOT / "build" / "release" / "prefect-supervisor"
START_LIMIT = 180.0
STOP_LIMIT = 20.0
# Rotations are what this run is for; the rest of the supervisor's log goes to the file.
SHOWN = ("token:", "rotation:", "child: ready", "child: ended", "child: can't", "health:")


class RunError(Exception):
    """Why the run can't go on, in one line for the user."""


class Interrupted(Exception):
    """The user, or whoever started us, wants the run to end."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev run", description="Runs real Prefect under prefect-supervisor against a local stand-in for Google."
    )
    parser.add_argument("--token-life", default="60s", help="how long a token lives, 10s to 1h (default: %(default)s)")
    parser.add_argument("--rotation", choices=("restart", "in-place"), default="restart", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=4200, help="Prefect's port (default: %(default)s)")
    parser.add_argument("--health-port", type=int, default=8081, help="of the probes (default: %(default)s)")
    parser.add_argument("--rotations", type=int, metavar="N", help="end after N rotations (default: on Ctrl-C)")
    parser.add_argument("--verbose", action="store_true", help="show Prefect's output too, not only in the file")
    return parser.parse_args()


def check_port(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except (OSError, OverflowError) as error:
            raise RunError(f"port {port} can't be used: {error} ({option} takes another)") from None


def end_by_signal(*_: object) -> None:
    raise Interrupted


class Run:
    """The supervisor, started, watched and ended."""

    def __init__(self, world: World, arguments: argparse.Namespace, home: Path, output: TextIO) -> None:
        self._arguments = arguments
        self._output = output
        self.rotations = 0
        self._process = subprocess.Popen(
            [str(PROGRAM), "--log-format", "json"],
            env={
                **os.environ,
                **world.environment(),
                "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
                "PORT": str(arguments.port),
                "SUPERVISOR_ROTATION": arguments.rotation,
                "SUPERVISOR_HEALTH_ADDRESS": f"127.0.0.1:{arguments.health_port}",
                "PREFECT_HOME": str(home),
                "PREFECT_UI_API_URL": f"http://127.0.0.1:{arguments.port}/api",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C is for us alone; the supervisor then gets its SIGTERM.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._output.write(line)
            self._output.flush()
            event = self._own_line(line)
            if event is None:
                if self._arguments.verbose:
                    print(line, end="", flush=True)
            elif event["severity"] in ("WARNING", "ERROR") or event["message"].startswith(SHOWN):
                self._show(event)

    @staticmethod
    def _own_line(line: str) -> dict[str, Any] | None:
        try:
            event = json.loads(line)
        except ValueError:
            return None
        return event if isinstance(event, dict) and {"severity", "message", "time"} <= event.keys() else None

    def _show(self, event: dict[str, Any]) -> None:
        details = " ".join(f"{k}={v}" for k, v in event.items() if k not in ("severity", "message", "time"))
        print(f"{event['time'][11:19]} {event['message']} {details}".rstrip(), flush=True)
        handed_over = event["message"] == "rotation: fresh token handed over in place"
        restarted = event["message"] == "child: ready" and self._arguments.rotation == "restart" and self.ready_once
        self.rotations += handed_over or restarted
        self.ready_once = self.ready_once or event["message"] == "child: ready"

    ready_once = False

    def check_alive(self) -> None:
        if (code := self._process.poll()) is not None:
            self._reader.join(5)
            raise RunError(f"the supervisor ended with code {code}; its output is above and in {self._output.name}")

    def stop(self) -> int:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            code = self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join(5)
        return code


def wait_for_ui(run: Run, url: str) -> None:
    deadline = time.monotonic() + START_LIMIT
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        run.check_alive()
        try:
            with opener.open(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.25)
    raise RunError(f"the UI at {url} did not answer within {START_LIMIT:g} s")


def main() -> int:
    arguments = options()
    parse_duration(arguments.token_life)
    if not os.access(PROGRAM, os.X_OK):
        raise RunError(f"{PROGRAM.relative_to(ROOT)} is missing: ./dev build makes it")
    check_port(arguments.port, "--port")
    check_port(arguments.health_port, "--health-port")
    signal.signal(signal.SIGTERM, end_by_signal)
    signal.signal(signal.SIGHUP, end_by_signal)

    home = Path(tempfile.mkdtemp(prefix="prefect-home-"))
    log = ROOT / "build" / "run.log"
    code = 0
    try:
        with log.open("w") as output, World(token_life=arguments.token_life) as world:
            print(f"Starting Prefect; its output goes to {log.relative_to(ROOT)}", flush=True)
            run = Run(world, arguments, home, output)
            try:
                url = f"http://127.0.0.1:{arguments.port}"
                wait_for_ui(run, url)
                print(f"\n  Prefect's UI:  {url}\n  Status:        http://127.0.0.1:{arguments.health_port}/status\n")
                way = (
                    "restarts Prefect with the new one"
                    if arguments.rotation == "restart"
                    else "hands the new one over, with no restart"
                )
                print(
                    f"A token lives for {arguments.token_life}. Before it ends, the supervisor {way}.\n"
                    "Ctrl-C ends everything.\n",
                    flush=True,
                )
                while arguments.rotations is None or run.rotations < arguments.rotations:
                    run.check_alive()
                    time.sleep(0.2)
            except (KeyboardInterrupt, Interrupted):
                print("\nEnding ...", flush=True)
            finally:
                code = run.stop()
            refused = len(world.refused_logins())
            print(
                f"Ended: {run.rotations} rotations, {len(world.logins())} logins, {refused} of them refused; "
                f"the supervisor's exit code was {code}."
            )
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RunError, WorldError, ValueError) as failure:
        print(f"dev run: {failure}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, Interrupted):
        sys.exit(130)
