"""The token endpoint and IAM take what google-auth sends, and refuse every assertion that Google would not take."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from google.auth import crypt, jwt

from google_emulator.client import EmulatorError, GoogleEmulator
from google_emulator.sample_credentials import EMAIL, new_key, write_samples

SCOPE = "https://www.googleapis.com/auth/sqlservice.login"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_samples(tmp_path_factory.mktemp("credentials"))


@pytest.fixture(scope="module")
def google(files: dict[str, Path]) -> Iterator[GoogleEmulator]:
    with GoogleEmulator(postgres=False, token_life="1h", credentials=list(files.values())) as it:
        yield it


def post(google: GoogleEmulator, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Straight to the server, whose certificate is checked."""
    context = ssl.create_default_context(cafile=google.ca)
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    request = urllib.request.Request(f"https://{google.apis}{path}", body, headers or {})
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def exchange(google: GoogleEmulator, content: dict[str, Any], **changes: Any) -> tuple[int, Any]:
    now = int(time.time())
    claims = {
        "iss": EMAIL,
        "aud": "https://oauth2.googleapis.com/token",
        "scope": SCOPE,
        "iat": now,
        "exp": now + 3600,
    }
    claims |= {name: value + now if name in ("iat", "exp") else value for name, value in changes.items()}
    signer = crypt.RSASigner.from_string(content["private_key"], content["private_key_id"])
    assertion = jwt.encode(signer, {name: value for name, value in claims.items() if value is not None})
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion.decode()}
    return post(google, "/token", urlencode(form).encode())


@pytest.fixture(scope="module")
def account(files: dict[str, Path]) -> dict[str, Any]:
    return json.loads(files["service_account"].read_text())


def test_a_good_assertion_is_exchanged_for_a_token_that_may_log_in(google, account) -> None:
    status, answer = exchange(google, account)
    assert status == 200
    assert google.tokens()[-1].text == answer["access_token"]
    assert 3590 <= answer["expires_in"] <= 3600


def test_a_token_for_iam_alone_may_not_log_in_and_may_impersonate(google, account) -> None:
    status, answer = exchange(google, account, scope="https://www.googleapis.com/auth/iam")
    assert status == 200
    assert answer["access_token"] not in [token.text for token in google.tokens()]
    path = f"/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken"
    body = json.dumps({"delegates": None, "scope": [SCOPE], "lifetime": "3600s"}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {answer['access_token']}"}
    assert post(google, path, body, headers)[1]["accessToken"] == google.tokens()[-1].text
    assert post(google, path, body, headers | {"Authorization": "Bearer another"})[0] == 401
    assert post(google, path, b"{}", headers)[0] == 400


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"aud": "https://elsewhere.example/token"}, "invalid_grant", "audience"),
        ({"iss": "other@my-project.iam.gserviceaccount.com"}, "invalid_grant", "account not found"),
        ({"scope": ""}, "invalid_scope", "scope"),
        ({"scope": "sqlservice.login"}, "invalid_scope", "scope"),
        ({"exp": -1}, "invalid_grant", "Check your iat and exp"),
        ({"iat": -7200, "exp": -3600}, "invalid_grant", "Check your iat and exp"),
        ({"iat": 3000, "exp": 6600}, "invalid_grant", "Check your iat and exp"),
        ({"exp": 3601}, "invalid_grant", "Check your iat and exp"),
        ({"iat": -10, "exp": 3600}, "invalid_grant", "Check your iat and exp"),
        ({"iss": None}, "invalid_grant", "account not found"),
    ],
)
def test_an_assertion_that_google_would_not_take_is_refused(google, account, changes, error: str, words: str) -> None:
    status, answer = exchange(google, account, **changes)
    assert (status, answer["error"]) == (400, error)
    assert words in answer["error_description"]


def test_another_key_or_its_number_is_refused(google, account) -> None:
    for other in ({"private_key": new_key()}, {"private_key_id": "another"}):
        status, answer = exchange(google, account | other)
        assert (status, answer["error_description"]) == (400, "Invalid JWT Signature.")


def test_what_is_no_assertion_is_refused(google) -> None:
    for assertion in ("", "a", "a.b", "a.b.c", "e30.e30.e30"):
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        assert post(google, "/token", urlencode(form).encode())[0] == 400
    assert post(google, "/token", b"")[1]["error"] == "unsupported_grant_type"
    assert post(google, "/other", b"")[0] == 404


def test_a_refresh_token_needs_its_client(google, files: dict[str, Path]) -> None:
    person = json.loads(files["authorized_user"].read_text())
    form = {name: person[name] for name in ("client_id", "client_secret", "refresh_token")}
    form["grant_type"] = "refresh_token"
    assert post(google, "/token", urlencode(form).encode())[0] == 200
    assert post(google, "/token", urlencode(form | {"client_secret": "x"}).encode())[0] == 401
    assert post(google, "/token", urlencode(form | {"refresh_token": "x"}).encode())[0] == 400


def test_a_file_that_is_none_stops_the_emulator(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text('{"type": "gdch_service_account"}')
    with pytest.raises(EmulatorError), GoogleEmulator(postgres=False, credentials=[tmp_path / "key.json"]):
        pass
