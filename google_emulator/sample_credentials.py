"""Makes one credential file of each type, with a new key and secrets that are worth nothing:

python3 google_emulator/sample_credentials.py FOLDER
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROJECT = "my-project.iam.gserviceaccount.com"
EMAIL = f"prefect-sa@{_PROJECT}"
TARGET = f"prefect-db@{_PROJECT}"


def impersonation_url(email: str) -> str:
    return f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken"


def new_key(*algorithm: str) -> str:
    """A private key in PKCS #8; an RSA key unless openssl's name and options for another one are given."""
    command = ["openssl", "genpkey", "-algorithm", *(algorithm or ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def sample_contents() -> dict[str, dict[str, Any]]:
    account = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": secrets.token_hex(20),
        "private_key": new_key(),
        "client_email": EMAIL,
        "client_id": "103456789012345678901",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    }
    person = {
        "type": "authorized_user",
        "account": "",
        "client_id": "764086051850-sample.apps.googleusercontent.com",
        "client_secret": "d-" + secrets.token_urlsafe(18),
        "refresh_token": "1//0" + secrets.token_urlsafe(60),
        "universe_domain": "googleapis.com",
    }
    contents = {"service_account": account, "authorized_user": person}
    for name, source in list(contents.items()):
        contents[f"impersonated_by_{name}"] = {
            "type": "impersonated_service_account",
            "delegates": [],
            "service_account_impersonation_url": impersonation_url(TARGET),
            "source_credentials": source,
        }
    return contents


def external_contents(folder: Path) -> dict[str, dict[str, Any]]:
    """Those whose platform's token is in a file, in JSON or as it is, or at a URL of the emulator."""
    json_token = {"type": "json", "subject_token_field_name": "id_token"}
    (folder / "platform_token.json").write_text(json.dumps({"id_token": secrets.token_urlsafe(40)}))
    (folder / "platform_token").write_text(secrets.token_urlsafe(40))
    sources: dict[str, dict[str, Any]] = {
        "text_file": {"file": str((folder / "platform_token").absolute())},
        "json_file": {"file": str((folder / "platform_token.json").absolute()), "format": json_token},
        "url": {"url": "https://platform.example/platform-token", "headers": {"Metadata": "true"}, "format": json_token},
    }
    contents = {}
    for name, source in sources.items():
        pool = f"//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/pool/providers/{name}"
        contents[f"external_by_{name}"] = {
            "type": "external_account",
            "audience": pool,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": source,
        }
    contents["external_by_url"] |= {
        "service_account_impersonation_url": impersonation_url(TARGET),
        "service_account_impersonation": {"token_lifetime_seconds": 1800},
    }
    return contents


def write_samples(folder: Path) -> dict[str, Path]:
    """Returns the files by their names: service_account, authorized_user, impersonated_by_service_account,
    impersonated_by_authorized_user, external_by_text_file, external_by_json_file and external_by_url."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, content in (sample_contents() | external_contents(folder)).items():
        files[name] = folder / f"{name}.json"
        files[name].touch(mode=0o600)
        files[name].write_text(json.dumps(content, indent=2) + "\n")
    return files


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 google_emulator/sample_credentials.py FOLDER")
    for path in write_samples(Path(sys.argv[1])).values():
        print(path)
