"""`SUPERVISOR_STOP_DELAY`: at TERM a load balancer learns first that we are to end, and the child later."""

from __future__ import annotations

import os
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from asgi_page import page_command
from children import child
from load_balancers import HAPROXY, BalancedServer, HAProxy
from log_lines import LOG_PRECISION
from prefect_load import HEALTH, ask
from rolling import fresh_connections, lost
from supervisor import Supervisor, run, wait_until

both = pytest.mark.parametrize("pid1", [False, True], ids=["child process", "PID 1"])

DELAYED = "stop: asked to end, not ready from now on"
FORWARDED = "stop: asked to end, forwarding"
READY_URL = "http://127.0.0.1:{port}/api/health"


def seconds_between(supervisor: Supervisor, first: str, second: str) -> float:
    return (supervisor.wait_for_log(second).time - supervisor.wait_for_log(first).time).total_seconds()


def kill_child(supervisor: Supervisor, number: int) -> None:
    (only,) = (found for found in supervisor.processes() if found.pid != supervisor.pid)
    os.kill(only.pid, number)


@both
def test_at_term_we_are_not_ready_and_the_child_serves_on_until_a_second_term(pid1: bool, tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    (tmp_path / "good").touch()
    arguments = ("--no-token", "--stop-delay", "10m", "--stop-timeout", "10m")
    command = child("serves_health", tmp_path, "waits")
    with Supervisor(*arguments, command=command, ready_url=READY_URL, pid1=pid1) as supervisor:
        supervisor.wait_for_health("/readyz")
        supervisor.signal(SIGTERM)
        delayed = supervisor.wait_for_log(DELAYED)
        assert delayed.fields == {"signal": SIGTERM, "stop_delay_ms": 600_000}
        not_ready = supervisor.health("/readyz")
        assert not_ready.status == 503 and not_ready.body.strip() == "about to stop"
        assert supervisor.health("/livez").status == supervisor.health("/startupz").status == 200
        status = supervisor.status()
        assert status["state"] == "about to stop" and status["child"]["pid"] == supervisor.child_pid
        assert ask(supervisor.port, HEALTH).answered
        assert supervisor.output == ["up"]

        supervisor.signal(SIGTERM)
        supervisor.wait_for_output("draining")
        assert supervisor.health("/livez").status == 200 and supervisor.health("/readyz").status == 503
        assert supervisor.status()["state"] == "stopping"
        (tmp_path / "drained").touch()
        assert supervisor.wait() == 0
        assert supervisor.output == ["up", "draining"]
        assert not supervisor.processes()


def test_the_child_gets_its_term_after_the_delay() -> None:
    command = child("drains", 0, 7)
    with Supervisor("--no-token", command=command, environment={"SUPERVISOR_STOP_DELAY": "700ms"}) as supervisor:
        supervisor.wait_for_output("up")
        assert supervisor.stop() == 7
        assert supervisor.output == ["up", "TERM 1", "drained"]
        assert seconds_between(supervisor, DELAYED, FORWARDED) >= 0.7 - LOG_PRECISION


@both
def test_a_deaf_child_is_killed_after_the_stop_timeout_counted_from_its_term(pid1: bool) -> None:
    """The delay is the longer one: counted from our TERM, the timeout would be over when the child gets its own."""
    arguments = ("--no-token", "--stop-delay", "1s", "--stop-timeout", "500ms")
    with Supervisor(*arguments, command=child("deaf"), pid1=pid1) as supervisor:
        supervisor.wait_for_output("up")
        assert supervisor.stop() == 137
        killed = "stop: the child did not end within the stop timeout, killing it"
        assert seconds_between(supervisor, DELAYED, FORWARDED) >= 1 - LOG_PRECISION
        assert seconds_between(supervisor, FORWARDED, killed) >= 0.5 - LOG_PRECISION
        assert not supervisor.processes()


@pytest.mark.parametrize("in_delay", [False, True], ids=["first", "after TERM"])
def test_an_interrupt_is_not_delayed(in_delay: bool) -> None:
    with Supervisor("--no-token", "--stop-delay", "10m", command=child("drains", 0, 4)) as supervisor:
        supervisor.wait_for_output("up")
        if in_delay:
            supervisor.signal(SIGTERM)
            supervisor.wait_for_log(DELAYED)
        assert supervisor.stop(SIGINT) == 4
        assert supervisor.output == ["up", "INT 1", "drained"]
        assert any(DELAYED in message for message in supervisor.messages()) == in_delay


def test_a_term_before_there_is_a_child_is_not_delayed(emulator) -> None:
    emulator.script({"status": 503, "times": 1000})
    with Supervisor("--stop-delay", "10m", command=["sleep", "600"], emulator=emulator) as supervisor:
        wait_until(emulator.token_requests, "the first token request")
        assert supervisor.stop() == 128 + SIGTERM


@pytest.mark.parametrize(("number", "code"), [(SIGKILL, 137), (SIGTERM, 5)], ids=["killed", "ended"])
def test_a_child_that_ends_during_the_delay_ends_us_with_its_code(number: int, code: int) -> None:
    with Supervisor("--no-token", "--stop-delay", "10m", command=child("drains", 0, 5)) as supervisor:
        supervisor.wait_for_output("up")
        supervisor.signal(SIGTERM)
        supervisor.wait_for_log(DELAYED)
        kill_child(supervisor, number)
        assert supervisor.wait() == code
        assert FORWARDED not in supervisor.messages()
        assert not supervisor.processes()


def test_no_token_is_asked_for_during_the_delay(tokens) -> None:
    """Before it, one is due every second."""
    arguments = ("--rotation", "in-place", "--refresh-interval", "1s", "--stop-delay", "4s")
    with Supervisor(*arguments, command=child("drains", 0, 0), emulator=tokens) as supervisor:
        supervisor.wait_for_log("token: fresh", count=3)
        supervisor.signal(SIGTERM)
        supervisor.wait_for_log(DELAYED)
        asked = len(tokens.token_requests())
        assert supervisor.wait() == 0
        assert len(tokens.token_requests()) == asked
        messages = supervisor.messages()
        delayed = next(index for index, message in enumerate(messages) if DELAYED in message)
        assert not [message for message in messages[delayed:] if "token" in message]


@pytest.mark.parametrize("value", ["soon", "-1s", "2h", "5", ""])
def test_a_bad_delay_is_an_error_of_usage(value: str) -> None:
    supervisor = run("--no-token", f"--stop-delay={value}", command=["true"])
    assert supervisor.wait() == 2
    assert "--stop-delay" in "\n".join(supervisor.errors + supervisor.lines)


@pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed: tools/install-packages.sh test")
def test_a_server_behind_haproxy_is_stopped_and_started_again_and_no_request_fails() -> None:
    options = {"command": page_command(), "ready_url": READY_URL}
    arguments = ("--no-token", "--stop-delay", "10m", "--stop-timeout", "1m")
    with (
        BalancedServer(*arguments, **options) as one,
        BalancedServer(*arguments, **options) as other,
    ):
        first = one.start()
        other.start()
        # It tries nothing again, so that each request to a server that is not there fails.
        with HAProxy([one, other], retries=["retries 0"]) as balancer:
            balancer.wait_for_state(one, "UP")
            balancer.wait_for_state(other, "UP")
            with fresh_connections(balancer.port) as requests:
                wait_for_answers(balancer, one)
                wait_for_answers(balancer, other)
                first.signal(SIGTERM)
                balancer.wait_for_state(one, "DOWN")
                wait_until(lambda: balancer.figures(one)["scur"] == "0", "the last answer of the server that ends")
                # The machine may be slow, so that no delay would be surely long enough; this ends it.
                assert first.stop() == 128 + SIGTERM
                wait_for_answers(balancer, other)
                again = one.start()
                balancer.wait_for_state(one, "UP")
                wait_for_answers(balancer, one)
            assert requests and not lost(requests)

            # Without a delay the same load loses requests as long as HAProxy does not know it.
            balancer.command(f"disable health servers/{one.name}")
            with fresh_connections(balancer.port) as requests:
                again.stop(SIGINT)
                wait_until(lambda: lost(requests), "a request that fails")


def wait_for_answers(balancer: HAProxy, server: BalancedServer, count: int = 10) -> None:
    """Waits until it has answered so many requests more."""

    def answered() -> int:
        return int(balancer.figures(server)["hrsp_2xx"])

    before = answered()
    wait_until(lambda: answered() >= before + count, f"{count} answers of {server.name}")
