"""The environment that the child really gets: the URL, byte for byte, and what was taken out."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import random
import stat
import string
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from children import child
from supervisor import DATABASE, Supervisor, run

sqlalchemy = pytest.importorskip("sqlalchemy", reason="the virtual environment has no SQLAlchemy")

URL = "PREFECT_API_DATABASE_CONNECTION_URL"
SERVER_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
SEARCH_PATH = "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH"
VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))

# In place, the URL has no password and all the rest is as in a restart.
both_modes = pytest.mark.parametrize("mode", ["restart", "in-place"])


@contextlib.contextmanager
def metadata_server_with(token: str) -> Iterator[str]:
    """Gives out this very token, since the emulator makes only tokens that look like Google's."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def what_the_child_gets(
    *names: str, arguments: tuple[str, ...] = (), **options: object
) -> dict[str, bytes | None]:
    ended = run(*arguments, command=child("says_variables", *names), **options)
    assert ended.process.returncode == 0, ended.transcript()
    return values_in(ended.output, names)


def values_in(lines: list[str], names: tuple[str, ...]) -> dict[str, bytes | None]:
    found = dict(line.partition("=")[::2] for line in lines if "=" in line)
    return {name: bytes.fromhex(found[name]) if name in found else None for name in names}


def random_text(numbers: random.Random, longest: int = 63) -> str:
    """Made of characters that URLs treat specially, of control characters, and of characters of any Unicode plane."""
    alphabets = [
        VISIBLE_ASCII,
        "@:/?#[]%&=+;, \"'\\$!*()|^`{}<>~",
        "\t\n\r\x01\x1b\x7f",
        "%2F%40%",
        "éßüñ日本語✓😀𝔘\u0301\u200d\ufeff",
        "".join(chr(numbers.randrange(0x80, 0xD800)) for _ in range(8)),
        "".join(chr(numbers.randrange(0xE000, 0x110000)) for _ in range(8)),
        string.ascii_letters,
    ]
    length = numbers.randint(1, longest)
    return "".join(numbers.choice(numbers.choice(alphabets)) for _ in range(length))


FIXED_TEXTS = [
    "prefect-sa@my-project.iam",
    "a:b@c/d?e#f",
    "%",
    "%%41",
    "%zz",
    "+",
    " ",
    "a b",
    "..",
    "/",
    "//",
    "?x=y",
    "#",
    "@",
    ":",
    "é",
    "\u202e",
    "😀" * 15,
    "\n",
    "\x7f",
    "a&sslmode=disable",
    "[::1]",
    "user;drop",
    "~._-",
    "\\",
    "'\"",
]
HOSTS = [
    "10.1.2.3",
    "db.example.com",
    "localhost",
    "a-b.c",
    "::1",
    "fd00::a:1",
    "[fe80::1]",
    "2001:db8::192.0.2.33",
]


@both_modes
@pytest.mark.parametrize("seed", range(4))
def test_sqlalchemy_reads_every_part_of_the_url_back_byte_for_byte(mode: str, seed: int) -> None:
    numbers = random.Random(seed)
    token = (
        "".join(numbers.choices(VISIBLE_ASCII, k=numbers.choice([1, 20, 300, 1024, 8192])))
        + VISIBLE_ASCII[:8]
    )
    token = token[-8192:]
    with metadata_server_with(token) as metadata:
        for round_number in range(12):
            user, name = (random_text(numbers) for _ in range(2))
            if round_number % 2:
                user, name = numbers.choice(FIXED_TEXTS), numbers.choice(FIXED_TEXTS)
            host, port = numbers.choice(HOSTS), numbers.randint(1, 65535)
            environment = {
                "GCE_METADATA_HOST": metadata,
                "DB_USER": user,
                "DB_NAME": name,
                "DB_IP": host,
                "DB_PORT": str(port),
                # There is no such database.
                "SUPERVISOR_DB_WAIT": "off",
            }
            text = what_the_child_gets(URL, arguments=("--rotation", mode), environment=environment)[URL]
            assert text is not None and text.isascii()
            url = sqlalchemy.make_url(text.decode())
            assert (url.drivername, url.username, url.password, url.host, url.port, url.database) == (
                "postgresql+asyncpg",
                user,
                token if mode == "restart" else None,
                host.strip("[]"),
                port,
                name,
            ), text
            assert not url.query


@both_modes
def test_every_fixed_text_is_read_back_as_user_and_as_name(emulator, mode: str) -> None:
    for text in FIXED_TEXTS:
        environment = {"DB_USER": text, "DB_NAME": text[::-1]}
        arguments = ("--rotation", mode)
        got = what_the_child_gets(URL, arguments=arguments, emulator=emulator, environment=environment)[URL]
        url = sqlalchemy.make_url((got or b"").decode())
        password = emulator.tokens()[0].text if mode == "restart" else None
        assert (url.username, url.database, url.password) == (text, text[::-1], password)


@both_modes
def test_bytes_that_are_no_utf8_are_kept(emulator, mode: str) -> None:
    user, name = bytes(range(1, 256)), bytes(range(255, 127, -1))
    environment = {"DB_USER": os.fsdecode(user), "DB_NAME": os.fsdecode(name)}
    arguments = ("--rotation", mode)
    got = what_the_child_gets(URL, arguments=arguments, emulator=emulator, environment=environment)[URL] or b""
    rest = got.removeprefix(b"postgresql+asyncpg://")
    end_of_user = b":" if mode == "restart" else b"@"
    assert unquote_to_bytes(rest[: rest.index(end_of_user)]) == user
    assert unquote_to_bytes(rest[rest.rindex(b"/") + 1 :]) == name


@both_modes
@pytest.mark.parametrize("encoded_only", [True, False])
def test_everything_outside_the_unreserved_characters_is_percent_encoded(
    emulator, mode: str, encoded_only: bool
) -> None:
    kept = string.ascii_letters + string.digits + "._~-"
    user = kept if not encoded_only else "".join(c for c in VISIBLE_ASCII if c not in kept)
    arguments, environment = ("--rotation", mode), {"DB_USER": user}
    got = what_the_child_gets(URL, arguments=arguments, emulator=emulator, environment=environment)[URL] or b""
    expected = user if not encoded_only else "".join(f"%{ord(c):02X}" for c in user)
    after_the_user = ":" if mode == "restart" else "@"
    assert got.decode().startswith(f"postgresql+asyncpg://{expected}{after_the_user}")


@both_modes
def test_the_suffix_of_a_service_account_is_left_out_with_a_warning(emulator, mode: str) -> None:
    environment = {"DB_USER": "prefect-sa@my-project.iam.gserviceaccount.com"}
    ended = run(
        "--rotation", mode, command=child("says_variables", URL), emulator=emulator, environment=environment
    )
    url = sqlalchemy.make_url((values_in(ended.output, (URL,))[URL] or b"").decode())
    assert url.username == "prefect-sa@my-project.iam"
    (warning,) = (line for line in ended.log if line.severity == "WARNING")
    assert "DB_USER" in warning.message and ".gserviceaccount.com" in warning.message


@both_modes
@pytest.mark.parametrize("ssl", ["disable", "prefer", "require", "verify-ca", "verify-full"])
def test_the_tls_mode_is_asyncpgs_own_parameter(emulator, mode: str, ssl: str) -> None:
    got = what_the_child_gets(URL, arguments=("--rotation", mode, "--db-ssl", ssl), emulator=emulator)[URL] or b""
    assert dict(sqlalchemy.make_url(got.decode()).query) == {"ssl": ssl}


def test_the_root_certificate_is_named_to_the_driver(emulator, tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text("")
    got = what_the_child_gets(
        "PGSSLROOTCERT", arguments=("--db-ssl-root-cert", str(certificate)), emulator=emulator
    )
    assert got == {"PGSSLROOTCERT": str(certificate).encode()}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("prefect", "prefect,public"),
        ("my_schema_2", "my_schema_2,public"),
        ("Mixed", '"Mixed",public'),
        ("with space", '"with space",public'),
        ('a"b', '"a""b",public'),
    ],
)
@both_modes
def test_the_schema_becomes_prefects_search_path(emulator, mode: str, schema: str, path: str) -> None:
    arguments = ("--rotation", mode, "--db-schema", schema)
    got = what_the_child_gets(SEARCH_PATH, URL, arguments=arguments, emulator=emulator)
    assert got[SEARCH_PATH] == path.encode()
    assert b"options" not in (got[URL] or b"")


@pytest.mark.parametrize("rotation", ["restart", "in-place"])
def test_what_would_win_over_the_token_is_taken_out_with_a_warning(emulator, rotation: str) -> None:
    theirs = {SERVER_URL: "postgresql://u:hunter2@h/d", "PGPASSWORD": "hunter2"}
    ended = run(
        "--rotation", rotation, command=child("says_variables", *theirs), emulator=emulator, environment=theirs
    )
    assert ended.output == [f"{name} is not set" for name in theirs]
    warnings = [line.message for line in ended.log if line.severity == "WARNING"]
    for name in theirs:
        assert sum(name in warning for warning in warnings) == 1
    assert not any("hunter2" in line for line in ended.lines + ended.errors)


@both_modes
def test_there_is_no_warning_when_nothing_was_set(emulator, mode: str) -> None:
    ended = run("--rotation", mode, command=child("says_variables", SERVER_URL, "PGPASSWORD"), emulator=emulator)
    assert ended.output == [f"{SERVER_URL} is not set", "PGPASSWORD is not set"]
    assert not [line for line in ended.log if line.severity == "WARNING"]


@both_modes
def test_better_defaults_are_filled_in_and_the_users_own_values_stay(emulator, mode: str) -> None:
    arguments = ("--rotation", mode)
    names = ("PREFECT_SERVER_API_KEEPALIVE_TIMEOUT", "PREFECT_SERVER_ANALYTICS_ENABLED")
    got = what_the_child_gets(*names, arguments=arguments, emulator=emulator)
    assert got == dict(zip(names, [b"620", b"false"], strict=True))
    theirs = dict(zip(names, ["7", "true"], strict=True))
    got = what_the_child_gets(*names, arguments=arguments, emulator=emulator, environment=theirs)
    assert got == dict(zip(names, [b"7", b"true"], strict=True))


@both_modes
def test_the_rest_of_the_environment_is_passed_on(emulator, mode: str) -> None:
    ours = Supervisor(command=["true"], emulator=emulator, environment={"ODD": "a=b\n✓", "EMPTY": ""})
    ended = run(
        *("--rotation", mode),
        command=child("says_variables", *ours.environment()),
        emulator=emulator,
        environment={"ODD": "a=b\n✓", "EMPTY": ""},
    )
    got = values_in(ended.output, tuple(ours.environment()))
    for name, value in ours.environment().items():
        if name not in ("SUPERVISOR_TEST_MARK", "PORT"):
            assert got[name] == value.encode(), name


def test_in_place_the_token_is_in_a_private_file_and_in_no_environment(emulator) -> None:
    with Supervisor("--rotation", "in-place", command=["sleep", "600"], emulator=emulator) as supervisor:
        supervisor.wait_for_log("child: started")
        (token,) = emulator.tokens()
        (sleeper,) = (found for found in supervisor.processes() if found.pid != supervisor.pid)
        environment = sleeper.environment
        url = sqlalchemy.make_url(environment[URL])
        assert (url.username, url.password, url.host) == (DATABASE["DB_USER"], None, DATABASE["DB_IP"])
        file = Path(environment["PGPASSFILE"])
        assert file.read_text().rstrip("\n") == f"*:*:*:*:{token.text}"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert [entry.name for entry in file.parent.iterdir()] == [file.name]
        for found in supervisor.processes():
            assert not any(token.text in argument for argument in found.arguments)
            assert not any(token.text in value for value in found.environment.values())
        assert supervisor.stop() == 143
        assert not file.parent.exists()


def directories_with(token: str) -> list[Path]:
    """The directories of password files in /dev/shm that hold this token. Those of other tests come and go meanwhile."""
    found = []
    for directory in Path("/dev/shm").glob("prefect-supervisor-*"):
        # A file that disappeared during the search no longer exists, which is the condition here.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if any(token in entry.read_text() for entry in directory.iterdir()):
                found.append(directory)
    return found


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "echo $PGPASSFILE; exit 3"], 3),
        (["sh", "-c", "echo $PGPASSFILE; kill -9 $$"], 137),
        (["no-such-command"], 127),
    ],
    ids=["exit code", "signal", "no such command"],
)
def test_in_place_the_file_is_gone_whatever_the_child_ended_with(emulator, command: list[str], code: int) -> None:
    ended = run("--rotation", "in-place", command=command, emulator=emulator)
    assert ended.process and ended.process.returncode == code
    (token,) = emulator.tokens()
    assert directories_with(token.text) == []
    # A command that can't be executed tells no path, since it never ran.
    assert len(ended.output) == (0 if code == 127 else 1)
    for path in ended.output:
        assert not Path(path).parent.exists()
