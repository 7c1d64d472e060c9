"""Google's token endpoint and IAM Credentials by HTTPS, and a proxy that leads to them under Google's own names.

The proxy takes CONNECT for every host and connects to this server, whose certificate has Google's names. So a program that
is told of the proxy and of the authority needs no other address than Google's. What is checked, and the words of the
refusals, are those of Google that users quote in issues; README.md lists what differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from google_emulator.credential_files import PLATFORM_TOKEN, Identities, ServiceAccount, decoded
from google_emulator.http_server import HttpServer, Request, Response
from google_emulator.listener import Listener
from google_emulator.records import ApiRequest
from google_emulator.tokens import Mint, Token

NAMES = ("localhost", "oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com", "platform.example")
_AUDIENCE = "https://oauth2.googleapis.com/token"
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_GENERATE = ":generateAccessToken"
_ACCOUNTS = "/v1/projects/-/serviceAccounts/"
_LONGEST_ASSERTION = 3600
_CLOCK_TOLERANCE = 300
_TIME_FRAME = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)
_MAY_LOG_IN = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/sqlservice.login")


class Refusal(Exception):
    def __init__(self, status: int, error: Any) -> None:
        self.response = Response.json(error, status)


def _refuse_grant(error: str, description: str, status: int = 400) -> Refusal:
    return Refusal(status, {"error": error, "error_description": description})


@dataclass
class ApiScript:
    """What goes wrong on purpose."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    """For the next requests: `status`, `body` (any JSON, or a text) and `headers`."""
    revoked: bool = False
    """No refresh token is valid any more."""
    clock_offset: float = 0.0
    """How far Google's clock is ahead of this machine's."""
    proxy_status: int = 200
    """What CONNECT is answered with."""


class GoogleApis:
    def __init__(self, host: str, port: int, proxy_port: int, mint: Mint, people: Identities, tls: ssl.SSLContext) -> None:
        self.log: list[ApiRequest] = []
        self.tunnels: list[str] = []
        self.script = ApiScript()
        self._mint = mint
        self._identities = people
        # Tokens that are good for IAM and not for the database.
        self._other_tokens = Mint(mint.life)
        self._http = HttpServer(self._handle)
        self.listener = Listener("Google's APIs", host, port, self._http.serve, tls)
        self.proxy = Listener("proxy to Google's APIs", host, proxy_port, self._serve_proxy)

    async def start(self) -> None:
        await self.listener.accept()
        await self.proxy.accept()

    def close(self) -> None:
        self.listener.close()
        self.proxy.close()
        self._http.close_all()

    # Requests

    async def _handle(self, request: Request) -> Response:
        host = request.headers.get("host", "")
        entry = ApiRequest(len(self.log) + 1, time.time(), request.method, host, request.path, request.headers, {})
        self.log.append(entry)
        try:
            response = self._scripted() or self._answer(request, entry)
        except Refusal as refusal:
            response = refusal.response
        entry.status = response.status
        return response

    def _scripted(self) -> Response | None:
        if not self.script.answers:
            return None
        answer = self.script.answers.pop(0)
        body = answer.get("body", "")
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        return Response(answer.get("status", 200), content, "application/json", answer.get("headers", {}))

    def _answer(self, request: Request, entry: ApiRequest) -> Response:
        if request.method == "POST" and request.path == "/token":
            entry.fields = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
            return self._exchange(entry)
        if request.method == "POST" and request.path == "/v1/token":
            entry.fields = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
            return self._exchange_platform_token(entry.fields)
        if request.method == "GET" and request.path == "/platform-token":
            return Response.json({"id_token": PLATFORM_TOKEN})
        if request.method == "POST" and request.path.startswith(_ACCOUNTS) and request.path.endswith(_GENERATE):
            entry.fields = request.json()
            return self._generate(entry)
        raise Refusal(404, {"error": {"code": 404, "message": f"{request.method} {request.path} is not known here"}})

    def _now(self) -> float:
        return time.time() + self.script.clock_offset

    def _exchange(self, entry: ApiRequest) -> Response:
        fields = entry.fields
        match fields.get("grant_type"):
            case str(grant) if grant == _JWT_GRANT:
                scopes = self._scopes_of_assertion(fields.get("assertion", ""), entry)
            case "refresh_token":
                person = self._identities.people.get(fields.get("refresh_token", ""))
                if person is None or self.script.revoked:
                    raise _refuse_grant("invalid_grant", "Token has been expired or revoked.")
                if (fields.get("client_id"), fields.get("client_secret")) != (person.client_id, person.client_secret):
                    raise _refuse_grant("invalid_client", "Unauthorized", 401)
                scopes = [_MAY_LOG_IN[0]]
            case grant:
                raise _refuse_grant("unsupported_grant_type", f"Invalid grant_type: {grant}")
        token = self._make_token(scopes)
        life = math.floor(token.left(time.time()))
        return Response.json({"access_token": token.text, "expires_in": life, "token_type": "Bearer"})

    def _exchange_platform_token(self, fields: dict[str, Any]) -> Response:
        if fields.get("grant_type") != _EXCHANGE_GRANT:
            raise _refuse_grant("invalid_request", "Invalid value for grant_type")
        workload = self._identities.workloads.get(fields.get("audience", ""))
        if workload is None or fields.get("subject_token_type") != workload.token_type:
            raise _refuse_grant("invalid_request", "Invalid value for audience or subject_token_type")
        if not workload.knows(fields.get("subject_token", "")):
            raise _refuse_grant("invalid_grant", "ID Token issued by another issuer than the pool's")
        token = self._make_token(fields.get("scope", "").split())
        life = math.floor(token.left(time.time()))
        kind = fields.get("requested_token_type")
        answer = {"access_token": token.text, "issued_token_type": kind, "token_type": "Bearer", "expires_in": life}
        return Response.json(answer)

    def _scopes_of_assertion(self, assertion: str, entry: ApiRequest) -> list[str]:
        try:
            signed, _, signature = assertion.rpartition(".")
            header, claims = (json.loads(decoded(part)) for part in signed.split("."))
            entry.assertion = {"header": header, "claims": claims}
            issued, expires = int(claims["iat"]), int(claims["exp"])
        except (ValueError, KeyError, TypeError):
            raise _refuse_grant("invalid_grant", "Invalid JWT: Failed audience check or malformed") from None
        account = self._identities.accounts.get(claims.get("iss"))
        if account is None:
            raise _refuse_grant("invalid_grant", "Invalid grant: account not found")
        if header.get("alg") != "RS256" or not self._signed_by(account, header, signed, signature):
            raise _refuse_grant("invalid_grant", "Invalid JWT Signature.")
        if claims.get("aud") != _AUDIENCE:
            raise _refuse_grant("invalid_grant", "Invalid JWT: Failed audience check")
        now = self._now()
        if not issued - _CLOCK_TOLERANCE <= now < expires or expires - issued > _LONGEST_ASSERTION:
            raise _refuse_grant("invalid_grant", _TIME_FRAME)
        scopes = str(claims.get("scope", "")).split()
        if not scopes or not all(scope.startswith("https://www.googleapis.com/auth/") for scope in scopes):
            raise _refuse_grant("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        return scopes

    @staticmethod
    def _signed_by(account: ServiceAccount, header: dict[str, Any], signed: str, signature: str) -> bool:
        return header.get("kid") == account.key_id and account.key.has_signed(signed.encode(), decoded(signature))

    def _generate(self, entry: ApiRequest) -> Response:
        text = entry.headers.get("authorization", "").removeprefix("Bearer ")
        token = self._mint.find(text) or self._other_tokens.find(text)
        if token is None or token.expired(time.time()):
            message = "Request had invalid authentication credentials."
            raise Refusal(401, {"error": {"code": 401, "message": message, "status": "UNAUTHENTICATED"}})
        scopes = entry.fields.get("scope")
        if not isinstance(scopes, list) or not scopes or entry.fields.get("lifetime") not in ("3600s", "1800s"):
            message = "Request contains an invalid argument."
            raise Refusal(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
        made = self._make_token(scopes)
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made.expires_at))
        return Response.json({"accessToken": made.text, "expireTime": expiry})

    def _make_token(self, scopes: list[str]) -> Token:
        good_for_logins = any(scope in _MAY_LOG_IN for scope in scopes)
        return (self._mint if good_for_logins else self._other_tokens).make(time.time())

    # The proxy

    async def _serve_proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split("\r\n")[0].split(" ")
            self.tunnels.append(f"{method} {target}")
            status = self.script.proxy_status if method == "CONNECT" else 405
            reason = "Connection established" if status == 200 else "Refused"
            length = "" if status == 200 else "Content-Length: 0\r\n"
            writer.write(f"HTTP/1.1 {status} {reason}\r\n{length}\r\n".encode())
            await writer.drain()
            if status == 200:
                upstream = await asyncio.open_connection(self.listener.host, self.listener.port)
                await asyncio.gather(_copy(reader, upstream[1]), _copy(upstream[0], writer))
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
