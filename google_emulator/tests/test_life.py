"""How the emulator starts and ends: what it says, and that it leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from google_emulator.client import GoogleEmulator, EmulatorError
from google_emulator.options import parse_options

PROGRAM = Path(__file__).resolve().parents[1]
POSTGRES = parse_options([]).postgres_dir


class LifeTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="emulator-life-"))
        # PostgreSQL's own user passes through to the folders in it.
        self.folder.chmod(0o711)
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, *options: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, PROGRAM, *options],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()

    def ready(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout and process.stderr
        line = process.stdout.readline()
        self.assertTrue(line, "the emulator ended at its start")
        return json.loads(line)

    def run_to_end(self, *options: str) -> tuple[int, list[str]]:
        result = subprocess.run(
            [sys.executable, PROGRAM, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        self.assertEqual(result.stdout, "")
        return result.returncode, result.stderr.splitlines()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"waited for {what}")
            time.sleep(0.05)


class CleanEnd(LifeTest):
    def check(self, number: int) -> None:
        state, ready_file = self.folder / "state", self.folder / "ready.json"
        process = self.start("--tls=on", f"--state-dir={state}", f"--ready-file={ready_file}")
        ready = self.ready(process)
        self.assertEqual(json.loads(ready_file.read_text()), ready)
        self.assertTrue(Path(ready["ca"]).read_text().startswith("-----BEGIN CERTIFICATE-----"))
        children = descendants(process.pid)
        self.assertGreater(len(children), 3)

        # With a session open, as a stop in real life finds it.
        with connect(ready["database"]["host"], ready["database"]["port"]):
            process.send_signal(number)
            self.assertEqual(process.wait(60), 0)
        self.assertEqual(process.communicate(), ("", ""))
        self.assertEqual([pid for pid in children if alive(pid)], [])
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_sigterm(self) -> None:
        self.check(signal.SIGTERM)

    def test_sigint(self) -> None:
        self.check(signal.SIGINT)

    def test_a_stop_while_it_starts(self) -> None:
        # What a start leaves in its folder, in this order.
        for made in ("", "server.pem", "postgres-*", "postgres-*/data/*", "postgres.log"):
            with self.subTest(made=made):
                state = self.folder / "state"
                process = self.start(f"--state-dir={state}", "--tls=on")
                self.wait_until(lambda: any(state.glob(made)) if made else state.exists(), "the start to get there")
                process.terminate()
                self.assertEqual(process.wait(60), 0)
                self.assertEqual(list(self.folder.iterdir()), [])

    def test_the_end_of_standard_input(self) -> None:
        process = self.start(
            "--exit-with-stdin", f"--state-dir={self.folder / 'state'}", stdin=subprocess.PIPE
        )
        self.ready(process)
        assert process.stdin
        process.stdin.close()
        process.stdin = None
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_folder_that_was_there_stays_and_is_empty(self) -> None:
        state = self.folder / "state"
        state.mkdir()
        process = self.start(f"--state-dir={state}")
        self.ready(process)
        process.terminate()
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(list(state.iterdir()), [])


class HardEnd(LifeTest):
    def test_postgresql_does_not_outlive_a_killed_emulator(self) -> None:
        process = self.start(f"--state-dir={self.folder / 'state'}")
        self.ready(process)
        children = descendants(process.pid)
        self.assertGreater(len(children), 3)
        process.kill()
        self.wait_until(lambda: not any(map(alive, children)), "PostgreSQL to end")

    def test_an_emulator_does_not_outlive_a_killed_parent(self) -> None:
        program = "from google_emulator.client import GoogleEmulator; print(GoogleEmulator().start().pid, flush=True); input()"
        parent = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=PROGRAM.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(self.folder)},
        )
        self.addCleanup(self.end, parent)
        assert parent.stdout
        emulator = int(parent.stdout.readline())
        children = descendants(emulator)
        self.assertGreater(len(children), 3)
        parent.kill()
        self.wait_until(lambda: not any(map(alive, [emulator, *children])), "the emulator to end")
        self.assertEqual([path for found in self.folder.iterdir() for path in found.iterdir()], [])

    def test_the_clients_stop_cleans_up_after_a_killed_emulator(self) -> None:
        emulator = GoogleEmulator().start()
        state = Path(emulator.socket_directory).parent
        self.assertTrue(state.exists())
        os.kill(emulator.pid, signal.SIGKILL)
        self.wait_until(lambda: not emulator.alive, "the emulator to be dead")
        emulator.stop()
        self.assertFalse(state.exists())

    def test_the_loss_of_postgresql_ends_the_emulator(self) -> None:
        process = self.start(f"--state-dir={self.folder / 'state'}")
        self.ready(process)
        server = next(pid for pid in descendants(process.pid) if name_of(pid) == "postgres")
        os.kill(server, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertRegex(errors, r"\Agoogle_emulator: error: PostgreSQL ended by itself with code -9: .*\n\Z")
        self.assertEqual(list(self.folder.iterdir()), [])


class Refusals(LifeTest):
    def test_a_taken_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for option, what in [
                ("metadata", "metadata server"),
                ("control", "control port"),
                ("db", "database"),
            ]:
                with self.subTest(option=option):
                    code, lines = self.run_to_end(
                        f"--{option}-port={port}", f"--state-dir={self.folder / 'state'}"
                    )
                    expected = (
                        f"cannot listen on 127.0.0.1 port {port} for the {what}: Address already in use"
                    )
                    self.assertEqual((code, lines), (1, [f"google_emulator: error: {expected}"]))
                    self.assertEqual(list(self.folder.iterdir()), [])

    def test_no_postgresql(self) -> None:
        code, lines = self.run_to_end(f"--postgres-dir={self.folder}")
        self.assertEqual(code, 1)
        self.assertEqual(len(lines), 1)
        self.assertIn(f"there is no PostgreSQL in {self.folder}", lines[0])
        self.assertIn("--postgres-dir", lines[0])

    def test_a_state_directory_in_use(self) -> None:
        (self.folder / "mine").write_text("mine")
        code, lines = self.run_to_end(f"--state-dir={self.folder}")
        self.assertEqual((code, len(lines)), (1, 1))
        self.assertIn(f"{self.folder} is not empty", lines[0])
        self.assertEqual((self.folder / "mine").read_text(), "mine")

    def test_bad_options(self) -> None:
        for option, words in [
            ("--token-life=9s", "a token lives from 10s to 1h, not 9s"),
            ("--token-life=soon", "'soon' is not a duration"),
            ("--cache-model=gce", "'gce' is not one of five-minutes, four-minutes, gke, none"),
            ("--tls=maybe", "'maybe' is not one of off, on, required"),
            ("--db-port=65536", "'65536' is not a port"),
            ("--first-token-age=1h", "must be less than --token-life"),
            ("--no-such-option", "unrecognized arguments: --no-such-option"),
        ]:
            with self.subTest(option=option):
                code, lines = self.run_to_end(option)
                self.assertEqual((code, len(lines)), (2, 1))
                self.assertIn(words, lines[0])

    def test_the_client_says_that_the_start_failed(self) -> None:
        with self.assertRaisesRegex(EmulatorError, "ended at its start with code 1"):
            GoogleEmulator(postgres_dir=self.folder).start()


class Help(LifeTest):
    def test_it_names_every_option(self) -> None:
        result = subprocess.run(
            [sys.executable, PROGRAM, "--help"], capture_output=True, text=True, timeout=60
        )
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for option in vars(parse_options([])):
            name = "no-postgres" if option == "postgres" else option.replace("_", "-")
            self.assertIn(f"--{name}", result.stdout)


class Distribution(LifeTest):
    def copy_without_links(self, destination: Path) -> Path:
        """PostgreSQL as npm leaves it when it runs no install scripts."""
        shutil.copytree(POSTGRES, destination, symlinks=True)
        for link in json.loads((destination / "pg-symlinks.json").read_text()):
            (destination / Path(link["target"]).relative_to("native")).unlink(missing_ok=True)
        return destination

    def check(self, distribution: Path) -> None:
        # Without a template, so that initdb runs from it, too.
        with GoogleEmulator(postgres_dir=distribution, template_dir=self.folder / "template") as emulator:
            self.assertIsNotNone(emulator.status()["database"]["postgres_pid"])

    def test_library_links_that_npm_left_out_are_made(self) -> None:
        distribution = self.copy_without_links(self.folder / "postgres")
        self.check(distribution)
        self.assertTrue((distribution / "lib/libicuuc.so.60").is_symlink())

    @unittest.skipUnless(os.geteuid() == 0, "only root has another user to run PostgreSQL")
    def test_a_folder_that_postgresqls_user_cannot_reach(self) -> None:
        private = self.folder / "private"
        private.mkdir(mode=0o700)
        self.check(self.copy_without_links(private / "postgres"))

    def test_two_that_start_at_once_share_one_template(self) -> None:
        def start(_: int) -> str:
            with GoogleEmulator(template_dir=self.folder / "shared") as emulator:
                return emulator.fetch_token()[0]

        with ThreadPoolExecutor() as pool:
            self.assertEqual(len(set(pool.map(start, range(2)))), 2)
        kinds = sorted(path.suffix or "template" for path in (self.folder / "shared").iterdir())
        self.assertEqual(kinds, [".lock", "template"])

    def test_a_template_folder_that_cannot_be_written_is_done_without(self) -> None:
        if os.geteuid() == 0:
            self.skipTest("root can write everywhere")
        self.folder.chmod(0o500)
        with GoogleEmulator(template_dir=self.folder) as emulator:
            emulator.fetch_token()


def connect(host: str, port: str | int) -> socket.socket:
    return socket.create_connection((host, int(port)), timeout=20)


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    # A zombie is its parent's matter.
    return bool(fields := stat_fields(pid)) and fields[0] != "Z"


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def descendants(pid: int) -> list[int]:
    parents = {int(path.name): stat_fields(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    found, level = [], [pid]
    while level:
        level = [child for child, fields in parents.items() if fields and int(fields[1]) in level]
        found += level
    return found
