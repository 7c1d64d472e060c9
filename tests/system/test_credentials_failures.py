"""Credentials that can't be used, and answers that bring no token: each is one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT
from typing import Any

import pytest

from credentials import check, file_of, https
from google_emulator.certificates import Authority
from google_emulator.client import GoogleEmulator
from google_emulator.sample_credentials import TARGET, external_contents, new_key, sample_contents
from supervisor import Supervisor, run

DEADLINE = "3s"


@pytest.fixture(scope="module")
def contents() -> dict[str, dict[str, Any]]:
    return sample_contents()


@pytest.fixture(scope="module")
def files(contents: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("credentials")
    return {name: file_of(folder, content, f"{name}.json") for name, content in contents.items()}


@pytest.fixture
def google(files: dict[str, Path]) -> Iterator[GoogleEmulator]:
    with GoogleEmulator(postgres=False, token_life="1h", credentials=list(files.values())) as it:
        yield it


def refused_file(emulator: GoogleEmulator, path: Path) -> str:
    """The one line with which the program ends for this file. Nothing is asked of anybody."""
    ended = run(command=["true"], emulator=emulator, environment={"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
    assert ended.process.returncode == 1
    (line,) = ended.errors
    assert ended.lines == [] and emulator.log() == []
    start = f"prefect-supervisor: the credential file {path} (GOOGLE_APPLICATION_CREDENTIALS): "
    assert line.startswith(start)
    return line.removeprefix(start)


@pytest.mark.parametrize(
    "kind",
    ["external_account_authorized_user", "gdch_service_account", "something else"],
)
def test_another_type_is_refused_by_its_name(emulator, tmp_path: Path, kind: str) -> None:
    content = {"type": kind, "private_key": "-----BEGIN SECRET-----", "refresh_token": "SECRET"}
    line = refused_file(emulator, file_of(tmp_path, content))
    assert line.startswith(f'the field type is "{kind}", which is not supported') and "SECRET" not in line


@pytest.mark.parametrize("content", ["", "{", "[]", '"service_account"', "\x00\xff"])
def test_a_file_that_is_no_json_is_refused(emulator, tmp_path: Path, content: str) -> None:
    assert refused_file(emulator, file_of(tmp_path, content)) == "it is not a JSON object"


def test_a_file_that_cannot_be_read_is_refused(emulator, tmp_path: Path) -> None:
    assert refused_file(emulator, tmp_path / "missing.json") == "it can't be read: No such file or directory"
    assert refused_file(emulator, tmp_path) == "it can't be read: Is a directory"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("service_account", "client_email"),
        ("service_account", "private_key"),
        ("service_account", "token_uri"),
        ("authorized_user", "client_id"),
        ("authorized_user", "client_secret"),
        ("authorized_user", "refresh_token"),
        ("impersonated_by_service_account", "service_account_impersonation_url"),
    ],
)
def test_a_missing_field_is_named(emulator, tmp_path: Path, contents, name: str, field: str) -> None:
    content = {key: value for key, value in contents[name].items() if key != field}
    assert refused_file(emulator, file_of(tmp_path, content)) == f"the field {field} is missing"


def test_a_workload_with_another_source_is_refused_by_the_field(emulator, tmp_path: Path) -> None:
    content = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/aws",
        "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
        "token_url": "https://sts.googleapis.com/v1/token",
        # As gcloud writes it (googlecloudsdk/command_lib/iam/byoid_utilities/cred_config.py).
        "credential_source": {
            "environment_id": "aws1",
            "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
            "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials",
            "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        },
    }
    line = refused_file(emulator, file_of(tmp_path, content))
    assert line.startswith("the field credential_source.environment_id is there, which is not supported")


def test_a_key_that_is_none_is_named_by_its_kind(emulator, tmp_path: Path, contents) -> None:
    def said(key: str) -> str:
        return refused_file(emulator, file_of(tmp_path, contents["service_account"] | {"private_key": key}))

    curve = new_key("EC", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    assert said(curve) == "the field private_key is not an RSA key, but of type EC"
    encrypted = new_key("RSA", "-aes-256-cbc", "-pass", "pass:word")
    assert "ENCRYPTED" in encrypted
    assert said(encrypted) == "the field private_key is an encrypted key, for which there is no password"
    cut = contents["service_account"]["private_key"][:900]
    assert said(cut).startswith("the field private_key is not a private key in PEM: ")


def test_a_plain_http_endpoint_gets_no_secret(emulator, tmp_path: Path, contents) -> None:
    content = contents["service_account"] | {"token_uri": f"http://{emulator.metadata}/token"}
    assert "which is not an https URL" in refused_file(emulator, file_of(tmp_path, content))


def the_last_answer(google: GoogleEmulator, environment: dict[str, str | None], *arguments: str) -> str:
    """What the program says when there was no token within the start deadline."""
    ended = check(google, environment, "--start-deadline", DEADLINE, *arguments)
    assert ended.process.returncode == 1, ended.transcript()
    (line,) = (line for line in ended.log if line.severity == "ERROR")
    assert f"start deadline of {DEADLINE}" in line.message
    return line.message


def test_a_revoked_login_names_the_command_and_is_asked_once(google, files) -> None:
    google.apis_script(revoked=True)
    said = the_last_answer(google, https(google, files["authorized_user"]))
    assert "oauth2.googleapis.com answered 400: invalid_grant: Token has been expired or revoked." in said
    assert "run gcloud auth application-default login" in said
    # Within three seconds a server that is only down would have been asked twice at least.
    assert len(google.api_requests()) == 1


def test_a_renewed_login_is_used_by_the_next_try(google, files, contents, tmp_path: Path) -> None:
    """The running program reads the file again; a freeze or a signal is not needed. The long pause is over by SIGCONT here."""
    path = file_of(tmp_path, contents["authorized_user"] | {"refresh_token": "an old one"})
    with Supervisor(command=["sleep", "600"], emulator=google, environment=https(google, path)) as supervisor:
        supervisor.wait_for_log("token: can't get one")
        file_of(tmp_path, contents["authorized_user"])
        supervisor.signal(SIGCONT)
        supervisor.wait_for_log("token: fresh one in hand")


@pytest.mark.parametrize("offset", [-7200, 7200])
def test_a_clock_that_is_wrong_is_shown_beside_googles(google, files, offset: int) -> None:
    google.apis_script(clock_offset=offset)
    said = the_last_answer(google, https(google, files["service_account"]))
    assert "invalid_grant: Invalid JWT: Token must be a short-lived token" in said
    assert "this machine's clock is at " in said and ", the server's at " in said


def test_another_key_than_the_accounts_is_refused(google, files, contents, tmp_path: Path) -> None:
    path = file_of(tmp_path, contents["service_account"] | {"private_key": new_key()})
    said = the_last_answer(google, https(google, path))
    assert "invalid_grant: Invalid JWT Signature.; the key may have been deleted" in said


def test_a_scope_that_google_does_not_know_is_refused(google, files) -> None:
    said = the_last_answer(google, https(google, files["service_account"]), "--token-scope", "sqlservice.login")
    assert "answered 400: invalid_scope" in said


def test_a_missing_role_is_named(google, files) -> None:
    denied = {"error": {"code": 403, "message": "Permission 'iam.serviceAccounts.getAccessToken' denied"}}
    google.apis_script(answers=[{"status": 403, "body": denied}] * 10)
    said = the_last_answer(google, https(google), "--impersonate-service-account", TARGET)
    assert "Permission 'iam.serviceAccounts.getAccessToken' denied" in said
    assert "roles/iam.serviceAccountTokenCreator" in said and TARGET in said


def test_a_token_of_another_platform_that_is_refused_is_not_repeated(tmp_path: Path) -> None:
    content = external_contents(tmp_path)["external_by_text_file"]
    (tmp_path / "platform_token").write_text("a-token-of-nobody")
    with GoogleEmulator(postgres=False, credentials=[file_of(tmp_path, content)]) as other:
        (tmp_path / "moved").write_text("another-secret-token")
        content["credential_source"]["file"] = str(tmp_path / "moved")
        said = the_last_answer(other, https(other, file_of(tmp_path, content)))
        assert "sts.googleapis.com answered 400: invalid_grant" in said and "secret" not in said
        (tmp_path / "moved").unlink()
        said = the_last_answer(other, https(other, file_of(tmp_path, content)))
        assert f"the platform's token in {tmp_path / 'moved'}: it can't be read: No such file" in said


def test_an_unknown_authority_is_not_trusted(google, files, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    environment = https(google, files["service_account"]) | {"SSL_CERT_FILE": str(other.file)}
    said = the_last_answer(google, environment)
    assert "certificate is not correctly signed by the trusted CA" in said
    assert f"authorities of {other.file}" in said
    assert google.api_requests() == []


def test_a_certificate_of_another_name_is_not_trusted(google, contents, tmp_path: Path) -> None:
    """The proxy leads every host to the emulator, whose certificate has Google's names."""
    content = contents["service_account"] | {"token_uri": "https://oauth2.example/token"}
    said = the_last_answer(google, https(google, file_of(tmp_path, content)))
    assert "oauth2.example can't be reached: " in said
    assert "certificate Common Name (CN) does not match with the expected CN" in said
    assert google.api_requests() == []


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_is_named(google, files, status: int) -> None:
    google.apis_script(proxy_status=status)
    environment = https(google, files["service_account"])
    address = str(environment["https_proxy"]).removeprefix("http://")
    environment["https_proxy"] = f"http://user:hunter2@{address}"
    said = the_last_answer(google, environment)
    assert f"response {status}" in said
    assert f"proxy {address} of https_proxy" in said and "hunter2" not in said
    assert google.api_requests() == []


def test_a_proxy_that_is_not_there_is_named(google, files) -> None:
    environment = https(google, files["service_account"]) | {"https_proxy": "http://127.0.0.1:9"}
    said = the_last_answer(google, environment)
    assert "Connection refused" in said and "proxy 127.0.0.1:9 of https_proxy" in said


def test_the_proxy_is_left_out_for_hosts_of_no_proxy(google, contents, tmp_path: Path) -> None:
    port = google.apis.rpartition(":")[2]
    content = contents["service_account"] | {"token_uri": f"https://localhost:{port}/token"}
    environment = https(google, file_of(tmp_path, content)) | {"no_proxy": "localhost"}
    assert check(google, environment).process.returncode == 0
    assert google.tunnels() == [] and len(google.api_requests()) == 1


def test_no_redirect_is_followed(google, files) -> None:
    elsewhere = {"status": 307, "headers": {"Location": "https://iamcredentials.googleapis.com/token"}}
    google.apis_script(answers=[elsewhere] * 10)
    said = the_last_answer(google, https(google, files["service_account"]))
    assert "oauth2.googleapis.com answered 307" in said
    assert {request.host for request in google.api_requests()} == {"oauth2.googleapis.com"}


def test_the_metadata_server_is_asked_without_the_proxy(google) -> None:
    environment = https(google)
    proxies = {name: environment["https_proxy"] for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")}
    ended = check(google, environment | proxies, "--impersonate-service-account", TARGET)
    assert ended.process.returncode == 0
    assert google.tunnels() == ["CONNECT iamcredentials.googleapis.com:443"]
    assert len(google.token_requests()) == 1


def test_without_authorities_it_does_not_start(google, files, tmp_path: Path) -> None:
    environment = https(google, files["service_account"]) | {"SSL_CERT_FILE": str(tmp_path / "none.pem")}
    ended = check(google, environment)
    assert ended.process.returncode == 1
    assert ended.errors == [
        f"prefect-supervisor: SSL_CERT_FILE is {tmp_path / 'none.pem'}, which can't be read: No such file or directory"
    ]
    # The metadata server alone needs none.
    assert check(google, {"SSL_CERT_FILE": str(tmp_path / "none.pem")}).process.returncode == 0


def test_a_server_that_is_busy_is_tried_again(google, files) -> None:
    google.apis_script(answers=[{"status": 503, "body": "busy"}, {"status": 200, "body": "{}"}])
    ended = check(google, https(google, files["service_account"]))
    assert ended.process.returncode == 0
    warnings = [line.message for line in ended.log if line.severity == "WARNING"]
    assert "oauth2.googleapis.com answered 503: busy" in warnings[0]
    assert "oauth2.googleapis.com: the answer has no access_token" in warnings[1]
    assert str(files["service_account"]) in warnings[0]
