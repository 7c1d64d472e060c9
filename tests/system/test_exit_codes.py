"""The exit code of the supervisor, and when it ends."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from children import child
from log_lines import LOG_PRECISION
from supervisor import Supervisor, run, wait_until

# The signals that end a process by default and that the child of a supervisor can get.
DEADLY_SIGNALS = sorted(
    set(signal.valid_signals())
    - {signal.SIGCHLD, signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    - {signal.SIGURG, signal.SIGWINCH}
)
NO_CORE_FILES = ("sh", "-c", 'ulimit -c 0; exec "$@"', "sh")


def shell(script: str, *arguments: str, **options: object) -> Supervisor:
    return run("--no-token", *arguments, command=["sh", "-c", script], **options)


@pytest.mark.parametrize("first", range(0, 256, 64))
def test_every_exit_code_of_the_child_is_passed_on(first: int) -> None:
    codes = range(first, first + 64)
    ended = {code: shell(f"exit {code}").process.returncode for code in codes}
    assert ended == {code: code for code in codes}


def test_exit_codes_are_passed_on_by_pid_1() -> None:
    codes = (0, 1, 2, 42, 126, 127, 128, 143, 255)
    assert [shell(f"exit {code}", pid1=True).process.returncode for code in codes] == list(codes)


@pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])
def test_a_child_that_dies_of_a_signal_makes_it_128_and_the_signal(pid1: bool) -> None:
    signals = DEADLY_SIGNALS if not pid1 else [signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM]
    assert len(signals) > 3
    ended = {
        int(number): shell(f"kill -{int(number)} $$", through=NO_CORE_FILES, pid1=pid1).process.returncode
        for number in signals
    }
    assert ended == {int(number): 128 + number for number in signals}


@pytest.mark.parametrize("command", ["no-such-command", "./no-such-file", "/no/such/folder/command"])
def test_a_command_that_is_not_found_is_127(command: str) -> None:
    ended = run("--no-token", command=[command, "argument"])
    assert ended.process.returncode == 127
    (line,) = (line for line in ended.log if line.severity == "ERROR")
    assert command in line.message and ("not found" in line.message or "No such file" in line.message)


def test_a_command_that_cannot_be_executed_is_126(tmp_path: Path) -> None:
    plain = tmp_path / "plain-file"
    plain.write_text("#!/bin/sh\n")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x00\x01\x02")
    garbage.chmod(0o755)
    for command in (plain, tmp_path, garbage):
        ended = run("--no-token", command=[str(command)])
        assert ended.process.returncode == 126, ended.transcript()
        assert any(str(command) in line.message for line in ended.log if line.severity == "ERROR")


def test_a_script_without_an_interpreter_line_is_run_by_the_shell(tmp_path: Path) -> None:
    """As execvp(3) and every shell do: "these functions will execute the shell (/bin/sh) with the path"."""
    script = tmp_path / "script"
    script.write_text('echo "$0 $1"\nexit 19\n')
    script.chmod(0o755)
    ended = run("--no-token", command=["script", "argument"], environment={"PATH": str(tmp_path)})
    assert ended.process.returncode == 19
    assert ended.output == [f"{script} argument"]


def test_a_file_in_the_path_that_is_not_executable_is_126(tmp_path: Path) -> None:
    (tmp_path / "not-executable").write_text("")
    ended = run("--no-token", command=["not-executable"], environment={"PATH": str(tmp_path)})
    assert ended.process.returncode == 126


def test_the_command_is_found_by_the_path_and_past_files_that_are_not_executable(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, mode in ((first, 0o644), (second, 0o755)):
        folder.mkdir()
        (folder / "tool").write_text("#!/bin/sh\nexit 17\n")
        (folder / "tool").chmod(mode)
    path = f"{first}:{second}:/usr/bin:/bin"
    assert run("--no-token", command=["tool"], environment={"PATH": path}).process.returncode == 17


def test_mapped_exit_codes_become_0() -> None:
    assert shell("exit 143", "--map-exit", "143").process.returncode == 0
    assert shell("kill -TERM $$", "--map-exit=143").process.returncode == 0
    assert shell("exit 3", "--map-exit", "143", "--map-exit", "3").process.returncode == 0
    assert shell("exit 4", "--map-exit", "143", "--map-exit", "3").process.returncode == 4
    assert run("--no-token", "--map-exit", "127", command=["no-such-command"]).process.returncode == 0


@pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])
def test_a_mapped_exit_code_of_a_stop_is_0(pid1: bool) -> None:
    with Supervisor("--no-token", "--map-exit", "143", command=["sleep", "600"], pid1=pid1) as supervisor:
        supervisor.wait_for_log("child: started")
        assert supervisor.stop() == 0


@pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])
@pytest.mark.parametrize("rotation", ["restart", "in-place"])
def test_a_child_that_ends_by_itself_ends_us_at_once_with_its_code(emulator, rotation: str, pid1: bool) -> None:
    """"At once" means before the stop timeout, which is longer than this test may take."""
    ended = run(
        "--rotation",
        rotation,
        "--stop-timeout",
        "10m",
        command=["sh", "-c", "exit 5"],
        emulator=emulator,
        pid1=pid1,
    )
    assert ended.process.returncode == 5
    assert len([line for line in ended.log if line.message == "child: started"]) == 1
    assert ended.log[-1].message == "stopped" and ended.log[-1].fields == {"code": 5}


@pytest.mark.parametrize("code", [0, 6])
def test_what_a_child_that_ended_left_in_its_group_gets_term(code: int) -> None:
    with Supervisor(
        "--no-token",
        "--stop-timeout",
        "10m",
        command=["sh", "-c", f"sleep 600 & sleep 600 & exit {code}"],
    ) as supervisor:
        assert supervisor.wait() == code
        assert not supervisor.processes()


def test_what_stays_deaf_to_term_in_its_group_is_killed_after_the_stop_timeout() -> None:
    with Supervisor(
        "--no-token",
        "--stop-timeout",
        "700ms",
        command=child("leaves_a_deaf_one", 6),
    ) as supervisor:
        assert supervisor.wait() == 6
        ended, stopped = (
            supervisor.wait_for_log("child: ended by itself"),
            supervisor.wait_for_log("stopped code=6"),
        )
        assert (stopped.time - ended.time).total_seconds() >= 0.7 - LOG_PRECISION
        assert not supervisor.processes()


def test_a_killed_child_ends_us_with_137(emulator) -> None:
    with Supervisor(command=["sleep", "600"], emulator=emulator) as supervisor:
        supervisor.wait_for_log("child: started")
        os.kill(supervisor.child_pid, signal.SIGKILL)
        assert supervisor.wait() == 137


def test_many_starts_at_once_lose_no_exit_code() -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda code: shell(f"exit {code}").process.returncode, range(1, 65)))
    assert codes == list(range(1, 65))


def test_exit_codes_arrive_when_our_parent_ignored_the_end_of_its_children() -> None:
    assert shell("exit 9", through=["env", "--ignore-signal=CHLD"]).process.returncode == 9


def test_a_stopped_and_continued_child_is_no_ended_child() -> None:
    with Supervisor("--no-token", command=["sh", "-c", "sleep 600; exit 3"]) as supervisor:
        supervisor.wait_for_log("child: started")
        os.kill(supervisor.child_pid, signal.SIGSTOP)
        wait_until(lambda: any(p.state == "T" for p in supervisor.processes()), "the child to be stopped")
        os.kill(supervisor.child_pid, signal.SIGCONT)
        wait_until(lambda: all(p.state != "T" for p in supervisor.processes()), "the child to go on")
        assert supervisor.alive and supervisor.health("/livez").status == 200
        assert supervisor.stop() == 143
