"""Every kind of answer of the metadata server that is no token, as a step for the emulator's script."""

from __future__ import annotations

from typing import Any

# Each with what the log has to say about it.
FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "403": ({"status": 403, "body": "Forbidden"}, "answered 403: Forbidden"),
    "404": ({"status": 404}, "answered 404"),
    "429": ({"status": 429}, "answered 429"),
    "500": ({"status": 500}, "answered 500"),
    "503": ({"status": 503, "body": "backend\r\nunavailable"}, "answered 503: backend unavailable"),
    "301": ({"answer": "redirect"}, "answered 301"),
    "reset": ({"answer": "reset"}, "reset by peer"),
    "hang": ({"answer": "hang"}, "timed out"),
    "answer after 8 s": ({"answer": "token", "delay": 8}, "timed out"),
    "half of the body": ({"answer": "cut-body"}, "bytes (missing|remaining)"),
    "JSON that breaks off": ({"answer": "bad-json"}, "not a JSON object"),
    "no body": ({"answer": "empty-body"}, "not a JSON object"),
    "1 MiB of body": ({"answer": "huge-body"}, "longer than 65536 bytes"),
    "a proxy's page": ({"answer": "proxy-page"}, "no header Metadata-Flavor"),
    "no Metadata-Flavor": ({"answer": "no-flavor"}, "no header Metadata-Flavor"),
    "expires_in 0": ({"answer": "expires-in", "expires_in": 0}, "expires_in is 0, allowed is 1 to 86400"),
    "expires_in -5": ({"answer": "expires-in", "expires_in": -5}, "expires_in is -5, allowed is 1 to 86400"),
    "expires_in 86401": ({"answer": "expires-in", "expires_in": 86401}, "expires_in is 86401"),
    "expires_in of 31 digits": ({"answer": "expires-in", "expires_in": 10**30}, "expires_in is"),
    "expires_in a string": ({"answer": "expires-in", "expires_in": "3599"}, "expires_in is missing or not"),
    "expires_in a fraction": ({"answer": "expires-in", "expires_in": 3599.5}, "not an integer"),
    "expires_in null": ({"answer": "expires-in", "expires_in": None}, "expires_in is missing or not"),
    "no expires_in": ({"answer": "no-expires-in"}, "expires_in is missing or not"),
    "no token": ({"answer": "no-token"}, "no access_token"),
    "an empty token": ({"answer": "empty-token"}, "access_token is 0 characters long"),
    "a token of 9,000 characters": ({"answer": "long-token"}, "access_token is 9000 characters long"),
    "a newline in the token": ({"answer": "newline-token"}, "not visible ASCII"),
}
