"""The attributes of the child's process: it inherits none of the supervisor's own state."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from children import child
from processes import Process
from supervisor import Supervisor, run, wait_until

both = pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])
with_and_without_token = pytest.mark.parametrize(
    "token", [["--rotation", "restart"], ["--no-token"]], ids=["token", "no token"]
)


def child_of(supervisor: Supervisor) -> Process:
    supervisor.wait_for_log("child: started")
    (found,) = (found for found in supervisor.processes() if found.pid != supervisor.pid)
    return found


@both
@with_and_without_token
def test_it_leads_a_process_group_of_its_own(emulator, token: list[str], pid1: bool) -> None:
    with Supervisor(*token, command=["sleep", "600"], emulator=emulator, pid1=pid1) as supervisor:
        found = child_of(supervisor)
        assert found.group == found.pid
        assert found.parent == supervisor.pid


@with_and_without_token
@pytest.mark.parametrize(
    "through",
    [["--ignore-signal=PIPE,CHLD,INT,TERM,HUP,USR1"], ["--block-signal=TERM,USR1,CHLD,ALRM"], []],
    ids=["ignored before", "blocked before", "plain"],
)
def test_its_signal_mask_is_empty_and_every_disposition_the_default(
    emulator, token: list[str], through: list[str]
) -> None:
    command = ["grep", "-E", "^Sig(Blk|Ign|Pnd)", "/proc/self/status"]
    ended = run(*token, command=command, emulator=emulator, through=["env", *through] if through else ())
    assert ended.process.returncode == 0
    masks = dict(line.split(":\t") for line in ended.output)
    assert {name: int(mask, 16) for name, mask in masks.items()} == {
        "SigBlk": 0,
        "SigIgn": 0,
        "SigPnd": 0,
    }


@both
@with_and_without_token
def test_it_has_the_standard_descriptors_and_no_other(emulator, token: list[str], pid1: bool) -> None:
    reader, writer = os.pipe()
    try:
        with Supervisor(
            *token, command=["sleep", "600"], emulator=emulator, pid1=pid1, pass_fds=[writer]
        ) as supervisor:
            found = child_of(supervisor)
            # The dynamic loader has a library open for a moment.
            wait_until(
                lambda: {entry.name for entry in (found.directory / "fd").iterdir()} == {"0", "1", "2"},
                "the child to have the three standard descriptors alone",
            )
            descriptors = {entry.name: os.readlink(entry) for entry in (found.directory / "fd").iterdir()}
            assert descriptors["0"] == os.devnull
            assert supervisor.process and supervisor.process.stdout and supervisor.process.stderr
            for name, stream in (("1", supervisor.process.stdout), ("2", supervisor.process.stderr)):
                assert descriptors[name] == f"pipe:[{os.fstat(stream.fileno()).st_ino}]"
    finally:
        os.close(reader)
        os.close(writer)


def core_limit(process: Process) -> tuple[str, str]:
    (line,) = (
        line for line in (process.directory / "limits").read_text().splitlines() if "core file size" in line
    )
    soft, hard = line.split()[4:6]
    return soft, hard


def test_with_a_token_neither_writes_a_core_file(emulator) -> None:
    through = ["sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh"]
    with Supervisor(command=["sleep", "600"], emulator=emulator, through=through) as supervisor:
        found = child_of(supervisor)
        # The one value that stops a core which is piped to a handler too (fs/coredump.c, `cprm.limit == 1`).
        assert core_limit(found)[0] == "1"
        (ours,) = (found for found in supervisor.processes() if found.pid == supervisor.pid)
        assert core_limit(ours)[0] == "1"


def test_its_oom_score_is_the_one_we_were_started_with() -> None:
    with Supervisor(
        "--no-token", command=["sleep", "600"], through=["choom", "-n", "321", "--"]
    ) as supervisor:
        assert (child_of(supervisor).directory / "oom_score_adj").read_text() == "321\n"


def test_its_directory_umask_and_priority_are_the_ones_we_were_started_with(tmp_path: Path) -> None:
    through = ["nice", "-n", "5", "sh", "-c", 'umask 0137; exec "$@"', "sh"]
    ended = run("--no-token", command=["sh", "-c", "umask; pwd; nice"], through=through, directory=tmp_path)
    mask, folder, priority = ended.output
    assert (int(mask, 8), folder, int(priority)) == (0o137, str(tmp_path), os.nice(0) + 5)


def test_its_arguments_are_passed_on_byte_for_byte() -> None:
    arguments = ["", " ", "a b", "$HOME", "*", "--help", "--", "\n", "é✓", '"', "'", "\\"]
    # All in one write, because the supervisor's own lines go to the same output.
    show = """all=$(for word; do printf '[%s]' "$word"; done); printf '%s\\n' "$all" """
    ended = run("--no-token", command=["sh", "-c", show, "sh", *arguments])
    assert "\n".join(ended.output) == "".join(f"[{argument}]" for argument in arguments)


def test_its_options_are_not_ours() -> None:
    assert run("--no-token", command=["sh", "-c", 'exit "$1"', "--check", "3"]).process.returncode == 3


def test_its_name_is_the_one_in_the_command() -> None:
    with Supervisor("--no-token", command=["sleep", "600"]) as supervisor:
        assert child_of(supervisor).arguments == ["sleep", "600"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE])
def test_it_dies_of_signals_that_our_parent_ignored(number: int) -> None:
    through = ["env", f"--ignore-signal={signal.Signals(number).name[3:]}"]
    ended = run("--no-token", command=["sh", "-c", f"kill -{int(number)} $$; exit 1"], through=through)
    assert ended.process.returncode == 128 + number


def test_a_child_that_moved_to_another_group_is_ended_too() -> None:
    """A stop's signal goes to the group that the child was started in, so KILL ends it after the stop timeout."""
    with Supervisor("--no-token", "--stop-timeout", "500ms", command=child("changes_group")) as supervisor:
        supervisor.wait_for_output("moved")
        assert supervisor.stop() == 137
        assert not supervisor.processes()


def test_environment_variables_reach_it_untouched_without_a_token() -> None:
    variables = {
        "ODD": "a=b\n\tc é✓",
        "EMPTY": "",
        "PGPASSWORD": "mine",
        "WEB_CONCURRENCY": "3",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite://",
    }
    ended = run(
        "--no-token", command=child("says_variables", *variables, "PGPASSFILE"), environment=variables
    )
    assert ended.output == [f"{name}={value.encode().hex()}" for name, value in variables.items()] + [
        "PGPASSFILE is not set"
    ]
