"""Each line of the log is one write(2): other writers of the same pipe can't get into the middle of it (pipe(7))."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from supervisor import run
from google_emulator.client import GoogleEmulator

# strace writes every byte as \\xNN with -xx.
WRITE = re.compile(r'^write\((\d+), "((?:\\x[0-9a-f]{2})*)", (\d+)\) += (\d+)$')
WRITING_CALLS = "write,writev,pwrite64,pwritev,pwritev2,sendfile,splice"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_line_is_one_write(emulator: GoogleEmulator, tmp_path: Path, log_format: str) -> None:
    emulator.script({"status": 503, "body": 'out of "order"\r\n\x01 \\ é' + "x" * 3000})
    trace = tmp_path / "trace"
    ended = run(
        *("--log-level", "debug", "--log-format", log_format),
        # Only the supervisor is traced, and its child is silent.
        through=["strace", "-o", str(trace), "-xx", "-s", "65536", "-e", f"trace={WRITING_CALLS}"],
        command=["true", "a\nb", "y" * 5000],
        environment={"PGPASSWORD": "x"},
        emulator=emulator,
    )
    assert ended.process and ended.process.returncode == 0
    written = []
    for line in trace.read_text().splitlines():
        call = WRITE.match(line)
        if call and call[1] == "1":
            data = bytes.fromhex(call[2].replace("\\x", ""))
            assert len(data) == int(call[3]) == int(call[4]), "the write was cut short"
            written.append(data.decode())
        elif not line.startswith(("+++", "---")):
            # Anything else that writes, such as to the loop's own eventfd, does not write to standard output.
            assert not re.match(r"\w+\(1, ", line), line
    assert len(ended.log) == len(ended.lines) >= 6
    assert written == [f"{line}\n" for line in ended.lines]
