"""Measures what the start costs with each type of credential file, against the emulator: the processor time of the program and its
child, and the time from the program's exec to the child's, with the handshake and the answer of the emulator in it. The
authorities are those of this machine and the emulator's own:

.deps/venv/bin/python tests/bench/credential_start.py [BINARY]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from google_emulator.client import GoogleEmulator  # noqa: E402
from google_emulator.sample_credentials import write_samples  # noqa: E402

RUNS = 15
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def measure(binary: str, environment: dict[str, str]) -> str:
    program = [binary, "--ready-url", "off", "--health-address", "off", "--"]
    processor, to_exec = [], []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*program, "true"], env=environment, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
        # The shell becomes the program, and date becomes the child: both say when.
        command = ["sh", "-c", 'date +%s%N; exec "$@"', "sh", *program, "date", "+%s%N"]
        result = subprocess.run(command, env=environment, check=True, capture_output=True)
        start, end = map(int, result.stdout.split())
        to_exec.append((end - start) / 1e6)
    return f"processor {statistics.median(processor):5.1f} ms, exec to exec {statistics.median(to_exec):5.1f} ms"


def main() -> None:
    binary = sys.argv[1] if len(sys.argv) > 1 else str(REPOSITORY / "build/release/prefect-supervisor")
    with tempfile.TemporaryDirectory() as folder:
        files = write_samples(Path(folder))
        with GoogleEmulator(postgres=False, credentials=list(files.values())) as google:
            bundle = Path(folder) / "authorities.pem"
            bundle.write_text(AUTHORITIES.read_text() + Path(str(google.ca)).read_text())
            common = {
                "PATH": os.environ["PATH"],
                "DB_USER": "user@project.iam",
                "DB_IP": "127.0.0.1",
                "DB_NAME": "prefect",
                "SUPERVISOR_DB_WAIT": "off",
                "SUPERVISOR_LOG_LEVEL": "error",
                **google.environment(),
            }
            https = common | google.https_environment() | {"SSL_CERT_FILE": str(bundle)}
            count = bundle.read_text().count("BEGIN CERTIFICATE")
            print(f"{count} authorities, medians of {RUNS} runs")
            print(f"{'metadata server':32} {measure(binary, common)}")
            for name, file in files.items():
                print(f"{name:32} {measure(binary, https | {'GOOGLE_APPLICATION_CREDENTIALS': str(file)})}")


if __name__ == "__main__":
    main()
