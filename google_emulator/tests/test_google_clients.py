"""Google's own client libraries get a token from the emulator, as they would on Google Cloud."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from google_emulator.client import GoogleEmulator

CLIENTS = Path(__file__).resolve().parent / "clients"
NPM = Path(__file__).resolve().parents[2] / ".deps/npm"
LOGIN_SCOPE = "https://www.googleapis.com/auth/sqlservice.login"


class GoogleClients(unittest.TestCase):
    emulator: GoogleEmulator

    @classmethod
    def setUpClass(cls) -> None:
        cls.emulator = GoogleEmulator(token_life="1h", postgres=False)
        cls.emulator.start()
        cls.addClassCleanup(cls.emulator.stop)

    def setUp(self) -> None:
        # No credentials of whoever runs the tests are found in an empty home.
        self.home = tempfile.mkdtemp(prefix="emulator-home-")
        self.addCleanup(shutil.rmtree, self.home)

    def ask(self, *command: str | Path) -> dict[str, Any]:
        """Runs a client in an environment of our own, so without proxies, and checks what it got."""
        environment = {"PATH": os.environ["PATH"], "HOME": self.home, "NODE_MODULES_PARENT": str(NPM)}
        result = subprocess.run(
            command, env=environment | self.emulator.environment(), capture_output=True, text=True, timeout=600
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        answer = json.loads(result.stdout)
        self.assertEqual(answer["token"], self.emulator.tokens()[-1].text)
        self.assertEqual(answer["project"], "my-project")
        self.assertGreater(answer["expires_in"], 3000)
        self.assertLess(answer["expires_in"], 3600)
        return answer

    def scopes_asked_for(self) -> str | None:
        return self.emulator.token_requests()[-1].query.get("scopes")

    def test_python_google_auth(self) -> None:
        self.ask(sys.executable, CLIENTS / "google_auth_default.py")
        self.assertEqual(self.scopes_asked_for(), LOGIN_SCOPE)

    def test_go_auth_credentials(self) -> None:
        go = shutil.which("go")
        self.assertIsNotNone(go, "no `go` on the PATH to build google_emulator/tests/clients/go")
        program = Path(self.home) / "clientcheck"
        build = subprocess.run(
            [str(go), "build", "-o", program, "."],
            cwd=CLIENTS / "go",
            capture_output=True,
            text=True,
            timeout=900,
        )
        self.assertEqual(build.returncode, 0, build.stderr)
        self.ask(program)
        self.assertEqual(self.scopes_asked_for(), LOGIN_SCOPE)

    def test_node_gcp_metadata(self) -> None:
        answer = self.ask("node", CLIENTS / "node/gcp_metadata.mjs")
        self.assertIs(answer["available"], True)

    def test_node_google_auth_library(self) -> None:
        self.ask("node", CLIENTS / "node/google_auth_library.mjs")
        self.assertEqual(self.scopes_asked_for(), LOGIN_SCOPE)
