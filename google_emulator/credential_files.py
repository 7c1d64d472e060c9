"""Who may ask Google for a token: the identities of credential files, as Google knows them.

Of a service account Google has the public key, and of a person the refresh token and the client that it was given to. Both
are read from the very files that a program under test uses.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The beginning of a SHA-256 digest in a PKCS #1 v1.5 signature (RFC 8017, 9.2, note 1).
_SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True)
class PublicKey:
    modulus: int
    exponent: int

    @classmethod
    def of_private(cls, pem: str) -> PublicKey:
        command = ["openssl", "rsa", "-noout", "-modulus", "-text"]
        result = subprocess.run(command, input=pem, capture_output=True, text=True)
        if result.returncode != 0:
            raise ValueError(f"not an RSA key: {' '.join(result.stderr.split())}")
        values = dict(line.split(sep, 1) for line in result.stdout.splitlines() for sep in "=:" if line.count(sep) == 1)
        return cls(int(values["Modulus"], 16), int(values["publicExponent"].split()[0]))

    def has_signed(self, text: bytes, signature: bytes) -> bool:
        """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2.2)."""
        size = (self.modulus.bit_length() + 7) // 8
        digest = _SHA256_PREFIX + hashlib.sha256(text).digest()
        expected = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
        found = pow(int.from_bytes(signature, "big"), self.exponent, self.modulus)
        return len(signature) == size and found.to_bytes(size, "big") == expected


@dataclass(frozen=True)
class ServiceAccount:
    email: str
    key_id: str | None
    key: PublicKey


@dataclass(frozen=True)
class Person:
    client_id: str
    client_secret: str
    refresh_token: str


@dataclass(frozen=True)
class Workload:
    """A workload outside of Google, by the configuration of its pool: which tokens of its platform are taken."""

    audience: str
    token_type: str
    source: dict[str, Any]

    def knows(self, token: str) -> bool:
        if "file" not in self.source:
            return token == PLATFORM_TOKEN
        content = Path(self.source["file"]).read_text()
        form = self.source.get("format", {})
        return token == (json.loads(content)[form["subject_token_field_name"]] if form.get("type") == "json" else content)


# What the platform that a URL stands for gives out (google_apis.py).
PLATFORM_TOKEN = "a token of another platform"


class Identities:
    def __init__(self, files: list[Path]) -> None:
        self.workloads: dict[str, Workload] = {}
        self.accounts: dict[str, ServiceAccount] = {}
        self.people: dict[str, Person] = {}
        for file in files:
            try:
                self._add(json.loads(file.read_text()))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise OSError(f"the credential file {file} can't be used: {error!r}") from None

    def _add(self, content: dict[str, Any]) -> None:
        match content["type"]:
            case "service_account":
                key = PublicKey.of_private(content["private_key"])
                account = ServiceAccount(content["client_email"], content.get("private_key_id"), key)
                self.accounts[account.email] = account
            case "authorized_user":
                person = Person(content["client_id"], content["client_secret"], content["refresh_token"])
                self.people[person.refresh_token] = person
            case "impersonated_service_account":
                self._add(content["source_credentials"])
            case "external_account":
                workload = Workload(content["audience"], content["subject_token_type"], content["credential_source"])
                self.workloads[workload.audience] = workload
            case other:
                raise ValueError(f"credentials of type {other!r} are not known here")


def decoded(part: str) -> bytes:
    """Base64 for URLs without padding."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
