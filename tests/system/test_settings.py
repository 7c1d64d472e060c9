"""Settings: what is allowed, what is refused, and what the refusal says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from children import child
from supervisor import DATABASE, Supervisor, run

PORTS = ["0", "65536", "-1", "80a", "5432 ", " 5432", "0x50", "1.5", "99999999999999999999"]
DURATIONS = [
    "5",
    "-5s",
    "5 s",
    "1.5h",
    "30m1h",
    "1h1h",
    "s",
    "h",
    "5d",
    "5S",
    "+5s",
    "1e3s",
    "99999999999999999999h",
    "0s",
    "9223372036854775807s",
    "١s",
]
PORT_RANGE = "a whole number from 1 to 65535"

# Variable (None: there is only the flag), flag, what the message has to say of what is allowed, bad values.
BAD_VALUES: list[tuple[str | None, str, list[str], list[str]]] = [
    ("DB_IP", "--db-host", ["host"], ["a b", "10.0.0.1/x", "user@host", "10.0.0.1:5432", "[[]", "a?b", "é"]),
    ("DB_PORT", "--db-port", [PORT_RANGE], PORTS),
    ("PORT", "--port", [PORT_RANGE], PORTS),
    ("DB_SCHEMA", "--db-schema", ["a name"], ["a,b"]),
    (
        "DB_SSL",
        "--db-ssl",
        ["disable", "prefer", "require", "verify-ca", "verify-full"],
        ["on", "REQUIRE", "true", " "],
    ),
    ("DB_SSL_ROOT_CERT", "--db-ssl-root-cert", ["file", "read"], ["/no/such/file.pem"]),
    ("SUPERVISOR_ROTATION", "--rotation", ["restart", "in-place"], ["inplace", "Restart", "none", " "]),
    ("SUPERVISOR_REFRESH_INTERVAL", "--refresh-interval", ["duration", "55m"], DURATIONS),
    ("SUPERVISOR_DRAIN_TIMEOUT", "--drain-timeout", ["duration", "90s"], DURATIONS),
    ("SUPERVISOR_STOP_TIMEOUT", "--stop-timeout", ["duration", "1h30m"], DURATIONS),
    ("SUPERVISOR_START_DEADLINE", "--start-deadline", ["duration", "250ms"], DURATIONS),
    ("SUPERVISOR_DB_WAIT", "--db-wait", ["duration", "off"], [*DURATIONS, "OFF", "no"]),
    (
        "SUPERVISOR_HEALTH_ADDRESS",
        "--health-address",
        ["address", "port", "off"],
        ["8081", ":8081", "0.0.0.0", "0.0.0.0:0", "0.0.0.0:65536", "999.1.1.1:8081", "localhost:8081", "OFF", "[::1]", "on"],
    ),
    ("SUPERVISOR_LOG_FORMAT", "--log-format", ["auto", "text", "json"], ["JSON", "xml", " "]),
    ("SUPERVISOR_LOG_LEVEL", "--log-level", ["debug", "info", "warning", "error"], ["INFO", "trace", "5"]),
    (None, "--ready-url", ["http://", "off"], ["https://localhost/", "localhost", "/healthz", "http://"]),
    (None, "--map-exit", ["0", "255"], ["256", "-1", "a", "1,2", " 1"]),
]


def the_error(ended: Supervisor, code: int) -> str:
    assert ended.process.returncode == code, ended.transcript()
    assert ended.lines == []
    (line,) = ended.errors
    assert line.startswith("prefect-supervisor: ")
    return line


def as_shown(value: str) -> str:
    return json.dumps(value)


@pytest.mark.parametrize(
    ("variable", "flag", "allowed", "values"), BAD_VALUES, ids=lambda item: str(item)[:40]
)
def test_a_bad_value_is_one_line_with_setting_value_and_what_is_allowed(
    variable: str | None, flag: str, allowed: list[str], values: list[str]
) -> None:
    for value in values:
        # health=None: the address that is added otherwise may be the setting in question.
        ways: list[tuple[list[str], dict[str, str], str]] = [
            ([flag, value], {}, flag),
            ([f"{flag}={value}"], {}, flag),
        ]
        if variable:
            ways.append(([], {variable: value}, variable))
        for arguments, environment, named in ways:
            line = the_error(
                run(*arguments, health=None, command=["true"], environment=DATABASE | environment), code=2
            )
            assert named in line
            assert as_shown(value) in line, (value, line)
            for word in allowed:
                assert word in line


@pytest.mark.parametrize("flag", sorted({flag for _, flag, _, _ in BAD_VALUES} | {"--db-user", "--db-name"}))
def test_a_flag_without_its_value_is_one_line_and_2(flag: str) -> None:
    assert flag in the_error(run(flag, health=None), code=2)


@pytest.mark.parametrize(
    "flag", ["--db-user", "--db-host", "--db-name", "--token-scope", "--rotation", "--port"]
)
def test_an_empty_value_of_a_flag_is_one_line_and_2(flag: str) -> None:
    line = the_error(run(flag, "", health=None, environment=DATABASE), code=2)
    assert flag in line and '""' in line


@pytest.mark.parametrize("variable", [variable for variable, *_ in BAD_VALUES if variable])
def test_a_variable_that_is_set_to_nothing_counts_as_not_set(variable: str) -> None:
    environment = DATABASE | {variable: ""}
    if variable == "DB_IP":
        assert "DB_IP" in the_error(run(command=["true"], environment=environment), code=1)
    else:
        assert run("--no-token", command=["true"], environment=environment).process.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-flag"],
        ["--no-such-flag=3"],
        ["-x"],
        ["--check=yes"],
        ["--no-token=1"],
        ["--help-me"],
        ["-"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_or_misused_flag_is_one_line_and_2(arguments: list[str]) -> None:
    assert arguments[0] in the_error(run(*arguments, health=None, command=["true"]), code=2)


def test_a_command_without_the_separator_is_one_line_and_2() -> None:
    line = the_error(run("--no-token", "sleep", "1", health=None), code=2)
    assert "sleep" in line and "--" in line


def test_a_separator_without_a_command_is_one_line_and_2() -> None:
    assert "command" in the_error(run("--no-token", command=[]), code=2)
    assert "command" in the_error(run("--no-token", command=[""]), code=2)


@pytest.mark.parametrize(
    "missing",
    [("DB_USER",), ("DB_IP",), ("DB_NAME",), ("DB_USER", "DB_NAME"), ("DB_USER", "DB_IP", "DB_NAME")],
    ids=" ".join,
)
def test_missing_settings_are_all_named_in_one_line_and_1(missing: tuple[str, ...]) -> None:
    for empty in (None, ""):
        line = the_error(run(environment=DATABASE | dict.fromkeys(missing, empty)), code=1)
        flags = {"DB_USER": "--db-user", "DB_IP": "--db-host", "DB_NAME": "--db-name"}
        for variable, flag in flags.items():
            assert (variable in line) == (variable in missing)
            assert (flag in line) == (variable in missing)


@pytest.mark.parametrize("variable", ["GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"])
@pytest.mark.parametrize(
    "value",
    ["http://169.254.169.254", "a b", "host/path", "user@host", "fd20:ce:254", "[fd20:ce::254", "host:port"],
)
def test_a_bad_metadata_host_is_one_line_and_2(variable: str, value: str) -> None:
    line = the_error(run(environment=DATABASE | {variable: value}), code=2)
    assert variable in line and as_shown(value) in line and "host:port" in line


@pytest.mark.parametrize(
    "first",
    ["GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"],
)
def test_the_first_metadata_host_that_is_set_wins(emulator, first: str) -> None:
    names = ["GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"]
    at = names.index(first)
    # No process listens on the discard port.
    hosts = (
        dict.fromkeys(names[:at], "")
        | {first: emulator.metadata}
        | dict.fromkeys(names[at + 1 :], "127.0.0.1:9")
    )
    ended = run("--start-deadline", "1m", command=["true"], emulator=emulator, environment=hosts)
    assert ended.process.returncode == 0


def test_the_metadata_server_may_be_a_bare_ipv6_address(emulator) -> None:
    """Google's own is fd20:ce::254 (https://cloud.google.com/compute/docs/metadata/querying-metadata)."""
    with Supervisor(command=["true"], emulator=emulator, environment={"GCE_METADATA_HOST": "::1"}) as supervisor:
        failed = supervisor.wait_for_log(lambda line: line.message.startswith("token: can't get one from [::1]: "))
    # The URL is valid; it does not matter whether a process listens on port 80 of this machine.
    assert "URL" not in failed.message, failed


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--health-address", "127.0.0.1:8080"], {}),
        (["--health-address", "127.0.0.1:8081", "--port", "8081"], {}),
        ([], {"PORT": "9000", "SUPERVISOR_HEALTH_ADDRESS": "[::]:9000"}),
    ],
    ids=["default", "flag", "environment"],
)
def test_one_port_for_prefect_and_the_health_server_is_one_line_and_2(
    arguments: list[str], environment: dict[str, str]
) -> None:
    line = the_error(run(*arguments, health=None, environment=DATABASE | {"PORT": None, "GCE_METADATA_HOST": "127.0.0.1:9"} | environment), code=2)
    assert "PORT (--port)" in line and "--health-address" in line


def test_without_a_token_port_is_not_looked_at() -> None:
    with Supervisor("--no-token", command=["sleep", "600"]) as supervisor:
        port = str(supervisor.health_port)
    ended = run(
        "--no-token", "--health-address", f"127.0.0.1:{port}", health=None, command=["true"], environment={"PORT": port}
    )
    assert ended.process.returncode == 0


@pytest.mark.parametrize(
    "duration", ["250ms", "1s", "90s", "55m", "1h", "59m59s999ms", "0h30m", "3600s", "007s"]
)
def test_good_durations_are_taken(duration: str) -> None:
    for flag in ("--refresh-interval", "--drain-timeout", "--stop-timeout", "--start-deadline"):
        if (flag, duration) != ("--refresh-interval", "250ms"):
            assert run("--no-token", flag, duration, command=["true"]).process.returncode == 0


def test_a_flag_beats_the_variable_which_beats_the_default(emulator) -> None:
    def child_sees(*arguments: str, **environment: str) -> str:
        ended = run(
            *arguments,
            command=child("says_variables", "PREFECT_API_DATABASE_CONNECTION_URL"),
            emulator=emulator,
            environment=environment,
        )
        (line,) = ended.output
        return bytes.fromhex(line.partition("=")[2]).decode()

    assert "@127.0.0.1:5432/prefect" in child_sees()
    assert "@127.0.0.1:6000/prefect" in child_sees(DB_PORT="6000")
    assert "@127.0.0.1:7000/other" in child_sees("--db-port", "7000", "--db-name=other", DB_PORT="6000")


def test_the_scope_is_asked_for_as_it_was_given(emulator) -> None:
    run(command=["true"], emulator=emulator)
    run("--token-scope", "https://www.googleapis.com/auth/sqlservice.login", command=["true"], emulator=emulator)
    run(command=["true"], emulator=emulator, environment={"SUPERVISOR_TOKEN_SCOPE": "a scope&x=y"})
    asked = [request.query["scopes"] for request in emulator.token_requests()]
    assert asked == [
        "https://www.googleapis.com/auth/cloud-platform",
        "https://www.googleapis.com/auth/sqlservice.login",
        "a scope&x=y",
    ]


def test_the_proxy_of_the_environment_is_not_asked(emulator) -> None:
    proxies = dict.fromkeys(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"], "http://127.0.0.1:9")
    assert (
        run("--start-deadline", "1m", command=["true"], emulator=emulator, environment=proxies).process.returncode
        == 0
    )


def test_help_names_every_setting_and_its_default() -> None:
    ended = run("--help", health=None)
    assert ended.process.returncode == 0 and ended.errors == []
    text = " ".join(" ".join(ended.lines).split())
    for variable, flag, *_ in BAD_VALUES:
        assert flag in text and (variable or "") in text
    for word in [
        "DB_USER",
        "DB_NAME",
        "--db-user",
        "--db-name",
        "--token-scope",
        "SUPERVISOR_TOKEN_SCOPE",
        "--check",
        "--no-token",
        "--single-child",
        "--version",
        "GCE_METADATA_HOST",
        "GCE_METADATA_ROOT",
        "GCE_METADATA_IP",
        "sqlservice.login",
        "55m",
        "30s",
        "8s",
        "5432",
        "8080",
        "0.0.0.0:8081",
        "127",
        "126",
    ]:
        assert word in text, word
    # On a page of a terminal, and no flag that the program does not know.
    assert max(map(len, ended.lines)) <= 120


def test_help_and_version_need_no_settings_and_win_over_them() -> None:
    for flag in ("--help", "--version"):
        ended = run(flag, health=None, environment={"DB_PORT": "bad", "SUPERVISOR_ROTATION": "bad"})
        assert ended.process.returncode == 0 and ended.lines and not ended.errors


def test_version_names_version_commit_compiler_and_libraries() -> None:
    ended = run("--version", health=None)
    assert ended.process.returncode == 0 and ended.errors == []
    text = "\n".join(ended.lines)
    for word in [
        "prefect-supervisor 0.",
        "commit ",
        "GNU" if "GNU" in text else "Clang",
        "Boost/1.",
        "libcurl/",
        "mbedTLS/",
        "spdlog/",
        "nlohmann_json/",
    ]:
        assert word in text
