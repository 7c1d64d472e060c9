"""Measures one Prefect server and several behind HAProxy while their parts are replaced, killed and restarted, in real
containers: ./dev bench scale

A Markdown table: requests failed, events lost, runs late and lost for each event, beside the same figures for the one server
of docker/compose.yaml. It takes about six minutes for each number of servers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# It comes first, because it makes the modules of the tests known.
from scale_subjects import DATABASE, Subject, add_options, run  # isort: skip
from scale_load import Everything, Figures

# The load runs before and after an event for so long.
_MARGIN = 5.0


def _rotate(subject: Subject, times: int) -> None:
    for _ in range(times):
        subject.system.rotate()
        time.sleep(1.0)


def _replace(subject: Subject) -> None:
    for server in subject.servers():
        server.stop(timeout=120)
        server.start()
        subject.wait_ready()
        time.sleep(_MARGIN)


def _kill_services(subject: Subject) -> None:
    for container in subject.containers("services"):
        container.kill()
        container.start()


def _restart(service: str) -> Callable[[Subject], None]:
    def restart(subject: Subject) -> None:
        for container in subject.containers(service):
            container.restart(timeout=30)
        subject.wait_ready()

    return restart


@dataclass(frozen=True)
class Scenario:
    name: str
    do: Callable[[Subject], None]
    needs: str = ""


def scenarios(rotations: int) -> list[Scenario]:
    return [
        Scenario("nothing happens", lambda _: time.sleep(20)),
        Scenario(f"{rotations} rotations", lambda subject: _rotate(subject, rotations)),
        Scenario("each server stopped and started", _replace),
        Scenario("services killed and started", _kill_services, needs="services"),
        Scenario("Redis restarted", _restart("redis"), needs="redis"),
        Scenario("PostgreSQL restarted", _restart(DATABASE)),
    ]


@dataclass(frozen=True)
class Row:
    subject: str
    scenario: str
    seconds: float
    figures: Figures
    logins_refused: int
    connections: int
    """At the end of the load, as memory_mib."""
    memory_mib: dict[str, float]


def measure(subject: Subject, scenario: Scenario) -> Row:
    refused = len(subject.system.emulator.refused_logins())
    begun = time.monotonic()
    with Everything(subject.port, subject.rows) as load:
        time.sleep(_MARGIN)
        scenario.do(subject)
        subject.wait_ready()
        time.sleep(_MARGIN)
        connections = subject.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = 'prefect'")
        memory = subject.memory()
    return Row(
        subject.name,
        scenario.name,
        round(time.monotonic() - begun, 1),
        load.figures(),
        len(subject.system.emulator.refused_logins()) - refused,
        int(connections[0]) if connections else 0,
        memory,
    )


def print_table(rows: list[Row]) -> None:
    columns = ["servers", "what happens", "requests failed", "slowest", "p50", "p99", "events lost", "runs late"]
    columns += ["runs lost", "latest run", "logins refused", "connections", "memory, MiB"]
    print("| " + " | ".join(columns) + " |")
    print("| --- " * len(columns) + "|")
    for row in rows:
        it = row.figures
        cells = [row.subject, row.scenario, f"**{it.failed}** of {it.requests:,}", f"{it.slowest_seconds:.2f} s"]
        cells += [f"{it.median_ms} ms", f"{it.p99_ms} ms", f"{it.events_lost} of {it.events_accepted}"]
        cells += [f"{it.runs_late} of {it.runs_due}", str(it.runs_lost), f"{it.latest_run_seconds} s"]
        cells += [str(row.logins_refused), str(row.connections)]
        cells.append(", ".join(f"{name} {size:g}" for name, size in row.memory_mib.items()))
        print("| " + " | ".join(cells) + " |", flush=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench scale", description=__doc__.partition(": ./dev")[0])
    add_options(parser)
    parser.add_argument("--rotations", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="the scenarios whose name contains TEXT")
    options = parser.parse_args()
    options.scenarios = [one for one in scenarios(options.rotations) if options.only in one.name]
    if not options.scenarios:
        parser.error(f"--only {options.only}: no scenario has that in its name")
    return options


def main() -> int:
    options = read_options()

    def measure_all(subject: Subject) -> Iterator[Row]:
        for scenario in options.scenarios:
            if not scenario.needs or subject.containers(scenario.needs):
                print(f"bench: {subject.name}, {scenario.name} ...", file=sys.stderr, flush=True)
                yield measure(subject, scenario)

    return run(options, measure_all, print_table)


if __name__ == "__main__":
    sys.exit(main())
