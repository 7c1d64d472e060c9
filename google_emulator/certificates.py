"""A throw-away certificate authority and a server certificate for the database, made by openssl.

The server certificate is like Cloud SQL's, and which one that is depends on the instance's `serverCaMode` (the Cloud SQL
Admin API's enumeration `CaMode`). Which names each kind has was read in cloud-sql-go-connector, `tls_verify.go`: it looks
for the DNS name among the subject alternative names first and then compares the common name with `PROJECT:INSTANCE`.
"""

from __future__ import annotations

import ssl
import subprocess
from enum import Enum
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7"]


class CaMode(Enum):
    # GOOGLE_MANAGED_INTERNAL_CA, the default: the authority signs for one instance only, and the certificate names the
    # instance and no host. A client can check the authority (verify-ca) and no host name or address (verify-full).
    INSTANCE = "instance"
    # GOOGLE_MANAGED_CAS_CA: the authority signs for all instances of a region, and the certificate has the instance's
    # DNS name, for which `localhost` stands here. A client that connects by that name can check it (verify-full).
    SHARED = "shared"


def make_certificates(directory: Path, mode: CaMode, instance: str) -> tuple[Path, ssl.SSLContext]:
    """Makes a certificate for `instance`, which is `PROJECT:INSTANCE`.

    Returns the file of the authority's certificate and the server's TLS context.
    """
    ca, ca_key = directory / "ca.pem", directory / "ca-key.pem"
    certificate, key = directory / "server.pem", directory / "server-key.pem"
    _openssl(
        *_KEY,
        "-keyout",
        ca_key,
        "-out",
        ca,
        "-subj",
        "/CN=Throw-away test authority",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    )
    names = ["-addext", "subjectAltName=DNS:localhost"] if mode is CaMode.SHARED else []
    _openssl(
        *_KEY,
        "-keyout",
        key,
        "-out",
        certificate,
        "-subj",
        f"/CN={instance}",
        "-CA",
        ca,
        "-CAkey",
        ca_key,
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
    return ca, context


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
        raise OSError("openssl is needed to make the database's certificate and is not installed") from None
    if result.returncode != 0:
        reason = " ".join(result.stderr.split())
        raise OSError(f"openssl could not make the database's certificate: {reason}")
