"""What the tests of credential files share: the files, and Google's own client with the same ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google_emulator.client import GoogleEmulator
from google_emulator.records import ApiRequest
from supervisor import run

SCOPE = "https://www.googleapis.com/auth/sqlservice.login"

_CLIENT = """
import google.auth, google.auth.compute_engine, google.auth.impersonated_credentials as impersonated, json, os, sys
from google.auth import identity_pool
from google.auth.transport.requests import Request
target, scope = sys.argv[1:]
if target:
    source = google.auth.compute_engine.Credentials()
    credentials = impersonated.Credentials(source, target, [scope])
elif json.load(open(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]))["type"] == "external_account":
    # default() asks Google for the name of the project as well, which an emulator has not.
    credentials = identity_pool.Credentials.from_file(os.environ["GOOGLE_APPLICATION_CREDENTIALS"], scopes=[scope])
else:
    credentials, _ = google.auth.default(scopes=[scope])
credentials.refresh(Request())
print(credentials.token)
"""


def file_of(folder: Path, content: dict[str, Any] | str, name: str = "credentials.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def https(google: GoogleEmulator, file: Path | None = None) -> dict[str, str | None]:
    environment: dict[str, str | None] = {**google.https_environment(), "SUPERVISOR_TOKEN_SCOPE": SCOPE}
    if file is not None:
        environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(file)
    return environment


def check(google: GoogleEmulator, environment: Mapping[str, str | None], *arguments: str) -> Any:
    """What --check of the program does with these credentials."""
    return run("--check", *arguments, command=["true"], emulator=google, environment=environment)


def google_auth_token(google: GoogleEmulator, environment: Mapping[str, str | None], target: str = "") -> str:
    """The token that google-auth gets with the same environment, by impersonation of `target` if there is one."""
    variables = {"PATH": os.environ["PATH"], "HOME": "/no/such/folder", **google.environment()}
    variables |= {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-c", _CLIENT, target, SCOPE]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def what_matters(requests: list[ApiRequest]) -> list[dict[str, Any]]:
    """Of each request what Google looks at. An assertion is taken apart, and its times only compared with each other."""
    seen = []
    for request in requests:
        fields, assertion = dict(request.fields), request.assertion
        if assertion is not None:
            del fields["assertion"]
            claims = dict(assertion["claims"])
            life = claims.pop("exp") - claims.pop("iat")
            assertion = {"header": assertion["header"], "claims": claims, "life": life}
        seen.append(
            {
                "request": (request.method, request.host, request.path, request.status),
                "content-type": request.headers.get("content-type"),
                "metadata": request.headers.get("metadata"),
                "authorized": request.headers.get("authorization", "").startswith("Bearer "),
                "fields": fields,
                "assertion": assertion,
            }
        )
    return seen
