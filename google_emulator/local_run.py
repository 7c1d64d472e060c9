"""Runs real Prefect under prefect-supervisor on this machine, with a token that is replaced every minute: ./dev run

Starts the emulator, the supervisor and Prefect Server, prints the address of the UI and a line for every rotation, and
ends everything on Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

_REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_REPOSITORY))

from google_emulator.client import GoogleEmulator, EmulatorError  # noqa: E402
from google_emulator.durations import parse_duration  # noqa: E402
from google_emulator.tokens import check_life  # noqa: E402

_SUPERVISOR = _REPOSITORY / "build/release/prefect-supervisor"
_OUTPUT = _REPOSITORY / "build/local-run"
_PREFECT = Path(sys.executable).with_name("prefect")
# On a busy machine the first start of Prefect takes minutes.
_START_LIMIT = 600.0
# The supervisor's own stop timeout is 8 s.
_STOP_LIMIT = 20.0
_HOW = {
    "restart": "restarts Prefect with it",
    "in-place": "hands it over in place, with no restart",
    "rolling": "starts the next Prefect with it beside the old one, which then ends",
}
# These variables of the caller are passed on; others may be settings of another Prefect, database or project.
_PASSED_ON = ("HOME", "LANG", "TERM", "TMPDIR", "USER")


class RunError(Exception):
    """The run can't begin or go on; the message says why, in one line."""


class Interrupted(BaseException):
    """A signal asked for the end of the run."""


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev run",
        description="Runs real Prefect under prefect-supervisor against a stand-in for Google, until Ctrl-C.",
    )
    parser.add_argument(
        "--token-life", type=_life, default="60s", metavar="DURATION", help="10s to 1h (default: %(default)s)"
    )
    parser.add_argument(
        "--rotation",
        choices=tuple(_HOW),
        default="restart",
        help="how a fresh token reaches Prefect; but for in-place, two are at least 30 s apart (default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        help="address Prefect listens on (default: 127.0.0.1; with rolling it is 0.0.0.0 and can't be chosen)",
    )
    parser.add_argument("--port", type=_port, default=4200, help="port of the UI and the API (default: %(default)s)")
    parser.add_argument("--health-port", type=_port, help="of the supervisor's probes (default: a free one)")
    parser.add_argument("--rotations", type=int, metavar="N", help="end after N rotations")
    parser.add_argument("--for", type=_seconds, metavar="DURATION", dest="limit", help="end after that time")
    parser.add_argument(
        "--credentials",
        type=Path,
        metavar="FILE",
        help="get the tokens with this credential file (GOOGLE_APPLICATION_CREDENTIALS) in place of the metadata server; the "
        "stand-in for Google knows it, and nothing is sent to Google",
    )
    parser.add_argument("--verbose", action="store_true", help="print what Prefect and the supervisor write, too")
    options = parser.parse_args()
    if options.rotation == "rolling" and options.host:
        parser.error("--host can't be chosen with --rotation rolling, whose socket listens on 0.0.0.0")
    options.host = options.host or ("0.0.0.0" if options.rotation == "rolling" else "127.0.0.1")
    return options


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _life(text: str) -> str:
    try:
        check_life(parse_duration(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def check_port(host: str, port: int, option: str) -> int:
    """Returns the port, or a free one for 0. Raises RunError if the port can't be bound."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # Prefect does this as well: connections of an earlier run in the state TIME_WAIT do not keep the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RunError(f"can't listen on {host}:{port}: {error.strerror}; {option} takes another") from None
        return int(probe.getsockname()[1])


def address(options: argparse.Namespace) -> str:
    """The URL of Prefect's UI for a browser on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    return f"http://[{host}]:{options.port}" if ":" in host else f"http://{host}:{options.port}"


class Rotations:
    """Makes one line of all that the supervisor's log says about a rotation."""

    def __init__(self) -> None:
        self.count = 0
        self._ready = False
        self._pid = 0
        self._token = "?"
        self._drained = 0.0
        self._rolled: float | None = None

    def line(self, event: dict[str, Any]) -> str | None:
        """What to print for an event of the log, if anything."""
        match event["message"]:
            case "token: fresh one in hand":
                self._token = f"token {event['hash']}, good for {event['expires_in']} s,"
            case "child: started":
                self._pid = event["pid"]
            case "rotation: new connections go to the next child":
                self._rolled = event["after_ms"] / 1000
            case "rotation: child drained" if self._rolled is not None:
                self.count += 1
                rolled, self._rolled = self._rolled, None
                return (
                    f"rotation {self.count}: {self._token} in a new Prefect, pid {self._pid}, which took over"
                    f" {rolled:.1f} s after its start; the old one drained in {event['took_ms'] / 1000:.1f} s"
                )
            case "rotation: child drained":
                self._drained = event["took_ms"] / 1000
            case "child: ready" if not self._ready:
                self._ready = True
            case "child: ready":
                self.count += 1
                return (
                    f"rotation {self.count}: {self._token} in a new Prefect, pid {self._pid}:"
                    f" drained in {self._drained:.1f} s, ready {event['after_ms'] / 1000:.1f} s after its start"
                )
            case "rotation: fresh token handed over in place":
                self.count += 1
                return f"rotation {self.count}: {self._token} in place; Prefect runs on, pid {self._pid}"
            case message if event["severity"] in ("WARNING", "ERROR"):
                rest = {name: value for name, value in event.items() if name not in ("severity", "message", "time")}
                return " ".join([f"{event['severity']} {message}", *(f"{name}={rest[name]}" for name in rest)])
        return None


class Supervisor:
    """The real binary with Prefect under it. Whatever they write goes to `output`, and rotations to the user."""

    def __init__(self, emulator: GoogleEmulator, options: argparse.Namespace, home: str, output: TextIO) -> None:
        self.rotations = Rotations()
        self._verbose = options.verbose
        self._output = output
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | emulator.environment()
        environment |= {
            "PATH": os.pathsep.join([str(_PREFECT.parent), os.environ.get("PATH", os.defpath)]),
            "PORT": str(options.port),
            "PREFECT_HOME": home,
            # Not the login that the caller may have there.
            "CLOUDSDK_CONFIG": home,
            "PREFECT_LOGGING_COLORS": "false",
            # The UI's pages look for the API here; Prefect's default is port 4200, whatever the server listens on.
            "PREFECT_SERVER_UI_API_URL": f"{address(options)}/api",
        }
        if options.credentials:
            environment |= emulator.https_environment()
            environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(options.credentials.absolute())
        command = [str(_SUPERVISOR), "--rotation", options.rotation, "--log-format", "json"]
        command += ["--health-address", f"127.0.0.1:{options.health_port}"]
        if options.rotation != "rolling":
            # Left out, the command is this one with 0.0.0.0.
            command += ["--", "prefect", "server", "start", "--host", options.host, "--port", str(options.port)]
        self._process = subprocess.Popen(
            # Even if this program is killed, the supervisor ends.
            ["setpriv", "--pdeathsig", "TERM", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C is for this program, which ends the supervisor as Cloud Run does, by SIGTERM.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def check(self) -> None:
        """Raises RunError if the supervisor has ended."""
        if self._process.poll() is not None:
            self._reader.join(_STOP_LIMIT)
            raise RunError(f"the supervisor ended with code {self._process.returncode}; see {self._output.name}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            print(f"the supervisor did not end within {_STOP_LIMIT:g} s and was killed", file=sys.stderr)
        self._reader.join(_STOP_LIMIT)

    def _read(self) -> None:
        assert self._process.stdout
        for text in self._process.stdout:
            self._output.write(text)
            self._output.flush()
            if self._verbose:
                print(f"  {text}", end="", flush=True)
            event = _event(text)
            line = self.rotations.line(event) if event else None
            if line:
                print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _event(text: str) -> dict[str, Any] | None:
    """A line of the supervisor's log; None if it is Prefect's."""
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) and {"severity", "message", "time"} <= event.keys() else None


def wait_for_answer(url: str, supervisor: Supervisor) -> None:
    # A proxy of the machine must not be asked for one of its own addresses.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_LIMIT
    while time.monotonic() < deadline:
        supervisor.check()
        try:
            with opener.open(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RunError(f"{url} did not answer within {_START_LIMIT:g} s")


def _interrupt(*_: object) -> None:
    raise Interrupted


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the block. They are ignored after it, while everything is ended and removed."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        for number in signals:
            signal.signal(number, _interrupt)
        yield
    except Interrupted:
        print("\nending ...", flush=True)
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)


def run(options: argparse.Namespace) -> None:
    for program in (_SUPERVISOR, _PREFECT):
        if not os.access(program, os.X_OK):
            raise RunError(f"{program} is missing: start this by ./dev run, which makes it")
    check_port(options.host, options.port, "--port")
    options.health_port = check_port("127.0.0.1", options.health_port or 0, "--health-port")
    _OUTPUT.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack, interruptible():
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="local-run-", ignore_cleanup_errors=True))
        output = stack.enter_context(open(_OUTPUT / f"{options.port}.log", "w"))
        print("starting the metadata server, and PostgreSQL behind its IAM login ...", flush=True)
        credentials = [options.credentials] if options.credentials else []
        emulator = stack.enter_context(GoogleEmulator(token_life=options.token_life, credentials=credentials))
        print(f"starting Prefect, whose first start makes its tables; its output: {output.name} ...", flush=True)
        supervisor = Supervisor(emulator, options, home, output)
        stack.callback(lambda: print(_result(emulator, supervisor)))
        stack.callback(supervisor.stop)

        url = address(options)
        wait_for_answer(url, supervisor)
        print(
            f"\n  Prefect's UI   {url}\n  its supervisor http://127.0.0.1:{options.health_port}/status\n\n"
            f"A token lives for {options.token_life}. Shortly before its end the supervisor gets a new one and {_HOW[options.rotation]}.\n"
            "Ctrl-C ends everything.\n",
            flush=True,
        )
        until = time.monotonic() + options.limit if options.limit else float("inf")
        wanted = options.rotations or float("inf")
        while supervisor.rotations.count < wanted and time.monotonic() < until:
            supervisor.check()
            time.sleep(0.2)


def _result(emulator: GoogleEmulator, supervisor: Supervisor) -> str:
    logins = emulator.logins()
    refused = sum(login.refused for login in logins)
    return f"ended after {supervisor.rotations.count} rotations and {len(logins)} logins, {refused} of them refused"


def main() -> int:
    options = read_options()
    try:
        run(options)
    except (RunError, EmulatorError, OSError) as error:
        print(f"./dev run: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
