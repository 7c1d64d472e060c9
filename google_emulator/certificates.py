"""A throw-away certificate authority and a server certificate for the database, made by openssl."""

from __future__ import annotations

import ipaddress
import ssl
import subprocess
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7"]


def make_certificates(directory: Path, host: str) -> tuple[Path, ssl.SSLContext]:
    """Returns the authority's certificate and the server's TLS context."""
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
    _openssl(
        *_KEY,
        "-keyout",
        key,
        "-out",
        certificate,
        "-subj",
        "/CN=localhost",
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
        "-addext",
        f"subjectAltName={','.join(_names(host))}",
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return ca, context


def _names(host: str) -> list[str]:
    names = ["DNS:localhost", "IP:127.0.0.1", "IP:::1"]
    try:
        own = f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        own = f"DNS:{host}"
    return names if own in names else names + [own]


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", "req", "-x509", *map(str, arguments)]
    try:
        # Only our own configuration counts: the system's adds extensions of its own to a self-signed request.
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
