"""What the emulator writes down and its control port hands out, shared by the program and its client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class MetadataRequest:
    """One request to the metadata server. Times are seconds since the epoch."""

    number: int
    time: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    peer_port: int
    is_token_request: bool
    # Other token requests that had no complete answer yet when this one came.
    in_flight: int = 0
    # `token`, the name of the scripted failure, or `status` for everything the tree answers by itself.
    answer: str = ""
    status: int | None = None
    token: str | None = None
    expires_in: Any = None
    # Just before the answer's first byte was sent, and after its last one.
    answered: float | None = None
    finished: float | None = None
    client_left_early: bool = False


@dataclass
class ApiRequest:
    """One request to the token endpoint or IAM, with the parts of it that a test compares."""

    number: int
    time: float
    method: str
    host: str
    path: str
    headers: dict[str, str]
    # Of the form or of the JSON object.
    fields: dict[str, Any]
    # Header and claims of the assertion among the fields.
    assertion: dict[str, Any] | None = None
    status: int = 0


@dataclass
class MintedToken:
    """A token that the emulator made. `hash` is the start of its SHA-256, in hexadecimal."""

    number: int
    text: str
    hash: str
    minted_at: float
    expires_at: float
    expired: bool
    current: bool


@dataclass
class Login:
    """One attempt to log in to the database. `why` says what decided it."""

    number: int
    time: float
    user: str
    database: str
    application_name: str
    tls: bool
    accepted: bool
    # Neither is true when the client left before it was decided.
    refused: bool
    why: str
    token: str | None = None
    # Seconds since the token was minted, and seconds that it was still good for.
    token_age: float | None = None
    token_left: float | None = None
    # Whether the emulator had minted no newer token at that moment.
    newest: bool | None = None
    peer_port: int = 0
