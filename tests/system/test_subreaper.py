"""Without PR_SET_CHILD_SUBREAPER: old versions of gVisor answer EINVAL to it (prctl(2)). PID 1 does not need it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from supervisor import pid_namespace_command, run, skip_without_namespaces

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

WARNING = "init: can't become a subreaper: Invalid argument; orphans go to another process"
COMMAND = ["sh", "-c", "exit 7"]


def inner_command(pid1: bool) -> tuple[str, ...]:
    return (pid_namespace_command() or skip_without_namespaces()) if pid1 else ()


def traced(trace: Path, inner: tuple[str, ...], *options: str) -> list[str]:
    # strace stays outside of the namespace, so that the supervisor is its PID 1.
    return ["strace", "-f", "-o", str(trace), "-e", "trace=prctl", *options, *inner]


def position_of_the_call(folder: Path, inner: tuple[str, ...]) -> int:
    """Which prctl(2) of its process the call is: strace counts them for every process by itself."""
    trace = folder / "first"
    assert run("--no-token", command=COMMAND, through=traced(trace, inner)).process.returncode == 7
    calls = [line.split(maxsplit=1) for line in trace.read_text().splitlines()]
    (pid,) = {pid for pid, call in calls if "PR_SET_CHILD_SUBREAPER" in call}
    own = [call for number, call in calls if number == pid and call.startswith("prctl(")]
    return next(place for place, call in enumerate(own, 1) if "PR_SET_CHILD_SUBREAPER" in call)


@pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])
def test_einval_is_a_warning_unless_we_are_pid_1(pid1: bool, tmp_path: Path) -> None:
    inner = inner_command(pid1)
    place = position_of_the_call(tmp_path, inner)
    trace = tmp_path / "second"
    through = traced(trace, inner, "-e", f"inject=prctl:error=EINVAL:when={place}")
    ended = run("--no-token", command=COMMAND, through=through)
    refused = [line for line in trace.read_text().splitlines() if "PR_SET_CHILD_SUBREAPER" in line]
    assert len(refused) == 1 and re.search(r"= -1 EINVAL .*\(INJECTED\)$", refused[0])

    assert ended.process and ended.process.returncode == 7
    starting = next(line for line in ended.log if line.message == "starting")
    assert (starting.fields["pid"] == 1) is pid1
    warnings = [line.message for line in ended.log if line.severity in ("WARNING", "ERROR") and "init:" in line.raw]
    assert warnings == ([] if pid1 else [WARNING])
    assert ended.errors == []
