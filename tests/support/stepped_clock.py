"""Steps the clocks of one running process, and of no other one on the machine.

    clock = SteppedClock(supervisor.pid)
    clock.step(wall=3600)            # its wall clock is an hour ahead from now on
    clock.step(wall=40, boot=40)     # as after a freeze of 40 s, in no time

A time namespace (time_namespaces(7)) can't do it: it does not shift the wall clock, and its offsets are fixed before the
first process is in it. But every process reads its clocks by the vDSO (vdso(7)), and its copy of that code may be
written: the kernel lets a debugger do so (arch/x86/entry/vdso/vma.c, VM_MAYWRITE). The code put there makes the real
system call and adds an offset, so that nothing in the program itself is changed. A program that is executed gets a fresh
vDSO: the supervisor's children keep the machine's time.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import signal
import struct
import threading
from pathlib import Path

from processes import find_process
from supervisor import wait_until

_SYMBOL = b"__vdso_clock_gettime"
# clock_gettime(edi: clock, rsi: result). The offsets are the last two words: of CLOCK_REALTIME and of CLOCK_BOOTTIME.
_CODE = bytes.fromhex(
    "b8e4000000"  # mov eax, 228 (clock_gettime)
    "0f05"  # syscall
    "85ff"  # test edi, edi
    "7406"  # jz wall
    "83ff07"  # cmp edi, 7
    "740c"  # je boot
    "c3"  # ret
    "488b0d10000000"  # wall: mov rcx, [rip + 16]
    "48010e"  # add [rsi], rcx
    "c3"  # ret
    "488b0d0d000000"  # boot: mov rcx, [rip + 13]
    "48010e"  # add [rsi], rcx
    "c3"  # ret
    "90"
)
_OFFSETS = struct.Struct("<qq")


@functools.cache
def why_no_steps() -> str | None:
    if platform.machine() != "x86_64":
        return "the clock's code is for x86-64"
    if os.geteuid() != 0:
        return "only root may write to the memory of the program"
    return None


def _vdso(pid: int) -> tuple[int, bytes]:
    """Where the process has its vDSO, and what is in it."""
    found = re.search(r"^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE)
    assert found, f"process {pid} has no vDSO"
    start, end = (int(text, 16) for text in found.groups())
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        memory.seek(start)
        return start, memory.read(end - start)


def _place_of_the_function(image: bytes) -> tuple[int, int]:
    """Its offset in the vDSO, and its size, from the table of dynamic symbols (elf(5))."""
    sections, count = struct.unpack_from("<Q", image, 0x28)[0], struct.unpack_from("<H", image, 0x3C)[0]
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, sections + 64 * number) for number in range(count)]
    for _, kind, _, _, offset, size, link, *_ in headers:
        if kind != 11:  # SHT_DYNSYM
            continue
        names = headers[link][4]
        for entry in range(offset, offset + size, 24):
            name, _, _, _, value, length = struct.unpack_from("<IBBHQQ", image, entry)
            if image[names + name :].startswith(_SYMBOL + b"\0"):
                return value, length
    raise LookupError("the vDSO does not have the function")


class SteppedClock:
    def __init__(self, pid: int) -> None:
        start, image = _vdso(pid)
        offset, size = _place_of_the_function(image)
        assert size >= len(_CODE) + _OFFSETS.size, "the function is too short for the code"
        self._memory = Path(f"/proc/{pid}/mem")
        self._offsets = start + offset + len(_CODE)
        self.wall = self.boot = 0
        self._lock = threading.Lock()
        # The process must not be in the function while it changes.
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: (found := find_process(pid)) and found.state == "T", "the process to stop")
            self._write(start + offset, _CODE + _OFFSETS.pack(0, 0))
        finally:
            os.kill(pid, signal.SIGCONT)

    def step(self, wall: int = 0, boot: int = 0) -> None:
        """Whole seconds that the clocks are moved by, from where they are now. Between the two a
        reading may come."""
        with self._lock:
            self.wall, self.boot = self.wall + wall, self.boot + boot
            self._write(self._offsets, _OFFSETS.pack(self.wall, self.boot))

    def _write(self, address: int, content: bytes) -> None:
        with self._memory.open("r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(content)
