"""--check shows what would run, and reveals no secret."""

from __future__ import annotations

import pytest

from supervisor import ReservedPort, listening, run

pytestmark = pytest.mark.shipped

# At least one try must come to its end within it, so it is much longer than an answer takes on a busy machine.
START_DEADLINE = "3s"


def test_it_shows_what_would_run_and_runs_nothing(emulator, tmp_path) -> None:
    made = tmp_path / "made"
    ended = run("--check", command=["touch", str(made)], emulator=emulator)
    assert ended.process.returncode == 0, ended.transcript()
    assert any("would run" in line and f"touch {made}" in line for line in ended.lines)
    assert not made.exists()
    assert len(emulator.token_requests()) == 1


def test_it_shows_the_default_command(emulator) -> None:
    ended = run("--check", "--port", "4200", emulator=emulator)
    assert ended.process.returncode == 0
    assert any("prefect server start --host 0.0.0.0 --port 4200" in line for line in ended.lines)


@pytest.mark.parametrize("rotation", ["restart", "in-place"])
def test_it_redacts_every_secret(emulator, rotation: str) -> None:
    secrets = {
        "PGPASSWORD": "hunter2-pgpassword",
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://u:hunter2-url@h/d",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://u:hunter2-server@h/d",
        "PREFECT_API_KEY": "hunter2-api-key",
    }
    ended = run("--check", "--rotation", rotation, "--log-level", "debug", emulator=emulator, environment=secrets)
    assert ended.process.returncode == 0
    everything = "\n".join(ended.lines + ended.errors)
    (token,) = emulator.tokens()
    assert token.text not in everything and token.text[10:40] not in everything
    assert "hunter2" not in everything
    # The log tells tokens apart by their hash.
    assert "PREFECT_API_DATABASE_CONNECTION_URL" in everything
    assert token.hash in everything


def test_it_names_what_it_would_take_out(emulator) -> None:
    ended = run(
        "--check", emulator=emulator, environment={"PGPASSWORD": "x", "PREFECT_SERVER_DATABASE_CONNECTION_URL": "y"}
    )
    for name in ("PGPASSWORD", "PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        assert any(name in line.message and line.severity == "WARNING" for line in ended.log)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            {"status": 403, "body": "the account has no access", "times": 100},
            ["403", "the account has no access"],
        ),
        ({"status": 404, "times": 100}, ["404"]),
        ({"status": 503, "times": 100}, ["503"]),
        ({"answer": "bad-json", "times": 100}, ["JSON"]),
        ({"answer": "no-flavor", "times": 100}, ["Metadata-Flavor"]),
        ({"answer": "redirect", "times": 100}, ["301"]),
    ],
    ids=["403", "404", "503", "bad JSON", "no flavor", "redirect"],
)
@pytest.mark.parametrize("flags", [["--check"], []], ids=["check", "start"])
def test_without_a_token_within_the_start_deadline_it_says_the_servers_last_answer_and_1(
    emulator, flags: list[str], step: dict, said: list[str]
) -> None:
    emulator.script(step)
    ended = run(*flags, "--start-deadline", START_DEADLINE, command=["true"], emulator=emulator)
    assert ended.process.returncode == 1
    (line,) = (line for line in ended.log if line.severity == "ERROR")
    assert f"start deadline of {START_DEADLINE}" in line.message
    for words in said:
        assert words in line.message
    assert "child: started" not in ended.messages()


def test_without_an_answer_within_the_start_deadline_it_says_so_and_1(emulator) -> None:
    emulator.script({"answer": "hang"})
    ended = run("--check", "--start-deadline", "300ms", emulator=emulator)
    assert ended.process.returncode == 1
    assert any("start deadline" in line.message and "no answer" in line.message for line in ended.log)


def test_nobody_at_the_metadata_address_is_said_and_1(emulator) -> None:
    port = ReservedPort()
    host = {"GCE_METADATA_HOST": f"127.0.0.1:{port.number}"}
    ended = run("--check", "--start-deadline", START_DEADLINE, emulator=emulator, environment=host)
    port.release()
    assert ended.process.returncode == 1
    (line,) = (line for line in ended.log if line.severity == "ERROR")
    assert "127.0.0.1" in line.raw and "onnect" in line.message


def test_it_tries_again_within_the_start_deadline(emulator) -> None:
    emulator.script({"status": 503}, {"status": 404})
    ended = run("--check", emulator=emulator)
    assert ended.process.returncode == 0
    assert len(emulator.token_requests()) == 3


def test_it_needs_no_port(emulator) -> None:
    with listening() as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert run("--check", "--health-address", address, emulator=emulator, health=None).process.returncode == 0


def test_without_a_token_wanted_it_asks_for_none(emulator) -> None:
    ended = run("--check", "--no-token", command=["echo", "hello"], emulator=emulator)
    assert ended.process.returncode == 0
    assert any("echo hello" in line for line in ended.lines) and ended.output == []
    assert emulator.log() == []


def test_bad_settings_are_refused_as_they_are_without_it() -> None:
    assert run("--check").process.returncode == 1
    assert run("--check", "--rotation", "never").process.returncode == 2
