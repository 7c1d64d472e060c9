"""Compares what a rotation costs Prefect's users, for each way to rotate, under the same load: ./dev bench rotations

Real Prefect runs under the supervisor in each of its modes, and under the tutorial's script if --against names it. A
Markdown table shows what its clients saw and what its processes used.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_REPOSITORY), str(_REPOSITORY / "tests/support")]

from google_emulator.client import EmulatorError, GoogleEmulator  # noqa: E402
from prefect_load import LoadError  # noqa: E402
from prefect_server import START_LIMIT  # noqa: E402
from process import MeasurementError  # noqa: E402
from process_tree import TreeSampler, Usage  # noqa: E402
from rotation_figures import MARGIN, Run, figures  # noqa: E402
from rotation_load import EVERY, KEPT, OWN, POOLED, RotationLoad  # noqa: E402
from rotation_subjects import (  # noqa: E402
    SCRIPT,
    SCRIPT_DB_PORT,
    Subject,
    Supervised,
    TutorialContainer,
    read_rotations,
)
from supervisor import BINARY, wait_until  # noqa: E402

MODES = ("restart", "in-place", "rolling")
# The supervisor starts two children at least this far apart.
_FLOOR = 30
# Imports, first connections and caches are not measured.
_WARM_UP = 5.0
# A token outlives its successor's arrival, but not many of them: a server that kept an old one would be refused.
_LIVES = 4
# A machine may have a PostgreSQL of its own on the script's port of 127.0.0.1.
_SCRIPT_DB_HOST = "127.0.0.2"
_NONE = "–"

_NOTES = f"""\
- The load: 4 clients with {OWN}, 4 with {KEPT}, one is {POOLED}.
  Each asks every {EVERY * 1000:.0f} ms but for the rounds that it misses while it waits for an answer, and never asks
  twice. Five kinds of questions take turns.
- A rotation lasts from its first step in the log to {MARGIN:.0f} s after its last one. Two of them are {{apart}} s
  apart or more.
- The time without an answer is that between two answers to the clients with {OWN}.
- From start to serving: rolling, until the next child listens; otherwise until the first answer.
- The drain: from TERM to the exit.
- The memory is the sum of the PSS of all processes of the supervisor or the container, taken ten times a second.
- The CPU of a rotation is that of the same processes, less what they use in the same time without one. Fewer requests
  are answered meanwhile, which saves CPU: a rotation with a long time without an answer looks cheaper than it is."""
_SCRIPT_NOTE = """\
- The script is PID 1 of a PID namespace, all of which ends with it, as its container does at each rotation. The next
  one is started at once, with no image to fetch and nothing to set up; a platform needs longer. Of the script, only
  the interval is shortened."""


def _subject(mode: str, options: argparse.Namespace, emulator: GoogleEmulator, folder: Path) -> Subject:
    interval = _FLOOR + options.pause
    if mode == SCRIPT:
        return TutorialContainer(options.against, emulator, folder, interval)
    return Supervised(mode, emulator, folder, interval)


def measure(mode: str, options: argparse.Namespace) -> dict[str, Any]:
    def say(what: str) -> None:
        print(f"bench: {mode}: {what} ...", file=sys.stderr, flush=True)

    token_life = min(3600, _LIVES * (_FLOOR + options.pause))
    place = {"host": _SCRIPT_DB_HOST, "db_port": SCRIPT_DB_PORT} if mode == SCRIPT else {}
    say("start")
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        GoogleEmulator(token_life=f"{token_life}s", **place) as emulator,
        _subject(mode, options, emulator, Path(folder)) as subject,
    ):
        subject.wait_until_ready()
        with RotationLoad(subject.port) as load:

            def watch(condition: Callable[[], bool], what: str, limit: float) -> None:
                def fulfilled() -> bool:
                    subject.check()
                    load.check()
                    return condition()

                wait_until(fulfilled, what, limit, pause=0.1)

            def watch_for(seconds: float) -> None:
                over = time.monotonic() + seconds
                watch(lambda: time.monotonic() >= over, "the time to pass", 2 * seconds + START_LIMIT)

            watch_for(_WARM_UP)
            with TreeSampler(subject.pids, subject.ended_cpu) as sampler:
                since = time.time()
                for number in range(1, options.rotations + 1):
                    emulator.rotate()
                    say(f"rotation {number} of {options.rotations}")
                    watch(
                        lambda: len(read_rotations(subject.events(), subject.steps, since)) >= number,
                        f"rotation {number}",
                        _FLOOR + options.pause + 2 * START_LIMIT,
                    )
                    watch_for(MARGIN + 1)
                sent = load.end()
        return figures(
            Run(
                rotations=read_rotations(subject.events(), subject.steps, since)[: options.rotations],
                sent=[one for one in sent if one.started >= since],
                usage=Usage(sampler.samples),
                load_cpu=load.cpu_seconds,
                logins=len(emulator.logins()),
                logins_refused=len(emulator.refused_logins()),
                exit_codes=subject.exit_codes(),
            )
        )


def _seconds(values: list[float]) -> str:
    if not values:
        return _NONE
    return f"{statistics.median(values):.2f} s ({max(values):.2f} s)"


def _failed(of: dict[str, Any]) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in of.get("errors", {}).items())
    return f"{of['failed']:,} of {of['requests']:,}" + (f": {kinds}" if kinds else "")


def column(found: dict[str, Any]) -> dict[str, str]:
    clients = {f"failed, {client}": _failed(found["clients"][client]) for client in (OWN, KEPT, POOLED)}
    ended = ", ".join(sorted({str(code) for code in found["exit_codes"]}))
    return {
        "rotations": f"{found['rotations']} in {found['seconds']:.0f} s",
        "requests failed": _failed(found),
        "failed per rotation": f"{found['failed'] / found['rotations']:.1f}",
        **clients,
        "failed without a rotation": f"{found['failed_without_rotation']:,}",
        "longest time without an answer, median (max)": _seconds(found["silence"]),
        "the same without a rotation": f"{found['silence_without_rotation']:.2f} s",
        "99 % of the answers within, in a rotation (without)": (
            f"{found['answer_p99'] * 1000:.0f} ms ({found['answer_p99_without_rotation'] * 1000:.0f} ms)"
        ),
        "next start to serving, median (max)": _seconds(found["start_to_serving"]),
        "drain, median (max)": _seconds(found["drain"]),
        "logins refused": f"{found['logins_refused']} of {found['logins']}",
        "peak memory, in a rotation (without)": (
            f"{found['memory_peak'] / 2**20:.0f} MiB ({found['memory_peak_without_rotation'] / 2**20:.0f} MiB)"
        ),
        "CPU of a rotation, median (max)": _seconds(found["cpu_more"]),
        "CPU without a rotation": f"{found['cpu_per_second_without_rotation']:.2f} of a core",
        "CPU of the load": f"{found['cpu_of_load_per_second']:.2f} of a core",
        "container": f"ended with {ended} {len(found['exit_codes'])} times" if ended else "runs on",
    }


def print_table(found: dict[str, dict[str, Any]]) -> None:
    columns = {mode: column(one) for mode, one in found.items()}
    print("| | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for row in next(iter(columns.values())):
        print(f"| {row} | " + " | ".join(values[row] for values in columns.values()) + " |")


def _machine() -> dict[str, Any]:
    told = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, kernel {platform.release()}",
        "load_before": os.getloadavg(),
        "supervisor": told[0],
        "prefect": version("prefect"),
    }


def _modes(text: str) -> list[str]:
    modes = [mode for mode in text.split(",") if mode]
    if unknown := set(modes) - set(MODES):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))} (known: {', '.join(MODES)})")
    return modes


def _number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return parse


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench rotations", description=__doc__.partition(": ./dev")[0])
    parser.add_argument(
        "--rotations", type=_number(1), default=5, metavar="N", help="of each mode (default: %(default)s)"
    )
    parser.add_argument(
        "--modes",
        type=_modes,
        default=list(MODES),
        metavar="LIST",
        help=f"the supervisor's, with commas; '' measures the script alone (default: {','.join(MODES)})",
    )
    parser.add_argument("--against", type=Path, metavar="SCRIPT", help="the tutorial's entrypoint.py, to compare with")
    parser.add_argument(
        "--pause",
        type=_number(0),
        default=5,
        metavar="SECONDS",
        help=f"added to the {_FLOOR} s that two rotations are apart at least (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args()
    if options.against is not None and not options.against.is_file():
        parser.error(f"--against {options.against} is no file")
    if not options.modes and options.against is None:
        parser.error("nothing to measure: --modes is empty and there is no --against")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such folder")
    if not os.access(BINARY, os.X_OK):
        parser.error(f"{BINARY} is not there or not executable; build the release first")
    return options


def main() -> int:
    options = read_options()
    # The program is ended as by Ctrl-C, so that every process that it started ends, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    modes = options.modes + ([SCRIPT] if options.against is not None else [])
    machine = _machine()
    found: dict[str, dict[str, Any]] = {}
    failed = False
    try:
        for mode in modes:
            found[mode] = measure(mode, options)
    except (MeasurementError, EmulatorError, LoadError, OSError) as error:
        # What was measured until then is shown, since it took minutes.
        print(f"bench: error: {error}", file=sys.stderr)
        failed = True
    except KeyboardInterrupt:
        return 130
    if found:
        report(found, machine, options)
    return 1 if failed else 0


def report(found: dict[str, dict[str, Any]], machine: dict[str, Any], options: argparse.Namespace) -> None:
    apart = _FLOOR + options.pause
    if options.json is not None:
        options.json.write_text(json.dumps({"of": machine, "apart_seconds": apart, "found": found}, indent=2) + "\n")
    print("\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in machine.items()) + "\n")
    print_table(found)
    print("\n" + _NOTES.format(apart=apart))
    if SCRIPT in found:
        print(_SCRIPT_NOTE)


if __name__ == "__main__":
    sys.exit(main())
