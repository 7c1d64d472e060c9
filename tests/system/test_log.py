"""The log: one line an event, for people and for Cloud Logging, beside what the child writes itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from log_lines import LogLine
from supervisor import Supervisor, listening, run, wait_until

TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) \S.*")


def a_whole_life(world, *arguments: str, environment: dict[str, str] | None = None) -> Supervisor:
    """With a failure, a warning, a signal that is not forwarded and a stop in it."""
    world.script({"status": 503, "body": 'out of "order"\r\n\x01 \\ é'})
    theirs = {"PGPASSWORD": "x", "PREFECT_SERVER_DATABASE_CONNECTION_URL": "y"} | (environment or {})
    command = ["sh", "-c", 'echo "the child: {1}"; exec sleep 600', "a\nb", 'quote " back \\ é \x1b[31m']
    with Supervisor(*arguments, command=command, world=world, environment=theirs) as supervisor:
        supervisor.wait_for_output("the child: {1}")
        supervisor.signal(signal.SIGTSTP)
        supervisor.wait_for_log("not forwarded")
        supervisor.stop()
    return supervisor


def expected_events(log: list[LogLine], world) -> None:
    messages = [line.message for line in log]
    events = ["starting", "token: can't get one", "token: fresh one in hand", "child: started", "init: signal not",
              "stop: asked to end", "child: stopped", "stopped"]  # fmt: skip
    places = [next(i for i, message in enumerate(messages) if message.startswith(event)) for event in events]
    assert places == sorted(places)
    token = next(line for line in log if line.message.startswith("token: fresh"))
    assert token.fields["hash"] == world.tokens()[0].hash and token.fields["expires_in"] in (3599, 3600)
    assert isinstance(next(line for line in log if line.message == "child: started").fields["pid"], int)
    assert log[-1].fields == {"code": 143}
    severities = {line.message.split(":")[0] + line.severity for line in log}
    assert "tokenWARNING" in severities and "childWARNING" in severities
    now = datetime.now(UTC)
    assert all(now - timedelta(minutes=5) < line.time <= now + timedelta(seconds=1) for line in log)


def test_every_line_of_text_has_time_severity_and_message(world) -> None:
    ended = a_whole_life(world)
    assert ended.output == ["the child: {1}"]
    for line in ended.lines:
        if line != "the child: {1}":
            assert TEXT_LINE.fullmatch(line), line
            assert line.isprintable(), line
    expected_events(ended.log, world)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--log-format", "json"], {}),
        ([], {"SUPERVISOR_LOG_FORMAT": "json"}),
        ([], {"K_SERVICE": "prefect"}),
        (["--log-format", "auto"], {"CLOUD_RUN_WORKER_POOL": "workers"}),
    ],
    ids=["flag", "variable", "service", "worker pool"],
)
def test_every_line_of_json_parses_and_has_what_cloud_logging_lifts(world, arguments, environment) -> None:
    ended = a_whole_life(world, *arguments, environment=environment)
    for line in ended.lines:
        if line != "the child: {1}":
            members = json.loads(line)
            assert members["severity"] in ("DEBUG", "INFO", "WARNING", "ERROR")
            assert members["message"] and isinstance(members["message"], str)
            assert members["time"].endswith("Z") and datetime.fromisoformat(members["time"])
    expected_events(ended.log, world)


def test_text_is_kept_on_cloud_run_if_asked_for(world) -> None:
    ended = a_whole_life(world, "--log-format", "text", environment={"K_SERVICE": "prefect"})
    expected_events(ended.log, world)
    assert not any(line.startswith("{") for line in ended.lines)


def test_bytes_that_are_no_utf8_still_make_a_line_of_json() -> None:
    command = ["sh", "-c", "exit 0", os.fsdecode(b"\xff\xfe\x80"), "\ud83d".encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")]
    ended = run("--no-token", "--log-format", "json", command=command)
    assert ended.process.returncode == 0
    assert len(ended.log) == len(ended.lines) >= 3


def test_a_very_long_command_still_makes_lines_that_parse() -> None:
    for log_format in ("json", "text"):
        ended = run("--no-token", "--log-format", log_format, command=["true", "x" * 20_000, '"' * 20_000])
        assert len(ended.log) == len(ended.lines) >= 3
        # Up to that much a write into a pipe is not mixed with another (POSIX, PIPE_BUF).
        assert max(len(line.encode()) for line in ended.lines) <= 4096


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", {"INFO", "WARNING"}), ("info", {"INFO", "WARNING"}), ("warning", {"WARNING"}), ("error", set())],
)
def test_the_level_is_the_lowest_that_is_shown(world, level: str, shown: set[str]) -> None:
    environment = {"PGPASSWORD": "x"}
    ended = run("--log-level", level, command=["true"], world=world, environment=environment)
    assert {line.severity for line in ended.log} - {"DEBUG"} == shown
    with listening() as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run("--log-level", level, "--health-address", address, command=["true"], world=world, health=None)
        assert "ERROR" in {line.severity for line in ended.log}


def test_the_childs_output_passes_untouched() -> None:
    """By the very descriptors: nothing is read or copied."""
    supervisor = Supervisor("--no-token", "--log-level", "error", command=["sh", "-c", "cat; cat >&2 /proc/self/comm"])
    try:
        data = bytes(range(256)) * 4096
        ended = subprocess.run(
            supervisor.command_line(), env=supervisor.environment(), input=data, capture_output=True, timeout=30
        )
        assert ended.stdout == data and ended.stderr == b"cat\n" and ended.returncode == 0
    finally:
        supervisor.end()


def test_a_log_that_nobody_reads_costs_lines_and_no_time() -> None:
    supervisor = Supervisor("--no-token", "--log-level", "debug", command=["sleep", "600"])
    process = subprocess.Popen(supervisor.command_line(), env=supervisor.environment(), stdout=subprocess.PIPE)
    try:
        supervisor_answers = lambda: health(supervisor) == 200  # noqa: E731
        wait_until(supervisor_answers, "the health port")
        # 64 KiB fit into a pipe, and a line of the forwarding is about 80 bytes.
        for _ in range(3000):
            process.send_signal(signal.SIGUSR1 if _ % 2 else signal.SIGWINCH)
            if _ == 0:
                wait_until(lambda: process.poll() is None, "the supervisor")
            if _ % 100 == 0:
                assert health(supervisor) in (200, 503)
            if process.poll() is not None:
                break
        process.terminate()
        process.wait(30)
        assert process.stdout
        lines = process.stdout.read().decode().splitlines()
        assert lines and all(TEXT_LINE.fullmatch(line) for line in lines)
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
        supervisor.end()


def health(supervisor: Supervisor) -> int:
    try:
        return supervisor.health("/livez").status
    except OSError:
        return 0


def test_a_log_whose_reader_is_gone_is_no_reason_to_end() -> None:
    supervisor = Supervisor("--no-token", command=["sh", "-c", "exec >/dev/null; exec sleep 600"])
    process = subprocess.Popen(supervisor.command_line(), env=supervisor.environment(), stdout=subprocess.PIPE)
    try:
        wait_until(lambda: health(supervisor) == 200, "the health port")
        assert process.stdout
        process.stdout.close()
        process.send_signal(signal.SIGURG)
        process.send_signal(signal.SIGTSTP)
        assert health(supervisor) == 200
        process.terminate()
        assert process.wait(30) == 143
    finally:
        process.kill()
        process.wait()
        supervisor.end()
