"""The few messages of PostgreSQL's protocol that a login and a simple query need."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

SSL_REQUEST = 80877103
GSS_ENCRYPTION_REQUEST = 80877104
CANCEL_REQUEST = 80877102
_PROTOCOL_3_0 = 196608

_LONGEST_STARTUP = 10_000
_LONGEST_PASSWORD = 64 * 1024

AUTHENTICATION_CLEARTEXT_PASSWORD = b"R" + struct.pack("!II", 8, 3)


class ProtocolError(Exception):
    """The other side sent something that has no place here."""


class ServerError(Exception):
    """An ErrorResponse."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


@dataclass
class Startup:
    """The first packet of a connection, as it came."""

    code: int
    packet: bytes

    @property
    def parameters(self) -> dict[str, str]:
        parts = self.packet[8:].split(b"\0")
        texts = [part.decode("utf-8", "replace") for part in parts]
        return {name: value for name, value in zip(texts[0::2], texts[1::2], strict=False) if name}


async def read_startup(reader: asyncio.StreamReader) -> Startup:
    head = await reader.readexactly(8)
    length, code = struct.unpack("!II", head)
    if not 8 <= length <= _LONGEST_STARTUP:
        raise ProtocolError(f"a first packet of {length} bytes is not PostgreSQL's")
    return Startup(code, head + await reader.readexactly(length - 8))


async def read_message(reader: asyncio.StreamReader, longest: int) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!I", head[1:])
    if not 4 <= length <= longest:
        raise ProtocolError(f"a message {head[:1]!r} of {length} bytes is too long here")
    return head[:1], await reader.readexactly(length - 4)


async def read_password(reader: asyncio.StreamReader) -> str:
    kind, body = await read_message(reader, _LONGEST_PASSWORD)
    if kind != b"p":
        raise ProtocolError(f"a password was asked for and message {kind!r} came")
    return body.rstrip(b"\0").decode("utf-8", "surrogateescape")


def error_response(code: str, message: str) -> bytes:
    fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": message}
    body = b"".join(f"{key}{value}".encode() + b"\0" for key, value in fields.items()) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


def _parse_error(body: bytes) -> ServerError:
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
    return ServerError(fields.get(b"C", ""), fields.get(b"M", ""))


async def run_sql(socket_path: str, user: str, database: str, statements: list[str]) -> list[str | None]:
    """Runs statements one by one on a server that trusts us. Returns the first column of every row."""
    reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        parameters = f"user\0{user}\0database\0{database}\0\0".encode()
        writer.write(struct.pack("!II", len(parameters) + 8, _PROTOCOL_3_0) + parameters)
        await _until_ready(reader)
        values: list[str | None] = []
        for statement in statements:
            query = statement.encode() + b"\0"
            writer.write(b"Q" + struct.pack("!I", len(query) + 4) + query)
            values += await _until_ready(reader)
        writer.write(b"X" + struct.pack("!I", 4))
        return values
    finally:
        writer.close()


async def _until_ready(reader: asyncio.StreamReader) -> list[str | None]:
    values: list[str | None] = []
    error: ServerError | None = None
    while True:
        try:
            kind, body = await read_message(reader, 1 << 30)
        except asyncio.IncompleteReadError:
            raise error or ProtocolError("the server ended the connection") from None
        if kind == b"D":
            (length,) = struct.unpack("!i", body[2:6])
            values.append(None if length < 0 else body[6 : 6 + length].decode())
        elif kind == b"E":
            error = _parse_error(body)
        elif kind == b"Z":
            if error:
                raise error
            return values


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
