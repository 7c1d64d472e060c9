"""The properties of the first child that test_child_process.py shows hold for the child after a rotation, too."""

from __future__ import annotations

import os

import pytest

from processes import Process, find_process
from supervisor import Supervisor, wait_until
from google_emulator.client import GoogleEmulator

# The signals that the supervisor's parent had ignored and blocked.
INHERITED = ["env", "--ignore-signal=PIPE,CHLD,INT,HUP,USR1", "--block-signal=TERM,USR2,CHLD,ALRM"]


def check_child(child: Process, supervisor: Supervisor) -> None:
    # After exec, when the program itself has set up nothing yet or ever: `sleep` handles no signal.
    wait_until(lambda: child.status.get("Name") == "sleep", "the child's exec")
    masks = {name: int(child.status[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd")}
    assert set(masks.values()) == {0}, masks
    # The loader of the program has a library open for a moment.
    folder = child.directory / "fd"
    wait_until(lambda: {entry.name for entry in folder.iterdir()} == {"0", "1", "2"}, "three descriptors alone")
    assert os.readlink(folder / "0") == os.devnull
    assert supervisor.process and supervisor.process.stdout and supervisor.process.stderr
    for name, stream in (("1", supervisor.process.stdout), ("2", supervisor.process.stderr)):
        assert os.readlink(folder / name) == f"pipe:[{os.fstat(stream.fileno()).st_ino}]"
    assert child.group == child.pid
    assert child.parent == supervisor.pid


def only_child(supervisor: Supervisor) -> Process:
    (found,) = (process for process in supervisor.processes() if process.pid != supervisor.pid)
    return found


@pytest.mark.long
@pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])
def test_mask_dispositions_descriptors_and_group_after_a_rotation(pid1: bool) -> None:
    reader, writer = os.pipe()
    try:
        with (
            GoogleEmulator(postgres=False, token_life="1h", cache_model="none") as emulator,
            Supervisor(
                *("--rotation", "restart", "--refresh-interval", "5s"),
                emulator=emulator,
                command=["sleep", "600"],
                through=INHERITED,
                pass_fds=[writer],
                pid1=pid1,
            ) as supervisor,
        ):
            supervisor.wait_for_log("child: started")
            first = only_child(supervisor)
            check_child(first, supervisor)
            # Two starts are 30 s apart at least.
            supervisor.wait_for_log("child: started", count=2, timeout=90)
            second = only_child(supervisor)
            assert second.pid != first.pid
            check_child(second, supervisor)
            assert find_process(first.pid) is None
    finally:
        os.close(reader)
        os.close(writer)
