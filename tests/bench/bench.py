"""Measures prefect-supervisor against its aims, tini and a script in Python; prints one Markdown table."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from google_emulator.client import GoogleEmulator, EmulatorError  # noqa: E402

import measurements  # noqa: E402
from candidates import Bench  # noqa: E402
from measurements import FULL, QUICK, Plan, Samples  # noqa: E402
from process import MeasurementError  # noqa: E402

Found = TypeVar("Found")

_COLUMNS = ["supervisor", "tini", "tutorial", "alone"]
_HEADINGS = {
    "supervisor": "prefect-supervisor",
    "tini": "tini -s",
    "tutorial": "python3 + script",
    "alone": "child alone",
}
_NONE = "–"

_AIM_SIZE = 3 * 1024 * 1024
_AIM_RESIDENT_KB = 4 * 1024
_AIM_START_MS = 5.0
_AIM_WAKE_UPS = 20.0
_AIM_RESTART_MS = 2.0


@dataclass
class Row:
    what: str
    values: dict[str, str]
    aim: str = ""
    met: bool | None = None


class Report:
    """The rows as they come, and whether all could be measured."""

    def __init__(self, with_tutorial: bool) -> None:
        self._with_tutorial = with_tutorial
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.failed = False

    def add(self, what: str, aim: str = "", met: bool | None = None, **values: str) -> None:
        self.rows.append(Row(what, values, aim, met))

    def note(self, text: str, of_tutorial: str = "") -> None:
        """A line below the table; `of_tutorial` is added to it where the script is compared."""
        self.notes.append(f"{text} {of_tutorial}" if of_tutorial and self._with_tutorial else text)

    def measure(self, what: str, measurement: Callable[[], Found]) -> Found | None:
        """The measurement's result, or none and a row that says why."""
        began = time.monotonic()
        print(f"bench: {what} ...", file=sys.stderr, flush=True)
        try:
            found = measurement()
        except (MeasurementError, EmulatorError, OSError) as error:
            self.failed = True
            self.add(what, supervisor="failed")
            self.note(f"{what} failed: {error}")
            return None
        print(f"bench: {what} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        return found

    def markdown(self, columns: Sequence[str]) -> str:
        head = ["measured", "aim", "", *(_HEADINGS[column] for column in columns)]
        lines = [head, ["---"] * len(head)]
        for row in self.rows:
            verdict = {None: "", True: "met", False: "**not met**"}[row.met]
            cells = [row.values.get(column, _NONE) for column in columns]
            lines.append([row.what, row.aim, verdict, *cells])
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return table + "\n\n" + "\n".join(f"- {note}" for note in self.notes)


def _percentile(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _spread(samples: list[float], digits: int = 2) -> str:
    """The median, and the p99 or, of few samples, the largest."""
    rare, name = (_percentile(samples, 0.99), "p99") if len(samples) >= 100 else (max(samples), "max")
    return f"{statistics.median(samples):.{digits}f} ({name} {rare:.{digits}f})"


def _spreads(samples: Samples, digits: int = 2) -> dict[str, str]:
    return {name: _spread(values, digits) for name, values in samples.items()}


def _report_sizes(report: Report, bench: Bench) -> None:
    compared = {"supervisor": bench.supervisor} | ({"tini": bench.tini} if bench.tini else {})
    sizes = report.measure(
        "size", lambda: {name: measurements.size_of(path, bench.folder) for name, path in compared.items()}
    )
    if sizes is None:
        return
    size = sizes["supervisor"]
    values = {name: f"{each.stripped:,}" for name, each in sizes.items()}
    if bench.script:
        values["tutorial"] = "an interpreter"
        report.note("An interpreter's file says nothing of its size; its memory below does.")
    if size.as_built != size.stripped:
        report.note(f"{bench.supervisor.name} is {size.as_built:,} bytes as built: it is not stripped.")
    report.add("size, stripped, bytes", "≤ 3 MiB", size.stripped <= _AIM_SIZE, **values)


def _report_starts(report: Report, bench: Bench, plan: Plan, emulator: GoogleEmulator) -> None:
    found = report.measure("start", lambda: measurements.starts(bench, plan, emulator.metadata))
    if found is None:
        return
    report.add("exec to child's exec, no token, ms", **_spreads(found.without_token))
    overhead = statistics.median(found.with_token["supervisor"]) - statistics.median(found.fetch)
    report.add("exec to child's exec, with a token, ms", **_spreads(found.with_token))
    report.add("the token fetch alone, ms", alone=_spread(found.fetch))
    overheads = {
        name: f"{statistics.median(values) - statistics.median(found.fetch):.2f}"
        for name, values in found.with_token.items()
    }
    report.add("the same less the fetch, ms", "≤ 5 ms", overhead <= _AIM_START_MS, **overheads)
    report.note(
        f"Start: {plan.starts} runs of each in turn, medians; up to the child's first instruction. Child "
        "alone is its own exec. The fetch alone is a bare socket client's: connect, ask, read the answer. "
        "The metadata server is the emulator's, on loopback, with a new token for every request.",
        f"Of the script {plan.starts_of_tutorial} runs.",
    )


def _report_long_runs(report: Report, bench: Bench, plan: Plan) -> None:
    found = report.measure("idle, memory, restarts", lambda: measurements.long_runs(bench, plan))
    if found is None:
        return
    assert found.after_handovers and found.idle_probed
    for name, part in (("RSS", "resident"), ("RssAnon", "anonymous"), ("peak RSS (VmHWM)", "peak")):
        values = {who: f"{getattr(idle.memory, part):,}" for who, idle in found.idle.items()}
        report.add(f"{name} idle, kB", **values)
    memory = found.after_handovers
    report.add(
        f"RSS after {plan.handovers} rotations in place, kB",
        "≤ 4 MiB",
        memory.resident <= _AIM_RESIDENT_KB,
        supervisor=f"{memory.resident:,} (RssAnon {memory.anonymous:,}, peak {memory.peak:,})",
    )
    worst = max(found.after_restarts, key=lambda each: each.resident)
    report.add(
        f"RSS after {plan.restarts_of_each} by restart, kB",
        "≤ 4 MiB",
        worst.resident <= _AIM_RESIDENT_KB,
        supervisor=f"{worst.resident:,} (RssAnon {worst.anonymous:,}, peak {worst.peak:,})",
    )
    report.note(
        f"Memory: an hour has 1 rotation with Google's tokens; here {plan.handovers} in a row, one per "
        "second, each with a new token, the readiness question and "
        f"{found.probes_answered} answered questions to /status beside them. By restart: the "
        f"largest of {plan.restarting} instances.",
        "The script's is that before its first rotation.",
    )
    cpu = {who: f"{idle.cpu_seconds:.4f}" for who, idle in found.idle.items()}
    report.add("CPU seconds per idle minute", **cpu)
    report.add(
        "wake-ups per idle minute",
        "≤ 20",
        found.idle["supervisor"].wake_ups <= _AIM_WAKE_UPS,
        **{who: f"{idle.wake_ups:.0f}" for who, idle in found.idle.items()},
    )
    report.note(
        f"Idle: {plan.idle_seconds:.0f} s, scaled to a minute; wake-ups are voluntary context switches of "
        "all threads. The supervisor holds a token of an hour and asks its child every 10 s whether it is "
        "ready, over a new connection each time; probed on /readyz every 10 s too: "
        f"{found.idle_probed.wake_ups:.0f} wake-ups, {found.idle_probed.cpu_seconds:.4f} s. "
        "tini asks nobody.",
        "Nor does the script.",
    )
    report.add(
        "old child's exit to new one's exec, ms",
        "≤ 2 ms",
        statistics.median(found.restarts) <= _AIM_RESTART_MS,
        supervisor=_spread(found.restarts),
    )
    report.note(
        f"Restart: {len(found.restarts)} rotations by restart, 31 s apart in {plan.restarting} instances. "
        "Both times are the children's own, the last before exit and the first instruction, so the old one's "
        "exit in the kernel is in it: the time from reap to exec is shorter.",
        "The script rotates after 55 minutes only.",
    )


def _report_signals(report: Report, bench: Bench, plan: Plan) -> None:
    found = report.measure("signals", lambda: measurements.signal_latency(bench, plan))
    if found is not None:
        report.add("kill(init, USR1) to the child's handler, µs", **_spreads(found, 0))
        report.note(
            f"Signals: {plan.signals:,} of each, 1 ms apart, in turns of 100.",
            "The script would die of the first.",
        )


def _report_orphans(report: Report, bench: Bench, plan: Plan) -> None:
    found = report.measure("orphans", lambda: measurements.orphans(bench, plan))
    if found is not None:
        report.add(f"{plan.orphans:,} orphans at once to none, ms", **_spreads(found, 0))
        report.note(
            f"Orphans: released together, {plan.orphan_rounds} rounds; the time holds their exits. Child "
            "alone is a bare loop of waitpid.",
            "The script reaps none.",
        )


def _machine(bench: Bench) -> str:
    def first_value(path: str, key: str, separator: str) -> str:
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(separator)
            if name.strip() == key:
                return value.strip().strip('"')
        return "unknown"

    def version(command: Sequence[str | Path]) -> str:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
        lines = (result.stdout + result.stderr).strip().splitlines()
        return lines[0] if lines else "unknown"

    distribution = first_value("/etc/os-release", "PRETTY_NAME", "=")
    compared = [version([bench.supervisor, "--version"])]
    compared += [version([bench.tini, "--version"])] if bench.tini else ["tini: not installed"]
    compared += [version([bench.python, "--version"])] if bench.script else []
    return "\n".join(
        [
            f"- CPU: {first_value('/proc/cpuinfo', 'model name', ':')}, {os.cpu_count()} cores",
            f"- kernel: {platform.release()}; distribution: {distribution}",
            f"- load before: {measurements.load()}",
            f"- compared: {'; '.join(compared)}",
        ]
    )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than a minute, with fewer samples")
    parser.add_argument(
        "--against", type=Path, metavar="SCRIPT", help="the tutorial's entrypoint.py, which is not shipped"
    )
    parser.add_argument(
        "--against-python",
        type=Path,
        metavar="PYTHON",
        help="runs it; needs google-auth and requests [this one]",
    )
    default = _REPOSITORY / "build" / "release" / "prefect-supervisor"
    parser.add_argument("--supervisor", type=Path, default=default, metavar="BINARY", help=f"[{default}]")
    options = parser.parse_args(arguments)
    # Not resolved: a venv's python is a link that must stay one.
    options.against_python = (options.against_python or Path(sys.executable)).absolute()
    if not os.access(options.supervisor, os.X_OK):
        parser.error(f"{options.supervisor} is not there or not executable; build the release first")
    if options.against is not None:
        options.against = options.against.absolute()
        if not options.against.is_file():
            parser.error(f"--against {options.against} is no file")
        has_libraries = [options.against_python, "-c", "import google.auth, google.auth.transport.requests"]
        try:
            usable = subprocess.run(has_libraries, capture_output=True).returncode == 0
        except OSError as error:
            parser.error(f"--against-python {options.against_python}: {error.strerror}")
        if not usable:
            python = options.against_python
            parser.error(f"{python} has no google-auth with requests; name one that has by --against-python")
    return options


def _measure(report: Report, bench: Bench, plan: Plan) -> None:
    with (
        GoogleEmulator(postgres=False, token_life="1h", cache_model="none") as emulator,
        # The database's port: the kernel takes the connections, which nobody accepts.
        socket.create_server(("127.0.0.1", 0), backlog=4096) as database,
    ):
        bench.token_environment = emulator.environment() | {
            "DB_USER": "x",
            "DB_IP": "127.0.0.1",
            "DB_PORT": str(database.getsockname()[1]),
            "DB_NAME": "y",
        }
        _report_sizes(report, bench)
        _report_starts(report, bench, plan, emulator)
        _report_long_runs(report, bench, plan)
    _report_signals(report, bench, plan)
    _report_orphans(report, bench, plan)


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    # The program is ended as by Ctrl-C, so that every process that it started ends, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    supervisor = options.supervisor.absolute()
    found_tini = shutil.which("tini")
    tini = Path(found_tini) if found_tini else None
    report = Report(with_tutorial=options.against is not None)
    try:
        with Bench(supervisor, tini, options.against, options.against_python) as bench:
            machine = _machine(bench)
            began = time.monotonic()
            _measure(report, bench, QUICK if options.quick else FULL)
            took = time.monotonic() - began
    except (MeasurementError, EmulatorError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    present = {"supervisor": True, "tini": bench.tini, "tutorial": bench.script, "alone": True}
    columns = [column for column in _COLUMNS if present[column]]
    quick = " (--quick)" if options.quick else ""
    print(f"{machine}\n- took: {took:.0f} s{quick}\n\n{report.markdown(columns)}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
