"""Faults for the real program: system calls that fail, a name server of the test's own, a frozen control group.

    trace = Trace({"clone": "error=EAGAIN"}, tmp_path / "trace")
    with Supervisor("--no-token", command=["sleep", "60"], through=trace.command) as supervisor:
        ...
    assert trace.injected() > 0

Each of these needs rights that not every machine gives. `why_no_injection()` and its like name what is missing.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import shutil
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from processes import find_process
from supervisor import wait_until

_numbers = itertools.count(1)


def require(why_not: Callable[[], str | None]) -> Any:
    """Marks tests that only run if `why_not` gives no reason against it."""
    why = why_not()
    return pytest.mark.skipif(why is not None, reason=why or "")


# System calls that fail

# Calls are injected in the program and in what it forks, but no longer in the command that the fork then executes
# (strace(1), --detach-on). Signals are not written to the trace.
_STRACE = ("strace", "-f", "--detach-on=execve", "--quiet=all", "--signal=none")


class Trace:
    """strace, which makes system calls fail as strace(1) says of `inject=`. `faults` maps a call to what is injected;
    with None the call is only watched. brk(2) is none for it, for its failure is not an error's number.

    Calls that this architecture does not have are left out, which is what the question mark means.
    """

    def __init__(self, faults: Mapping[str, str | None], file: Path) -> None:
        self._file = file
        names = ",".join(f"?{name}" for name in faults)
        self._options = ["-o", str(file), "-e", f"trace={names}"]
        for name, fault in faults.items():
            if fault is not None:
                self._options += ["-e", f"inject=?{name}:{fault}"]

    @property
    def command(self) -> list[str]:
        """Starts the command behind it, and ends with that command's exit code."""
        return [*_STRACE, *self._options]

    @contextlib.contextmanager
    def attached(self, pid: int) -> Iterator[None]:
        """Traces a process that runs already, and detaches from it at the end."""
        # Its options are those for the process alone: children that it has already are not looked at.
        with subprocess.Popen(
            ["strace", "--quiet=all", "--signal=none", *self._options, "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as strace:

            def traced() -> bool:
                if strace.poll() is not None:
                    assert strace.stderr
                    raise ChildProcessError(f"strace ended: {strace.stderr.read()}")
                process = find_process(pid)
                return bool(process) and process.status.get("TracerPid") == str(strace.pid)

            try:
                wait_until(traced, "strace to attach")
                yield
            finally:
                # At TERM strace detaches from a process that it did not start.
                strace.terminate()
                strace.wait()

    def injected(self) -> int:
        """How many calls have failed by injection."""
        return self.count("(INJECTED)")

    def count(self, text: str) -> int:
        """How often strace has written it so far."""
        with contextlib.suppress(FileNotFoundError):
            return self._file.read_text(errors="replace").count(text)
        return 0


@functools.cache
def why_no_injection() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed"
    command = [*_STRACE, "-o", "/dev/null", "-e", "trace=getppid", "-e", "inject=getppid:error=EPERM", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return None
    return f"strace can't inject faults here: {(tried.stderr.strip() or 'it failed').splitlines()[-1]}"


@functools.cache
def why_no_attaching() -> str | None:
    """The program is not dumpable, so that only CAP_SYS_PTRACE lets strace attach to it (ptrace(2))."""
    return why_no_injection() or (None if os.geteuid() == 0 else "only root may attach strace to the program")


# Names

_RESOLVER = "nameserver {address}\noptions {patience}\n"
_PATIENCE = "timeout:30 attempts:5"
_MOUNTED = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
# RFC 1035, sections 4.1.1 (RCODE) and 4.1.3.
_REFUSED = 5
_LOOPBACK = bytes.fromhex("c00c0001000100000000") + b"\0\4" + socket.inet_aton("127.0.0.1")
"""An answer: the name that was asked for has this address, and nobody may keep that."""
_ADDRESS = b"\0\1"


class NameServer:
    """Answers none of its questions, or refuses them all, at port 53 of a loopback address of its own. While `answers` is
    true, every name is one of 127.0.0.1.

    `through` starts a program for which it is the only name server. The program's resolver waits 30 s for an answer,
    five times (resolv.conf(5)), so that within the limits of a test it never gives up by itself; `patience` is another
    setting.
    """

    def __init__(
        self, directory: Path, *, refuses: bool = False, answers: bool = False, patience: str = _PATIENCE
    ) -> None:
        self._refuses = refuses
        self._patience = patience
        self.answers = answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # The newest are enough for a test, and a server that runs for hours keeps no more.
        self._asked: deque[tuple[str, int]] = deque(maxlen=10_000)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._configuration = directory / "resolv.conf"
        self.address = ""

    def __enter__(self) -> NameServer:
        # All of 127.0.0.0/8 belongs to the loopback interface. Another test may use an address already.
        for number in itertools.count(os.getpid() % 50_000):
            self.address = f"127.53.{number // 250 % 250}.{number % 250 + 1}"
            with contextlib.suppress(OSError):
                self._socket.bind((self.address, 53))
                break
        self._configuration.write_text(_RESOLVER.format(address=self.address, patience=self._patience))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # The thread waits in recvfrom, which the shutdown of a socket that is not connected ends all the same.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    @property
    def configuration(self) -> Path:
        """The resolv.conf(5) for a program that is to use it."""
        return self._configuration

    @property
    def through(self) -> list[str]:
        return ["unshare", "--mount", "sh", "-c", _MOUNTED, str(self._configuration)]

    def tries(self, name: str) -> int:
        """How often a resolver began to ask for the name: each uses a socket of its own, for both address families."""
        return len({port for asked, port in list(self._asked) if asked == name})

    def _serve(self) -> None:
        while True:
            try:
                question, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            if len(question) <= 12:
                return
            labels, position = [], 12
            while length := question[position]:
                labels.append(question[position + 1 : position + 1 + length].decode())
                position += 1 + length
            self._asked.append((".".join(labels), sender[1]))
            if self.answers:
                # One question, and one answer if it is for an address; there are none of IPv6.
                end = position + 5
                answer = _LOOPBACK if question[position + 1 : position + 3] == _ADDRESS else b""
                counts = b"\0\1" + (b"\0\1" if answer else b"\0\0") + bytes(4)
                head = question[:2] + bytes((question[2] | 0x80, 0x80)) + counts
                self._socket.sendto(head + question[12:end] + answer, sender)
            elif self._refuses:
                flags = bytes((question[2] | 0x80, _REFUSED))
                self._socket.sendto(question[:2] + flags + question[4:], sender)


@functools.cache
def why_no_names() -> str | None:
    """The reason why a test can't give the program a name server of its own."""
    if os.geteuid() != 0:
        return "only root may mount another /etc/resolv.conf and listen on port 53"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _MOUNTED, "/dev/null", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        return f"another /etc/resolv.conf can't be mounted here: {tried.stderr.strip()}"
    return None


# Mounts


@contextlib.contextmanager
def shared_memory(options: str = "size=50%", resolver: Path = Path("/etc/resolv.conf")) -> Iterator[tuple[list[str], Path]]:
    """A private /dev/shm, with these options of tmpfs(5): the command that starts a program with it, and its path outside
    of the namespace. The program gets `resolver` as its /etc/resolv.conf."""
    mounts = 'mount -t tmpfs -o "$0" none /dev/shm && mount --bind "$1" /etc/resolv.conf'
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f"{mounts} && echo mounted && exec sleep infinity", options, str(resolver)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout and holder.stderr
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(f"another /dev/shm can't be mounted here: {holder.stderr.read().strip()}")
        yield ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"], Path(f"/proc/{holder.pid}/root/dev/shm")
    finally:
        holder.kill()
        holder.communicate()


# Frozen control groups

_MOUNT = re.compile(r"^\S+ (\S+) cgroup (\S+)", re.MULTILINE)


def _freezer_directory() -> Path | None:
    """The path of our own group in the freezer's hierarchy of version 1 (cgroups(7))."""
    found = [point for point, options in _MOUNT.findall(Path("/proc/self/mounts").read_text()) if "freezer" in options]
    own = re.search(r"^\d+:[^:]*\bfreezer\b[^:]*:(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    return Path(found[0], own[1].lstrip("/")) if found and own else None


class Freezer:
    """A control group whose processes can be frozen. Version 1's hold back even SIGKILL until they are thawed, as an
    uninterruptible sleep does; those of version 2 would die of it (kernel, Documentation/admin-guide/cgroup-v2.rst)."""

    def __init__(self) -> None:
        parent = _freezer_directory()
        assert parent
        self._directory = parent / f"prefect-supervisor-test-{os.getpid()}-{next(_numbers)}"

    def __enter__(self) -> Freezer:
        self._directory.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()

        def removed() -> bool:
            # A process that is dying counts until it is reaped.
            with contextlib.suppress(OSError):
                self._directory.rmdir()
                return True
            return False

        wait_until(removed, "the control group to be empty")

    def take(self, pid: int) -> None:
        (self._directory / "cgroup.procs").write_text(str(pid))

    def freeze(self) -> None:
        self._set("FROZEN")

    def thaw(self) -> None:
        self._set("THAWED")

    def _set(self, state: str) -> None:
        file = self._directory / "freezer.state"
        file.write_text(state)
        # In between it is FREEZING.
        wait_until(lambda: file.read_text().strip() == state, f"the control group to be {state}")


@functools.cache
def why_no_freezer() -> str | None:
    if _freezer_directory() is None:
        return "there is no freezer of cgroup version 1"
    try:
        with Freezer():
            return None
    except OSError as error:
        return f"a control group can't be made here: {error}"
