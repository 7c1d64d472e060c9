"""A throw-away certificate authority, and server certificates for the database and for Google's APIs, made by openssl.

The database's certificate is like Cloud SQL's, and which one that is depends on the instance's `serverCaMode` (the Cloud SQL
Admin API's enumeration `CaMode`). Which names each kind has was read in cloud-sql-go-connector, `tls_verify.go`: it looks
for the DNS name among the subject alternative names first and then compares the common name with `PROJECT:INSTANCE`.
"""

from __future__ import annotations

import ssl
import subprocess
from enum import Enum
from pathlib import Path

_KEYS = {
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7"],
    "rsa": ["-newkey", "rsa:2048", "-nodes", "-days", "7"],
}


class CaMode(Enum):
    # GOOGLE_MANAGED_INTERNAL_CA, the default: the authority signs for one instance only, and the certificate names the
    # instance and no host. A client can check the authority (verify-ca) and no host name or address (verify-full).
    INSTANCE = "instance"
    # GOOGLE_MANAGED_CAS_CA: the authority signs for all instances of a region, and the certificate has the instance's
    # DNS name, for which `localhost` stands here. A client that connects by that name can check it (verify-full).
    SHARED = "shared"


class Authority:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.file, self._key = directory / "ca.pem", directory / "ca-key.pem"
        _openssl(
            *_KEYS["ec"],
            "-keyout",
            self._key,
            "-out",
            self.file,
            "-subj",
            "/CN=Throw-away test authority",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        )

    def sign(self, name: str, subject: str, alternative_names: str = "", key_type: str = "ec") -> ssl.SSLContext:
        """Returns the TLS context of a server with a certificate of its own; `name` is that of its files."""
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}-key.pem"
        names = ["-addext", f"subjectAltName={alternative_names}"] if alternative_names else []
        _openssl(
            *_KEYS[key_type],
            "-keyout",
            key,
            "-out",
            certificate,
            "-subj",
            f"/CN={subject}",
            "-CA",
            self.file,
            "-CAkey",
            self._key,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "keyUsage=critical,digitalSignature",
            "-addext",
            "extendedKeyUsage=serverAuth",
            *names,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def sign_database(self, mode: CaMode, instance: str) -> ssl.SSLContext:
        """`instance` is `PROJECT:INSTANCE`."""
        return self.sign("server", instance, "DNS:localhost" if mode is CaMode.SHARED else "")


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", "req", "-x509", *map(str, arguments)]
    try:
        # The system's configuration would add extensions of its own to a self-signed request, so an empty one is given.
        result = subprocess.run(
            command + ["-config", "/dev/stdin"],
            input="[req]\ndistinguished_name = name\n[name]\n",
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise OSError("openssl is needed to make certificates and is not installed") from None
    if result.returncode != 0:
        reason = " ".join(result.stderr.split())
        raise OSError(f"openssl could not make a certificate: {reason}")
