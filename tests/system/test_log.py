"""The log: one line for each event, for people and for Cloud Logging, next to what the child writes itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from log_lines import LogLine, parse_log_line
from processes import children_of, find_process
from supervisor import LIMIT, Supervisor, listening, run, wait_until

pytestmark = pytest.mark.shipped

TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) \S.*")


def a_whole_life(emulator, *arguments: str, environment: dict[str, str] | None = None) -> Supervisor:
    """With a failure, a warning, a signal that is not forwarded and a stop in it."""
    emulator.script({"status": 503, "body": 'out of "order"\r\n\x01 \\ é'})
    theirs = {"PGPASSWORD": "x", "PREFECT_SERVER_DATABASE_CONNECTION_URL": "y"} | (environment or {})
    command = ["sh", "-c", 'echo "the child: {1}"; exec sleep 600', "a\nb", 'quote " back \\ é \x1b[31m']
    with Supervisor(*arguments, command=command, emulator=emulator, environment=theirs) as supervisor:
        supervisor.wait_for_output("the child: {1}")
        supervisor.signal(signal.SIGTSTP)
        supervisor.wait_for_log("not forwarded")
        supervisor.stop()
    return supervisor


def expected_events(log: list[LogLine], emulator) -> None:
    messages = [line.message for line in log]
    events = [
        "starting",
        "token: can't get one",
        "token: fresh one in hand",
        "child: started",
        "init: signal not",
        "stop: asked to end",
        "child: stopped",
        "stopped",
    ]
    places = [next(i for i, message in enumerate(messages) if message.startswith(event)) for event in events]
    assert places == sorted(places)
    token = next(line for line in log if line.message.startswith("token: fresh"))
    assert token.fields["hash"] == emulator.tokens()[0].hash
    assert token.fields["expires_in"] == emulator.token_requests()[-1].expires_in
    assert isinstance(next(line for line in log if line.message == "child: started").fields["pid"], int)
    assert log[-1].fields == {"code": 143}
    severities = {line.message.split(":")[0] + line.severity for line in log}
    assert "tokenWARNING" in severities and "childWARNING" in severities
    now = datetime.now(UTC)
    assert all(now - timedelta(minutes=5) < line.time <= now + timedelta(seconds=1) for line in log)


def test_every_line_of_text_has_time_severity_and_message(emulator) -> None:
    ended = a_whole_life(emulator)
    assert ended.output == ["the child: {1}"]
    for line in ended.lines:
        if line != "the child: {1}":
            assert TEXT_LINE.fullmatch(line), line
            assert line.isprintable(), line
    expected_events(ended.log, emulator)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--log-format", "json"], {}),
        ([], {"SUPERVISOR_LOG_FORMAT": "json"}),
        ([], {"K_SERVICE": "prefect"}),
        (["--log-format", "auto"], {"CLOUD_RUN_WORKER_POOL": "workers"}),
        ([], {"CLOUD_RUN_JOB": "migration"}),
    ],
    ids=["flag", "variable", "service", "worker pool", "job"],
)
def test_every_line_of_json_parses_and_has_what_cloud_logging_lifts(emulator, arguments, environment) -> None:
    ended = a_whole_life(emulator, *arguments, environment=environment)
    for line in ended.lines:
        if line != "the child: {1}":
            members = json.loads(line)
            assert members["severity"] in ("DEBUG", "INFO", "WARNING", "ERROR")
            assert members["message"] and isinstance(members["message"], str)
            assert members["time"].endswith("Z") and datetime.fromisoformat(members["time"])
    expected_events(ended.log, emulator)


def test_text_is_kept_on_cloud_run_if_asked_for(emulator) -> None:
    ended = a_whole_life(emulator, "--log-format", "text", environment={"K_SERVICE": "prefect"})
    expected_events(ended.log, emulator)
    assert not any(line.startswith("{") for line in ended.lines)


def test_bytes_that_are_no_utf8_still_make_a_line_of_json() -> None:
    half_of_a_pair = "\ud83d".encode("utf-8", "surrogatepass")
    command = ["true", os.fsdecode(b"\xff\xfe\x80"), os.fsdecode(half_of_a_pair)]
    ended = run("--no-token", "--log-format", "json", command=command)
    assert ended.process.returncode == 0
    assert len(ended.log) == len(ended.lines) >= 3


def test_a_very_long_command_still_makes_lines_that_parse() -> None:
    for log_format in ("json", "text"):
        ended = run("--no-token", "--log-format", log_format, command=["true", "x" * 20_000, '"' * 20_000])
        assert len(ended.log) == len(ended.lines) >= 3
        # A write of up to PIPE_BUF bytes into a pipe is not mixed with another one (POSIX, write()).
        assert max(len(line.encode()) for line in ended.lines) <= 4096


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", {"INFO", "WARNING"}),
        ("info", {"INFO", "WARNING"}),
        ("warning", {"WARNING"}),
        ("error", set()),
    ],
)
def test_the_level_is_the_lowest_that_is_shown(emulator, level: str, shown: set[str]) -> None:
    environment = {"PGPASSWORD": "x"}
    ended = run("--log-level", level, command=["true"], emulator=emulator, environment=environment)
    assert {line.severity for line in ended.log} - {"DEBUG"} == shown
    with listening() as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run(
            "--log-level", level, "--health-address", address, command=["true"], emulator=emulator, health=None
        )
        assert "ERROR" in {line.severity for line in ended.log}


def test_the_childs_output_passes_untouched() -> None:
    """The child has the descriptors themselves, so nothing is read or copied."""
    supervisor = Supervisor(
        "--no-token", "--log-level", "error", command=["sh", "-c", "cat; cat >&2 /proc/self/comm"]
    )
    try:
        data = bytes(range(256)) * 4096
        ended = subprocess.run(
            supervisor.command_line(),
            env=supervisor.environment(),
            input=data,
            capture_output=True,
            timeout=30,
        )
        assert ended.stdout == data and ended.stderr == b"cat\n" and ended.returncode == 0
    finally:
        supervisor.end()


@pytest.fixture
def unread() -> Iterator[tuple[Supervisor, subprocess.Popen[bytes]]]:
    """A supervisor whose standard output is a pipe that only the test reads."""
    supervisor = Supervisor(
        "--no-token", "--log-level", "debug", "--stop-timeout", "1s", command=["sleep", "600"]
    )
    line, environment = supervisor.command_line(), supervisor.environment()
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE) as process:
        try:
            wait_until(lambda: answers(supervisor), "the health port")
            wait_until(lambda: supervisor.status()["child"], "the child")
            yield supervisor, process
        finally:
            process.kill()
            supervisor.end()


def answers(supervisor: Supervisor) -> bool:
    with contextlib.suppress(OSError):
        return supervisor.health("/livez").status == 200
    return False


def has_taken_its_signals(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has read every signal that was sent to it (proc(5), /proc/PID/status)."""
    found = find_process(process.pid)
    return found is not None and int(found.status["ShdPnd"], 16) == 0


def forward_signal(supervisor: Supervisor, process: subprocess.Popen[bytes]) -> None:
    """Causes one line of the log, whether it is read or not.

    The kernel merges a signal with the same one that is still pending, so this waits until it is taken (signal(7)).
    """
    process.send_signal(signal.SIGWINCH)
    wait_until(lambda: has_taken_its_signals(process), "the supervisor to take the signal", pause=0.001)
    assert answers(supervisor)


def test_a_log_that_nobody_reads_costs_lines_and_no_waiting(unread) -> None:
    supervisor, process = unread
    assert process.stdout
    # A pipe holds 64 KiB (pipe(7)), and a line of a forwarded signal has 77 bytes.
    sent = 1200
    for _ in range(sent):
        forward_signal(supervisor, process)
    os.set_blocking(process.stdout.fileno(), False)
    held = process.stdout.read() or b""
    os.set_blocking(process.stdout.fileno(), True)
    # There is room in the pipe again, also for the line that reports how many lines are missing.
    forward_signal(supervisor, process)
    process.terminate()
    assert process.wait(LIMIT) == 143
    lines = (held + process.stdout.read()).decode().splitlines()
    assert all(TEXT_LINE.fullmatch(line) for line in lines)
    (report,) = (line for line in map(parse_log_line, lines) if line and "lines were dropped" in line.message)
    assert report.severity == "WARNING"
    shown = sum("forwarding a signal signal=WINCH" in line for line in lines)
    assert report.fields["dropped"] > 0
    assert shown + report.fields["dropped"] == sent + 1


def test_a_log_whose_reader_is_gone_does_not_keep_us_from_ending(unread) -> None:
    supervisor, process = unread
    assert process.stdout
    process.stdout.close()
    # No process can read the next line.
    forward_signal(supervisor, process)
    process.terminate()
    assert process.wait(LIMIT) == 143


def test_a_log_whose_reader_is_gone_costs_no_processor_time(unread) -> None:
    supervisor, process = unread
    assert process.stdout
    process.stdout.close()
    forward_signal(supervisor, process)
    before = processor_seconds(process.pid)
    # A loop that never waits would take about as much processor time as this one does; a loop that waits takes none.
    until = time.thread_time() + 1.0
    while time.thread_time() < until:
        pass
    assert processor_seconds(process.pid) - before < 0.2


def test_standard_descriptors_that_are_closed_are_taken_by_nothing_else() -> None:
    """The next descriptor that is opened would get the number of standard output, and the log would be written into an
    eventfd of the loop, or into a connection. Found by the soak."""
    with Supervisor(
        "--no-token",
        command=["sleep", "600"],
        through=["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-'],
    ) as supervisor:
        supervisor.wait_for_health("/livez")
        (child,) = wait_until(lambda: [one for one in children_of(supervisor.pid) if one.name == "sleep"], "the child")
        for pid in (supervisor.pid, child.pid):
            assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
        assert supervisor.stop() == 128 + signal.SIGTERM


def processor_seconds(pid: int) -> float:
    user, system = Path("/proc", str(pid), "stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
