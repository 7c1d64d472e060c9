"""Measures what the start costs with each type of credential file, in processor time of the program and its child, against
the emulator. The authorities are those of this machine and the emulator's own:

.deps/venv/bin/python tests/bench/credential_start.py [BINARY]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from google_emulator.client import GoogleEmulator  # noqa: E402
from google_emulator.sample_credentials import write_samples  # noqa: E402

RUNS = 15
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def measure(binary: str, environment: dict[str, str]) -> str:
    processor, wall = [], []
    for _ in range(RUNS):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [binary, "--ready-url", "off", "--health-address", "off", "--", "cat", "/proc/self/stat"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(1000 * (time.monotonic() - start))
        processor.append(1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return f"processor {statistics.median(processor):5.1f} ms, whole run {statistics.median(wall):5.1f} ms"


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
