"""What PREFECT_ROLE makes of the server's image: the role's settings, and then prefect-supervisor, by exec.

    all       the whole server in one process (the default)
    api       an API server without background services, of which there may be many
    services  the background services
    migrate   brings the database up to date, registers the blocks, and ends

Whatever the user has set stays. A COMMAND of the user takes the place of the role's own command; the role's settings and
its requirements remain. What is missing is refused in one line: with exit code 2 for a wrong word, as the supervisor's own
usage errors, otherwise with 1. No Prefect is imported here, since that takes seconds.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

Environment = MutableMapping[str, str]

ROLES = ("all", "api", "services", "migrate")
HERE = Path(__file__).resolve().parent

URL = "PREFECT_REDIS_MESSAGING_URL"
HOST = "PREFECT_REDIS_MESSAGING_HOST"
PORT = "PREFECT_REDIS_MESSAGING_PORT"
DATABASE = "PREFECT_REDIS_MESSAGING_DB"
USERNAME = "PREFECT_REDIS_MESSAGING_USERNAME"
PASSWORD = "PREFECT_REDIS_MESSAGING_PASSWORD"
SSL = "PREFECT_REDIS_MESSAGING_SSL"
# Prefect has no setting for a private certificate authority of Redis (prefect_redis/client.py), but redis-py reads one from
# a URL (`ssl_ca_certs`).
SSL_ROOT_CERT = "REDIS_SSL_ROOT_CERT"
DOCKET_URL = "PREFECT_SERVER_DOCKET_URL"
# What Prefect documents for more than one server (docs.prefect.io/v3/advanced/self-hosted, "Redis setup"). The first name is
# the one that the documentation uses; Prefect 3.9.1 takes each of them (prefect/settings/models/server/events.py).
DOCUMENTED = {
    ("PREFECT_MESSAGING_BROKER", "PREFECT_SERVER_EVENTS_MESSAGING_BROKER"): "prefect_redis.messaging",
    ("PREFECT_MESSAGING_CACHE", "PREFECT_SERVER_EVENTS_MESSAGING_CACHE"): "prefect_redis.messaging",
    ("PREFECT_SERVER_EVENTS_CAUSAL_ORDERING",): "prefect_redis.ordering",
    ("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",): "prefect_redis.lease_storage",
}
# Orders to clean up after a run come into this queue in one process, and the worker that carries them out is connected to
# another. In memory, as by default, they stay where they were written (prefect/settings/models/server/worker_channel.py).
CLEANUP_STORAGE = "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE"
CLEANUP_URL = "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL"
CLEANUP_HOST = "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_HOST"
MODULES = {**DOCUMENTED, (CLEANUP_STORAGE,): "prefect_redis.cleanup_queue"}
# The role migrate does both once. Two servers that register blocks at the same time collide: one ends with `duplicate key
# value violates unique constraint "uq_block_type__slug"`.
DONE_BY_MIGRATE = (
    ("PREFECT_API_DATABASE_MIGRATE_ON_START", "PREFECT_SERVER_DATABASE_MIGRATE_ON_START"),
    ("PREFECT_API_BLOCKS_REGISTER_ON_START", "PREFECT_SERVER_REGISTER_BLOCKS_ON_START"),
)
SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
# As Prefect's settings read them (pydantic).
TRUE = ("1", "true", "t", "yes", "y", "on")
FALSE = ("0", "false", "f", "no", "n", "off")


class Refused(Exception):
    """The one line to say, and the exit code."""

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.code = code


def role_of(environment: Environment) -> str:
    role = environment.get("PREFECT_ROLE") or "all"
    if role not in ROLES:
        raise Refused(f'PREFECT_ROLE is "{role}", allowed is {", ".join(ROLES[:-1])} or {ROLES[-1]}', code=2)
    return role


# The words after the image's name


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options of prefect-supervisor, and COMMAND with the word -- before it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:end]), list(arguments[end:])


def option(options: Sequence[str], name: str, shortest: str) -> str | None:
    """The value of an option, which may be shortened down to `shortest`, as getopt_long allows."""
    for position, word in enumerate(options):
        flag, equals, value = word.partition("=")
        if name.startswith(flag) and flag.startswith(shortest):
            return value if equals else "".join(options[position + 1 : position + 2])
    return None


# Redis


def is_in_memory(value: str) -> bool:
    return value.endswith(".memory") or value.startswith("memory:")


def first_set(environment: Environment, names: Sequence[str]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def number(environment: Environment, name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        raise Refused(f'{name} is "{text}", allowed is a whole number')
    return int(text)


def uses_tls(environment: Environment) -> bool:
    text = environment.get(SSL) or "false"
    if text.lower() not in TRUE + FALSE:
        raise Refused(f'{SSL} is "{text}", allowed is true or false')
    return text.lower() in TRUE


def redis_url(environment: Environment) -> str:
    """Docket and the clean-up queue take a URL, so the one place where the user names Redis is made into one."""
    url = environment.get(URL, "")
    if url:
        scheme = url.partition("://")[0].lower()
        if "://" not in url or scheme not in SCHEMES:
            raise Refused(f"{URL} has to begin with one of {', '.join(f'{one}://' for one in SCHEMES)}")
        return url
    host = environment[HOST]
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    user, password = (quote(environment.get(name, ""), safe="") for name in (USERNAME, PASSWORD))
    credentials = f"{user}:{password}@" if user or password else ""
    scheme = "rediss" if uses_tls(environment) else "redis"
    return f"{scheme}://{credentials}{host}:{number(environment, PORT, 6379)}/{number(environment, DATABASE, 0)}"


def trust(environment: Environment, url: str) -> str:
    """The URL with the certificate authority that the user names. Prefect's messaging then gets this URL as well, for its
    single settings have no place for it."""
    file = environment.get(SSL_ROOT_CERT)
    if not file:
        return url
    if not url.lower().startswith("rediss"):
        raise Refused(f"{SSL_ROOT_CERT} is set, but Redis is reached without TLS; set {SSL}=true or leave it out")
    if not os.access(file, os.R_OK):
        raise Refused(f"{SSL_ROOT_CERT} is {file}, which can't be read")
    if "ssl_ca_certs=" not in url:
        url += f"{'&' if '?' in url else '?'}ssl_ca_certs={quote(file)}"
    for name in (HOST, PORT, DATABASE, USERNAME, PASSWORD, SSL):
        environment.pop(name, None)
    environment[URL] = url
    return url


def use_redis(environment: Environment, role: str) -> None:
    if not environment.get(URL) and not environment.get(HOST):
        raise Refused(f"PREFECT_ROLE={role} needs Redis, and none is named; set {HOST} or {URL}")
    for names, value in {**MODULES, (DOCKET_URL,): ""}.items():
        found = first_set(environment, names)
        if is_in_memory(found):
            name = next(name for name in names if environment.get(name))
            why = f"which PREFECT_ROLE={role} can't share with other servers"
            raise Refused(f'{name} is "{found}", {why}; leave it out')
        if value and not found:
            environment[names[0]] = value
    url = trust(environment, redis_url(environment))
    environment[DOCKET_URL] = environment.get(DOCKET_URL) or url
    if not environment.get(CLEANUP_URL) and not environment.get(CLEANUP_HOST):
        environment[CLEANUP_URL] = url
    if importlib.util.find_spec("prefect_redis") is None:
        raise Refused(
            f"PREFECT_ROLE={role} needs the package prefect-redis, which this image does not have; use an image of "
            "Prefect that has it, or set EXTRA_PIP_PACKAGES=prefect-redis"
        )


def check_all_or_nothing(environment: Environment) -> None:
    """The role all works without Redis. With half of it, what is left in memory is lost or done twice unnoticed."""
    connection = first_set(environment, (URL, HOST))
    modules = {names: first_set(environment, names) for names in DOCUMENTED}
    docket = environment.get(DOCKET_URL, "")
    on_redis = {
        f"{HOST} or {URL}": bool(connection),
        **{names[0]: bool(value) and not is_in_memory(value) for names, value in modules.items()},
        DOCKET_URL: bool(docket) and not is_in_memory(docket),
    }
    missing = [name for name, there in on_redis.items() if not there]
    if missing and any(on_redis.values()):
        there = [name for name, is_there in on_redis.items() if is_there]
        raise Refused(
            f"Redis is named only in part: {', '.join(there)} without {', '.join(missing)}; set all of them, or leave all "
            "of them out"
        )


# The roles


def prepare(environment: Environment, arguments: Sequence[str]) -> list[str]:
    """The words for prefect-supervisor. Changes the environment to the role's."""
    role = role_of(environment)
    # Compose files pass on variables that are not set as empty ones.
    for names in (*MODULES, *DONE_BY_MIGRATE, (URL,), (HOST,), (DOCKET_URL,), (CLEANUP_URL,), (CLEANUP_HOST,)):
        for name in names:
            if environment.get(name) == "":
                del environment[name]
    if role == "all":
        check_all_or_nothing(environment)
        return list(arguments)
    options, command = split(arguments)
    rotation = option(options, "--rotation", "--ro") or environment.get("SUPERVISOR_ROTATION") or "restart"
    if role == "migrate":
        # A new token would begin the migration again, or begin a second one beside it.
        if rotation != "in-place":
            raise Refused(f"PREFECT_ROLE=migrate does not go with the rotation {rotation}; use in-place", code=2)
        return [*without_readiness(options), *(command or migrate_command())]
    use_redis(environment, role)
    for names in DONE_BY_MIGRATE:
        if not first_set(environment, names):
            environment[names[0]] = "false"
    if role == "services":
        if rotation == "rolling":
            why = "PREFECT_ROLE=services listens on no port that a rolling rotation could hand over; use in-place"
            raise Refused(why, code=2)
        return [*without_readiness(options), *(command or ["--", "prefect", "server", "services", "start"])]
    if rotation == "rolling":
        # The supervisor runs Prefect under uvicorn then, as Prefect's own --background does, which says --no-services by
        # this variable (Prefect 3.9.1, prefect/cli/_server_utils.py, _run_in_background).
        environment["PREFECT__SERVER_WEBSERVER_ONLY"] = "1"
    elif not command:
        command = api_command(environment, option(options, "--port", "--po"))
    return [*options, *command]


def without_readiness(options: list[str]) -> list[str]:
    """There is no page to ask, so the child is ready as soon as it runs."""
    return options if option(options, "--ready-url", "--rea") is not None else ["--ready-url", "off", *options]


def api_command(environment: Environment, port: str | None) -> list[str]:
    # The supervisor does so for its own command.
    if environment.pop("WEB_CONCURRENCY", None) is not None:
        say("WEB_CONCURRENCY is taken out of the environment: Prefect's server does not start with it")
    port = port or environment.get("PORT") or "8080"
    return ["--", "prefect", "server", "start", "--host", "0.0.0.0", "--port", port, "--no-services"]


def migrate_command() -> list[str]:
    script = 'prefect server database upgrade -y && exec python "$0"'
    return ["--", "sh", "-c", script, str(HERE / "register_blocks.py")]


def say(text: str) -> None:
    print(f"prefect-entrypoint: {text}", file=sys.stderr, flush=True)


def main() -> NoReturn:
    try:
        words = prepare(os.environ, sys.argv[1:])
    except Refused as refused:
        say(str(refused))
        sys.exit(refused.code)
    try:
        os.execvp("prefect-supervisor", ["prefect-supervisor", *words])
    except OSError as error:
        say(f"can't execute prefect-supervisor: {error.strerror}")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
