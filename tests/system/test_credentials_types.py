"""Every type of credential file, compared with google-auth against the same endpoint."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from credentials import SCOPE, check, file_of, google_auth_token, https, what_matters
from google_emulator.certificates import Authority
from google_emulator.client import GoogleEmulator
from google_emulator.sample_credentials import TARGET, write_samples
from supervisor import Supervisor

TYPES = [
    "service_account",
    "authorized_user",
    "impersonated_by_service_account",
    "impersonated_by_authorized_user",
    "external_by_text_file",
    "external_by_json_file",
    "external_by_url",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_samples(tmp_path_factory.mktemp("credentials"))


@pytest.fixture
def google(files: dict[str, Path]) -> Iterator[GoogleEmulator]:
    with GoogleEmulator(postgres=False, token_life="1h", credentials=list(files.values())) as it:
        yield it


@pytest.mark.parametrize("name", TYPES)
def test_the_token_and_the_requests_are_those_of_google_auth(google, files: dict[str, Path], name: str) -> None:
    environment = https(google, files[name])
    ended = check(google, environment)
    assert ended.process.returncode == 0, ended.transcript()
    ours = google.api_requests()
    minted = google.tokens()[-1]
    assert any(f"TOKEN-{minted.hash}" in line for line in ended.lines)

    assert google_auth_token(google, environment) == google.tokens()[-1].text
    theirs = google.api_requests(since=len(ours))
    assert len(ours) == (3 if name == "external_by_url" else 2 if name.startswith("impersonated") else 1)
    assert what_matters(ours) == what_matters(theirs)
    # No other server was asked, and all by the proxy.
    assert google.log() == []
    assert len(google.tunnels()) == len(ours) + len(theirs)


def test_an_account_is_impersonated_by_the_identity_of_the_metadata_server(google) -> None:
    environment = https(google)
    ended = check(google, environment, "--impersonate-service-account", TARGET)
    assert ended.process.returncode == 0, ended.transcript()
    assert google.tokens()[-1].hash in ended.transcript()
    ours = google.api_requests()
    (asked,) = google.token_requests()
    assert google_auth_token(google, environment, TARGET) == google.tokens()[-1].text
    assert what_matters(ours) == what_matters(google.api_requests(since=len(ours)))
    assert asked.query == {"scopes": "https://www.googleapis.com/auth/iam"}
    assert google.token_requests()[-1].query == asked.query


def test_delegates_are_named_from_ours_to_the_account(google, files: dict[str, Path]) -> None:
    accounts = "target@p.iam.gserviceaccount.com,near@p.iam.gserviceaccount.com,far@p.iam.gserviceaccount.com"
    # On top of a credential file, too.
    environment = https(google, files["service_account"]) | {"SUPERVISOR_IMPERSONATE_SERVICE_ACCOUNT": accounts}
    ended = check(google, environment)
    assert ended.process.returncode == 0, ended.transcript()
    exchange, impersonation = google.api_requests()
    assert exchange.assertion and exchange.assertion["claims"]["scope"] == "https://www.googleapis.com/auth/iam"
    assert impersonation.path.endswith("/target@p.iam.gserviceaccount.com:generateAccessToken")
    assert impersonation.fields == {
        "delegates": [f"projects/-/serviceAccounts/{name}@p.iam.gserviceaccount.com" for name in ("far", "near")],
        "scope": [SCOPE],
        "lifetime": "3600s",
    }


def test_the_file_is_looked_for_in_google_auths_order(google, files: dict[str, Path], tmp_path: Path) -> None:
    contents = {name: file.read_text() for name, file in files.items()}
    home, config = tmp_path / "home", tmp_path / "config"
    for folder in (home / ".config/gcloud", config):
        folder.mkdir(parents=True)
    file_of(home / ".config/gcloud", contents["authorized_user"], "application_default_credentials.json")
    file_of(config, contents["impersonated_by_authorized_user"], "application_default_credentials.json")

    def asked(**variables: str | None) -> list[str]:
        since, tokens = len(google.api_requests()), len(google.token_requests())
        assert check(google, https(google) | variables).process.returncode == 0
        kinds = [request.fields.get("grant_type", request.host) for request in google.api_requests(since)]
        return kinds or ["metadata"] * (len(google.token_requests()) - tokens)

    explicit = str(files["service_account"])
    environment = {"HOME": str(home), "CLOUDSDK_CONFIG": str(config)}
    assert asked(**environment, GOOGLE_APPLICATION_CREDENTIALS=explicit) == [
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    ]
    assert asked(**environment) == ["refresh_token", "iamcredentials.googleapis.com"]
    assert asked(HOME=str(home), CLOUDSDK_CONFIG=None) == ["refresh_token"]
    assert asked(HOME=str(tmp_path), CLOUDSDK_CONFIG=None) == ["metadata"]


@pytest.mark.parametrize("name", ["service_account", "impersonated_by_authorized_user"])
def test_a_running_child_gets_each_new_token(files: dict[str, Path], name: str) -> None:
    """The files are named relative to the working directory, which the program leaves when the child has started."""
    folder = files[name].parent
    with GoogleEmulator(postgres=False, token_life="10s", credentials=[files[name]]) as google:
        environment = https(google, Path(files[name].name)) | {
            "SSL_CERT_FILE": os.path.relpath(str(google.ca), folder),
            "SUPERVISOR_ROTATION": "in-place",
        }
        command = ["sleep", "600"]
        with Supervisor(command=command, emulator=google, environment=environment, directory=folder) as supervisor:
            handed_over = supervisor.wait_for_log("rotation: fresh token handed over in place", count=2)
            everything = supervisor.transcript()
        tokens = google.tokens()
    assert handed_over.fields["hash"] in [token.hash for token in tokens]
    content = json.loads(files[name].read_text())
    content |= content.get("source_credentials", {})
    secrets = [content[field] for field in ("private_key", "refresh_token", "client_secret") if field in content]
    # The middle of each, up to the end of the line if it is a key.
    for secret in secrets + [token.text for token in tokens]:
        middle = secret[len(secret) // 3 :][:10]
        assert len(middle) >= 8 and middle not in everything


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_both_versions_of_tls_and_both_kinds_of_keys(
    files: dict[str, Path], tmp_path: Path, version: ssl.TLSVersion, key: str
) -> None:
    """Google's endpoints have certificates with either kind of key; a proxy that looks into TLS may speak 1.2 alone."""

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            spoken.append(self.connection.version())  # type: ignore[attr-defined]
            body = json.dumps({"access_token": "ya29.by-hand", "expires_in": 3599}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    spoken: list[str] = []
    authority = Authority(tmp_path)
    context = authority.sign("server", "localhost", "DNS:localhost", key_type=key)
    context.minimum_version = context.maximum_version = version
    server = http.server.HTTPServer(("127.0.0.1", 0), Endpoint)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        content = json.loads(files["service_account"].read_text())
        content["token_uri"] = f"https://localhost:{server.server_port}/token"
        environment = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(file_of(tmp_path, content)),
            "SSL_CERT_FILE": str(authority.file),
            "SUPERVISOR_START_DEADLINE": "20s",
        }
        with GoogleEmulator(postgres=False) as nothing:
            ended = check(nothing, environment)
        assert ended.process.returncode == 0, ended.transcript()
        assert spoken == [{ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
