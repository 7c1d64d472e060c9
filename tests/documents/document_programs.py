"""The programs that a block of a document finds when the tests run it: those that would need a cloud or an engine, or would never
end. Each takes the document's own words.

workshop.py makes a program of each name here, with the environment that is described there. A program that ends with a code
other than 0 fails the test of its block.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = "my-project"
# Of a program that is told to end.
LIMIT = 120.0
NO_ENGINE = ("Cannot connect to the Docker daemon", "Error while fetching server API version")
# What a program prints that a document's next command uses, by the format that is asked for.
ANSWERS = {
    "value(projectNumber)": "123456789012",
    "value(name)": f"projects/{PROJECT}/notificationChannels/1",
    "value(cert)": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
}
# For a server that a document starts without naming an application of ours.
APPLICATIONS = {
    "gunicorn": "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'here']\n",
    "uvicorn": "async def app(scope, receive, send):\n"
    "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
    "    await send({'type': 'http.response.body', 'body': b'here'})\n",
}


def refuse(why: str) -> NoReturn:
    sys.exit(f"{Path(sys.argv[0]).name}: {why}: {' '.join(sys.argv)}")


def gcloud(words: list[str]) -> None:
    """By the parser of the stand-in, which knows the real one's commands, flags and choices."""
    import gcloud_stand_in

    command, _, flags = gcloud_stand_in.parse(words)
    for name, value in flags.items():
        if not name.endswith("-file"):
            continue
        if value == "-" and not sys.stdin.read():
            refuse(f"{name}: nothing is on standard input")
        if value != "-" and not Path(value).is_file():
            refuse(f"{name}: there is no such file")
    # The arguments of a container are the supervisor's.
    if command == "run jobs create":
        check_supervisor_options(flags["--args"].split(","))
    if text := ANSWERS.get(flags.get("--format", "")):
        print(text)
    if command == "secrets versions access":
        print("admin:password")


def check_supervisor_options(words: list[str]) -> None:
    options = words[: words.index("--")] if "--" in words else words
    # The settings are read before --check fetches a token. They are complete, and the metadata server answers nobody.
    environment = {"DB_USER": "u@p.iam", "DB_IP": "127.0.0.1", "DB_NAME": "d", "GCE_METADATA_HOST": "127.0.0.1:9"}
    result = subprocess.run(
        [os.environ["PREFECT_SUPERVISOR_BINARY"], *options, "--check", "--start-deadline", "1s"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    if result.returncode == 2:
        refuse(result.stderr)


def docker(words: list[str]) -> None:
    """The real client, without an engine: it reads its whole command line first."""
    if words == ["version"]:
        return
    if words[0] == "compose":
        compose(words[1:])
        return
    if words[0] == "build":
        if not Path(words[words.index("-f") + 1]).is_file():
            refuse("there is no such Dockerfile")
        if not (Path(words[-1]) / "supervisor").is_dir():
            refuse("the context is not the root of the repository")
    without_engine([os.environ["DOCKER"], *words])


def without_engine(command: list[str]) -> None:
    environment = os.environ | {"DOCKER_HOST": "unix:///nonexistent"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    if not any(text in result.stderr for text in NO_ENGINE):
        refuse(result.stderr)


def compose(words: list[str]) -> None:
    if words == ["version"]:
        return
    program = os.environ["COMPOSE"].split()
    option, file, command, *rest = words
    if option != "-f":
        refuse("the file is not named")
    listing = [*program, "-f", file, "config", "--services"]
    result = subprocess.run(listing, capture_output=True, text=True, timeout=LIMIT)
    if result.returncode != 0:
        refuse(result.stderr)
    services = result.stdout.split()
    named = [word.partition("=")[0] for word in rest if not word.startswith("-")]
    if unknown := set(named) - set(services):
        refuse(f"{file} has no service {' '.join(sorted(unknown))}")
    without_engine([*program, "-f", file, command, *rest])


def terraform(words: list[str]) -> None:
    """The real one, on a copy of the module and with the providers of tests/terraform. Its question is answered with yes."""
    result = subprocess.run([os.environ["TERRAFORM"], *words], input="yes\n", text=True, timeout=600)
    sys.exit(result.returncode)


def prefect_supervisor(words: list[str]) -> None:
    """The real one, with a token and a database, until its child is ready; then it is stopped."""
    from prefect_server import START_LIMIT, prefect_environment
    from supervisor import Supervisor

    from google_emulator.client import GoogleEmulator

    end = words.index("--")
    options, command = words[:end], words[end + 1 :]
    # The port is the test's own, and not the default.
    ready_url = None
    if "--ready-url" in options:
        place = options.index("--ready-url")
        ready_url = options[place + 1].replace(":8080", ":{port}")
        del options[place : place + 2]
    Path("app.py").write_text(APPLICATIONS[command[0]])
    given = {name: value for name, value in os.environ.items() if name.startswith(("SUPERVISOR_", "PREFECT_"))}
    with tempfile.TemporaryDirectory() as folder, GoogleEmulator(token_life="1h") as emulator:
        environment = prefect_environment(Path(folder)) | given
        with Supervisor(
            *options, command=command, emulator=emulator, environment=environment, ready_url=ready_url
        ) as supervisor:
            supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
            # The child's own code: some servers take the signal for a reason to end with 0.
            if supervisor.stop() not in (0, 128 + signal.SIGTERM):
                refuse(supervisor.transcript())


def prefect(words: list[str]) -> None:
    """The real one."""
    os.execv(Path(sys.executable).with_name("prefect"), ["prefect", *words])


def deploy_script(words: list[str]) -> None:
    """The script of that name, which only prints what it would do. tests/cloud_run runs the scripts."""
    script = REPOSITORY / "deploy/cloud_run" / Path(sys.argv[0]).name
    environment = {name: os.environ[name] for name in ("PROJECT_ID", "NAME") if name in os.environ}
    result = subprocess.run([script, *words, "--dry-run"], env={"PATH": "/usr/bin:/bin"} | environment, timeout=LIMIT)
    sys.exit(result.returncode)


def tool(words: list[str]) -> None:
    """What ./dev calls: whoever runs this test has been set up and built, and a test does not run all tests. The parts have to
    exist; ./dev itself knows the presets."""
    name = Path(sys.argv[0]).name
    if name == "fuzz.sh" and not words:
        # It only lists the targets.
        sys.exit(subprocess.run([REPOSITORY / "tools/fuzz.sh"], timeout=LIMIT).returncode)
    if name == "run-tests.sh":
        if missing := [part for part in words if not (REPOSITORY / f"tools/parts/{part}.sh").exists()]:
            refuse(f"there is no part {' '.join(missing)}")
        print(f"would run {' '.join(words)}")


class Talking:
    """A program that runs until it is told to end, and its output so far."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # An end by a signal is for the program alone.
            start_new_session=True,
        )
        self.output = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            if found := re.search(pattern, self.output):
                return found
        self.process.wait(LIMIT)
        refuse(f"it ended with {self.process.returncode} without {pattern!r}: {self.output}")

    def end(self, number: int) -> str:
        self.process.send_signal(number)
        assert self.process.stdout
        self.output += self.process.stdout.read()
        if code := self.process.wait(LIMIT):
            refuse(f"it ended with {code}: {self.output}")
        return self.output


def local_run(words: list[str]) -> None:
    """What `./dev run` ends with: the real one, on a port of its own, until it has printed its address and a browser would get an
    answer there; then Ctrl-C."""
    from supervisor import ReservedPort

    with ReservedPort() as port:
        program = str(REPOSITORY / "google_emulator/local_run.py")
        running = Talking([sys.executable, program, *words, "--port", str(port.number)])
        url = running.wait_for(r"Prefect's UI +(http:\S+)\n(?s:.*)Ctrl-C ends everything")[1]
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=LIMIT) as page:
            if b"<title>Prefect" not in page.read():
                refuse(f"{url} is not Prefect's UI")
        output = running.end(signal.SIGINT)
    if not re.search(r"^ended after \d+ rotations and \d+ logins, 0 of them refused$", output, re.MULTILINE):
        refuse(output)


def google_emulator(words: list[str]) -> None:
    """The real one, until it has printed its one line, which is passed on."""
    running = Talking([sys.executable, str(REPOSITORY / "google_emulator"), *words])
    line = running.wait_for(r"^\{.*\}$")[0]
    json.loads(line)
    running.end(signal.SIGTERM)
    print(line)


PROGRAMS = {
    "gcloud": gcloud,
    "docker": docker,
    "terraform": terraform,
    "prefect-supervisor": prefect_supervisor,
    "prefect": prefect,
    "local_run.py": local_run,
    "google_emulator": google_emulator,
    **dict.fromkeys(("setup", "deploy", "verify", "cleanup"), deploy_script),
    **dict.fromkeys(("setup.sh", "build.sh", "run-tests.sh", "fuzz.sh"), tool),
}


def main() -> None:
    # These programs themselves may call others than a block may.
    os.environ["PATH"] = os.environ["PATH_OF_THE_TEST"]
    path = Path(sys.argv[0])
    PROGRAMS[path.parent.name if path.name == "__main__.py" else path.name](sys.argv[1:])
