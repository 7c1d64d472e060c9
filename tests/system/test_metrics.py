"""/metrics: what it shows is accepted by Prometheus' own tools, and follows what happens."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGTERM

import pytest

from children import child
from delivered import delivered_token
from google_emulator.client import GoogleEmulator
from processes import find_process
from refused_options import refusing, why_no_refusing
from rolling import DRAINED, PATIENT, READY_URL, ROLLING, flags
from scraped import CONTENT_TYPE, OURS, Scraped, scrape, wait_for_metric
from socket_child import socket_child
from supervisor import Supervisor, wait_until

ROTATIONS = {
    ("restart", "success"),
    ("restart", "failed"),
    ("in-place", "success"),
    ("in-place", "failed"),
    ("rolling", "success"),
    ("rolling", "fallback"),
    ("rolling", "failed"),
}
REFRESHES = {"fresh", "stale", "expired", "failed"}
# The first rotation comes 30 s after the child's start.
ROTATES = ("--refresh-interval", "25s", *flags(PATIENT))


def rotations(scraped: Scraped) -> dict[tuple[str, str], float]:
    """Those that were counted at all, by mode and result."""
    values = {
        (labels["mode"], labels["result"]): scraped.value("rotations_total", **labels)
        for labels in scraped.labels_of("rotations_total")
    }
    assert set(values) == ROTATIONS
    return {key: value for key, value in values.items() if value}


def refreshes(scraped: Scraped) -> dict[str, float]:
    return {result: scraped.value("token_refresh_total", result=result) for result in REFRESHES}


@pytest.fixture
def idle() -> Iterator[Supervisor]:
    with Supervisor("--no-token", command=["sleep", "600"]) as supervisor:
        supervisor.wait_for_log("child: started")
        yield supervisor


# The format


def test_get_and_head_have_the_type_of_the_text_format(idle: Supervisor) -> None:
    """https://prometheus.io/docs/instrumenting/exposition_formats/#basic-info"""
    get, head = idle.health("/metrics"), idle.health("/metrics", "HEAD")
    assert (get.status, head.status, head.body) == (200, 200, "")
    assert get.headers["content-type"] == head.headers["content-type"] == CONTENT_TYPE
    assert int(head.headers["content-length"]) > 1000
    assert get.headers["cache-control"] == "no-store"
    assert idle.health("/metrics?name=x").status == 200
    assert idle.health("/metrics/").status == 404


def test_promtool_accepts_the_metrics_and_finds_nothing_to_improve(idle: Supervisor) -> None:
    text = idle.health("/metrics").body
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    spoiled = text.replace("_orphans_reaped_total", "_orphans_reaped")
    checked = subprocess.run(["promtool", "check", "metrics"], input=spoiled, capture_output=True, text=True, check=False)
    assert checked.returncode != 0


def test_every_value_of_a_label_is_there_from_the_start(idle: Supervisor) -> None:
    """Otherwise rate() would miss the first increase
    (https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics)."""
    scraped = scrape(idle)
    assert rotations(scraped) == {}
    assert {labels["result"] for labels in scraped.labels_of("token_refresh_total")} == REFRESHES
    assert set(refreshes(scraped).values()) == {0}
    histograms = [name for name, kind in scraped.types.items() if kind == "histogram"]
    assert len(histograms) == 3
    for name in histograms:
        short = name.removeprefix(OURS)
        assert scraped.value(f"{short}_count") == scraped.value(f"{short}_bucket", le="+Inf") == 0
    for name in ("child_restarts_total", "orphans_reaped_total"):
        assert scraped.value(name) == 0


def test_without_a_token_there_is_no_expiry_and_the_child_is_up_and_ready(idle: Supervisor) -> None:
    scraped = scrape(idle)
    assert scraped.types[f"{OURS}token_expiry_timestamp_seconds"] == "gauge"
    assert scraped.labels_of("token_expiry_timestamp_seconds") == []
    assert scraped.value("child_up") == scraped.value("child_ready") == 1
    # No readiness question was asked, so there is no start to be measured.
    assert scraped.value("child_start_duration_seconds_count") == 0


def test_the_version_is_that_of_the_program(idle: Supervisor) -> None:
    (labels,) = scrape(idle).labels_of("build_info")
    said = subprocess.run([*idle.command_line()[:1], "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"prefect-supervisor {labels['version']} (commit {labels['commit']}, ")
    assert scrape(idle).value("build_info", **labels) == 1


# The supervisor's own process


def test_the_process_is_the_supervisors_own(idle: Supervisor) -> None:
    """The names and units of https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics."""
    scraped = scrape(idle)
    process = find_process(idle.pid)
    assert process
    limits = (process.directory / "limits").read_text()
    (soft,) = (line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
    assert scraped.value("process_max_fds") == float(soft)

    def memory_is_the_kernels() -> bool:
        """The first answers take memory that is not given back."""
        answered = scrape(idle)
        total, resident, *_ = (int(pages) * os.sysconf("SC_PAGESIZE") for pages in memory.read_text().split())
        assert 0 < answered.value("process_resident_memory_bytes") <= 2 * resident
        return answered.value("process_virtual_memory_bytes") == total

    memory = process.directory / "statm"
    wait_until(memory_is_the_kernels, "a size of the process that the kernel says too")
    # The kernel counts from the boot, in ticks (proc_pid_stat(5), starttime; proc_stat(5), btime), both cut to what they count in.
    boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    started = (process.directory / "stat").read_text().rpartition(") ")[2].split()[19]
    kernel = boot + int(started) / os.sysconf("SC_CLK_TCK")
    # The start of the program is not that of the process, and the clock may have been adjusted since the boot.
    assert kernel - 2 <= scraped.value("process_start_time_seconds") <= time.time()


def test_an_open_connection_is_one_more_descriptor(idle: Supervisor) -> None:
    def descriptors() -> list[str]:
        folder = Path(f"/proc/{idle.pid}/fd")
        return [os.readlink(entry) for entry in folder.iterdir()]

    def without_connections() -> int | None:
        try:
            found = descriptors()
        except FileNotFoundError:
            # One was closed meanwhile.
            return None
        return len(found) if sum(name.startswith("socket:") for name in found) == 1 else None

    alone = wait_until(without_connections, "no connection but the socket that listens")

    def three_more() -> bool:
        with ExitStack() as stack:
            # A silent connection is closed after 5 s, so a slow machine may need another try.
            for _ in range(3):
                stack.enter_context(socket.create_connection(("127.0.0.1", idle.health_port)))
            return scrape(idle).value("process_open_fds") == alone + 3 + 1

    wait_until(three_more, "a scrape that counts three connections and its own")


def test_the_cpu_time_rises_with_the_work(idle: Supervisor) -> None:
    before = scrape(idle).value("process_cpu_seconds_total")
    assert before > 0
    wait_until(lambda: scrape(idle).value("process_cpu_seconds_total") > before + 0.005, "the time of many scrapes")


# The token


def test_each_answer_of_the_metadata_server_counts_by_what_it_meant(emulator: GoogleEmulator) -> None:
    emulator.script(
        {"status": 503},
        {"answer": "token"},
        {"status": 404, "times": 2},
        # This one is the token that the program has.
        {"answer": "token"},
    )
    with Supervisor("--refresh-interval", "1s", command=["sleep", "600"], emulator=emulator) as supervisor:
        supervisor.wait_for_log("child: started")
        scraped = wait_for_metric(supervisor, 1, "token_refresh_total", result="stale")
        assert refreshes(scraped) == {"fresh": 1, "stale": 1, "expired": 0, "failed": 3}
        assert scraped.value("token_refresh_duration_seconds_count") == 5
        (token,) = emulator.tokens()
        expiry = scraped.value("token_expiry_timestamp_seconds")
        assert expiry == pytest.approx(time.time() + supervisor.status()["token"]["expires_in_seconds"], abs=5)
        assert token.text not in scraped.text and token.hash not in scraped.text


def test_how_long_an_answer_takes_is_measured(emulator: GoogleEmulator) -> None:
    emulator.script({"answer": "token", "delay": "1100ms"})
    with Supervisor(command=["sleep", "600"], emulator=emulator) as supervisor:
        supervisor.wait_for_log("child: started")
        scraped = scrape(supervisor)
        assert scraped.value("token_refresh_duration_seconds_sum") >= 1.1
        assert scraped.value("token_refresh_duration_seconds_bucket", le="1") == 0
        assert scraped.value("token_refresh_duration_seconds_bucket", le="+Inf") == 1


def test_a_token_that_has_expired_before_it_arrives_counts_as_such(emulator: GoogleEmulator) -> None:
    emulator.script({"answer": "expires-in", "expires_in": 1, "delay": "1500ms"})
    with Supervisor(command=["sleep", "600"], emulator=emulator) as supervisor:
        supervisor.wait_for_log("child: started")
        found = refreshes(scrape(supervisor))
        assert found["expired"] == 1 and found["fresh"] == 1


# Rotations


def test_rotations_in_place_count_also_those_that_fail(tokens: GoogleEmulator) -> None:
    with Supervisor(
        "--rotation", "in-place", "--refresh-interval", "1s", command=["sleep", "600"], emulator=tokens
    ) as supervisor:
        supervisor.wait_for_log("rotation: fresh token handed over in place", count=2)
        scraped = scrape(supervisor)
        done = rotations(scraped)
        assert done.keys() == {("in-place", "success")} and done["in-place", "success"] >= 2
        assert scraped.value("child_restarts_total") == scraped.value("child_drain_duration_seconds_count") == 0

        process = find_process(supervisor.child_pid)
        assert process
        obstacle = Path(process.environment["PGPASSFILE"] + ".next")

        def in_the_way() -> bool:
            # The program itself makes a file of this name for a moment.
            try:
                obstacle.mkdir()
            except FileExistsError:
                return False
            return True

        wait_until(in_the_way, "a folder in the way of the next file", pause=0.001)
        supervisor.wait_for_log("rotation: the child keeps the old token")
        failed = scrape(supervisor)
        assert failed.value("rotations_total", mode="in-place", result="failed") >= 1
        obstacle.rmdir()
        done = rotations(failed)
        wait_until(
            lambda: rotations(scrape(supervisor))["in-place", "success"] > done["in-place", "success"],
            "a rotation after the failed one",
        )
        assert delivered_token(supervisor) in [token.text for token in tokens.tokens()]


def restart(supervisor: Supervisor, folder: Path) -> None:
    """The old child drains until it is told to end."""
    ready = supervisor.wait_for_log("child: ready")
    before = scrape(supervisor)
    assert before.value("child_start_duration_seconds_count") == 1
    assert before.value("child_start_duration_seconds_sum") >= ready.fields["after_ms"] / 1000
    supervisor.wait_for_output("draining")
    during = scrape(supervisor)
    assert (during.value("child_up"), during.value("child_ready")) == (1, 0)
    assert during.value("child_drain_duration_seconds_count") == 0 and rotations(during) == {}
    (folder / "drained").touch()
    drained = supervisor.wait_for_log(DRAINED)
    supervisor.wait_for_log("child: started", count=2)
    after = scrape(supervisor)
    assert rotations(after) == {("restart", "success"): 1}
    assert after.value("child_restarts_total") == after.value("child_drain_duration_seconds_count") == 1
    assert after.value("child_drain_duration_seconds_sum") == drained.fields["took_ms"] / 1000
    supervisor.wait_for_log("child: ready", count=2)
    assert scrape(supervisor).value("child_start_duration_seconds_count") == 2


def rolling(supervisor: Supervisor, folder: Path) -> None:
    handed_over = supervisor.wait_for_log("rotation: new connections go to the next child")
    drained = supervisor.wait_for_log(DRAINED)
    scraped = scrape(supervisor)
    assert rotations(scraped) == {("rolling", "success"): 1}
    assert scraped.value("child_restarts_total") == scraped.value("child_drain_duration_seconds_count") == 1
    assert scraped.value("child_drain_duration_seconds_sum") == drained.fields["took_ms"] / 1000
    assert scraped.value("child_start_duration_seconds_count") == 2
    assert scraped.value("child_start_duration_seconds_sum") >= handed_over.fields["after_ms"] / 1000
    assert scraped.value("child_up") == scraped.value("child_ready") == 1


def rolling_whose_next_child_fails(supervisor: Supervisor, folder: Path) -> None:
    supervisor.wait_for_log("rotation: the next child failed, the old one is kept")
    scraped = scrape(supervisor)
    # The next try may have failed as well.
    assert rotations(scraped).keys() == {("rolling", "failed")}
    assert scraped.value("child_restarts_total") == scraped.value("child_drain_duration_seconds_count") == 0
    # The old child has the token that it started with.
    assert scraped.value("token_refresh_total", result="fresh") >= 2
    assert scraped.value("token_expiry_timestamp_seconds") < time.time() + 3600 - 25


def rolling_that_falls_back_to_a_restart(supervisor: Supervisor, folder: Path) -> None:
    supervisor.wait_for_log("child: started", count=2)
    scraped = scrape(supervisor)
    assert rotations(scraped) == {("rolling", "fallback"): 1}
    assert scraped.value("child_restarts_total") == scraped.value("child_drain_duration_seconds_count") == 1


@pytest.mark.long
def test_rotations_count_by_mode_and_result(tokens: GoogleEmulator, tmp_path: Path, subtests) -> None:
    no_second_socket = refusing("setsockopt", socket.SOL_SOCKET, socket.SO_REUSEPORT)
    with ExitStack() as stack:
        running = []
        for check, arguments, command, through in (
            (restart, ("--rotation", "restart"), lambda folder: child("serves_health", folder, "waits"), ()),
            (rolling, ROLLING, lambda folder: socket_child(folder, "serves"), ()),
            (rolling_whose_next_child_fails, ROLLING, lambda folder: socket_child(folder, "serves", "ends"), ()),
            (
                rolling_that_falls_back_to_a_restart,
                ROLLING,
                lambda folder: socket_child(folder, "serves"),
                no_second_socket,
            ),
        ):
            if through and (why := why_no_refusing()):
                with subtests.test(msg=check.__name__):
                    pytest.skip(why)
                continue
            folder = tmp_path / check.__name__
            folder.mkdir()
            for name in ("open", "good"):
                (folder / name).touch()
            supervisor = Supervisor(
                *arguments,
                *ROTATES,
                command=command(folder),
                emulator=tokens,
                ready_url=None if check is restart else READY_URL,
                through=through,
            )
            running.append((check, stack.enter_context(supervisor), folder))
        for check, supervisor, folder in running:
            with subtests.test(msg=check.__name__):
                try:
                    check(supervisor, folder)
                except Exception:
                    print(supervisor.transcript())
                    raise
            # It waits for its folder, and would let the end of this test wait.
            (folder / "drained").touch()


# The child


def test_the_start_is_measured_until_the_child_answers_and_ready_follows_the_answers(
    emulator: GoogleEmulator, tmp_path: Path
) -> None:
    (tmp_path / "open").touch()
    with Supervisor(
        "--stop-timeout", "10m", command=child("serves_health", tmp_path, "waits"), emulator=emulator
    ) as supervisor:
        supervisor.wait_for_output("up")
        scraped = scrape(supervisor)
        assert (scraped.value("child_up"), scraped.value("child_ready")) == (1, 0)
        assert scraped.value("child_start_duration_seconds_count") == 0
        (tmp_path / "good").touch()
        scraped = wait_for_metric(supervisor, 1, "child_ready")
        after = supervisor.wait_for_log("child: ready").fields["after_ms"] / 1000
        assert scraped.value("child_start_duration_seconds_count") == 1
        assert scraped.value("child_start_duration_seconds_sum") >= after
        supervisor.signal(SIGTERM)
        supervisor.wait_for_output("draining")
        scraped = scrape(supervisor)
        assert (scraped.value("child_up"), scraped.value("child_ready")) == (1, 0)
        (tmp_path / "drained").touch()
        assert supervisor.wait() == 0


def test_before_the_first_token_no_child_is_up(emulator: GoogleEmulator) -> None:
    emulator.script({"status": 503, "times": 1000})
    with Supervisor("--start-deadline", "10m", command=["true"], emulator=emulator) as supervisor:
        supervisor.wait_for_log("token: can't get one")
        scraped = scrape(supervisor)
        assert scraped.value("child_up") == scraped.value("child_ready") == 0
        assert scraped.labels_of("token_expiry_timestamp_seconds") == []


def test_orphans_that_were_reaped_are_counted() -> None:
    with Supervisor("--no-token", command=child("makes_orphans", 50)) as supervisor:
        supervisor.wait_for_output("made")
        wait_for_metric(supervisor, 50, "orphans_reaped_total")
