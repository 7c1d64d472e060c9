"""Refuses options of a socket to a program, as a sandbox does that lacks them."""

from __future__ import annotations

import errno
import functools
import platform
import socket
import subprocess
import sys

# Options of a socket are refused by a filter of seccomp(2), as a sandbox does it, because strace can't tell them apart.
# The filter stays in force for the children too, none of which uses these options.

_CALLS = {
    "x86_64": {"setsockopt": 54, "getsockopt": 55},
    "aarch64": {"setsockopt": 208, "getsockopt": 209},
}
_REFUSES = """
import ctypes, os, struct, sys
call, level, option, error = map(int, sys.argv[1:5])
load, if_equal, give = 0x20, 0x15, 0x06
# The offsets of the call's number and of its second and third argument in struct seccomp_data.
program = [(load, 0, 0, 0), (if_equal, 0, 5, call), (load, 0, 0, 24), (if_equal, 0, 3, level),
           (load, 0, 0, 32), (if_equal, 0, 1, option), (give, 0, 0, 0x50000 | error), (give, 0, 0, 0x7FFF0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(filters)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
set_no_new_privileges, set_seccomp, mode_filter = 38, 22, 2
zero = ctypes.c_ulong(0)
if prctl(set_no_new_privileges, ctypes.c_ulong(1), zero, zero, zero) or prctl(set_seccomp, mode_filter, pointer):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[5], sys.argv[5:])
"""

# From asm-generic/socket.h.
SO_ATTACH_REUSEPORT_CBPF = 51


def refusing(call: str, level: int, option: int, error: int = errno.ENOPROTOOPT) -> list[str]:
    """The command that starts a program to which this option of a socket is refused, as by a sandbox that lacks it."""
    number = _CALLS[platform.machine()][call]
    return [sys.executable, "-S", "-E", "-c", _REFUSES, *map(str, (number, level, option, error))]


@functools.cache
def why_no_refusing() -> str | None:
    if platform.machine() not in _CALLS:
        return f"the numbers of the system calls of {platform.machine()} are not known here"
    asks = (
        "import socket, sys\n"
        "try: socket.socket().getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)\n"
        "except OSError: print('refused')"
    )
    command = [*refusing("getsockopt", socket.SOL_SOCKET, socket.SO_ACCEPTCONN), sys.executable, "-S", "-c", asks]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.stdout == "refused\n":
        return None
    return f"a filter of seccomp can't be set here: {tried.stderr.strip()}"
